"""Loaders: each split of a data set as one stream of batches. Nothing here knows about models."""

from .moving_mnist import MovingMNIST

__all__ = ["MovingMNIST"]
