"""Forecast products: single fields that say what the members of an ensemble say together.

All functions take members (M, T, H, W) in physical units and work frame by frame. NaN means missing: a pixel that any
member lacks is missing from the product.
"""

from convlstm.products.best_csi import best_csi
from convlstm.products.choice import KINDS, SINGLE, Products, single
from convlstm.products.exceedance import probability, probability_nearby
from convlstm.products.statistics import mean, median, probability_matched_mean, quantiles

__all__ = [
    "KINDS",
    "SINGLE",
    "Products",
    "best_csi",
    "mean",
    "median",
    "probability",
    "probability_matched_mean",
    "probability_nearby",
    "quantiles",
    "single",
]
