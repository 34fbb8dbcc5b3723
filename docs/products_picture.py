"""Writes docs/products.png, products of one ensemble of the synthetic radar, and prints the scores in docs/products.md.

    python docs/products_picture.py [--starts 16]

The picture is that of the first start. The scores are pooled over all starts and over lead times of 5 to 60 minutes.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path

from convlstm import products
from convlstm.architectures.steps import STEPS
from convlstm.datasets.synthetic_radar import SyntheticRadar
from convlstm.datasets.transforms import default_transform
from convlstm.forecasting.drawn_members import DrawnForecaster
from convlstm.metrics import RainMetrics
from convlstm.report.map_drawing import draw_bar, draw_field
from convlstm.report.rain_scale import rain_scale

import matplotlib as mpl
import numpy as np
from matplotlib.cm import ScalarMappable
from matplotlib.colors import BoundaryNorm
from matplotlib.figure import Figure

PICTURE = Path(__file__).with_name("products.png")
MINUTES, PIXEL_KM, INPUTS, HORIZON = 5, 1.0, 4, 12
SIDE, MARGIN = 224, 72
"""Pixels of the area that is drawn and scored, and of the area around it that rain comes from."""
THRESHOLDS, RADIUS = (0.5, 2.0, 5.0), 10.0
SHOWN = 2.0
"""The threshold, in mm/h, of the probabilities and of the lines in the picture."""


def forecasts(starts: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yields truth (T, H, W) and members (24, T, H, W) of one start after the other, in mm/h."""
    radar = SyntheticRadar(
        SIDE + 2 * MARGIN,
        INPUTS + HORIZON,
        step_minutes=MINUTES,
        pixel_km=PIXEL_KM,
        wind=(5, 15),
        wet_share=(0.2, 0.5),
    )
    inner = (..., slice(MARGIN, -MARGIN), slice(MARGIN, -MARGIN))
    forecaster = DrawnForecaster(STEPS(24, minutes=MINUTES, pixel_km=PIXEL_KM), default_transform("mm/h"))
    for seed in range(starts):
        frames = radar.sample(np.random.default_rng(seed))
        members = np.stack([member[inner] for member in forecaster.members(frames[:INPUTS], HORIZON)])
        yield frames[INPUTS:][inner], members


def fields_of(members: np.ndarray) -> dict[str, np.ndarray]:
    """Returns forecasts of members by name, beginning with a member."""
    return {
        "one member": members[0],
        "mean": products.mean(members),
        "median": products.median(members),
        "probability-matched mean": products.probability_matched_mean(members),
        "best for CSI": products.best_csi(members, THRESHOLDS),
    }


def draw(truth: np.ndarray, members: np.ndarray) -> Figure:
    """Draws the last lead time: rain in six maps, and two maps of probabilities."""
    fields = {"truth": truth, **fields_of(members)}
    rain = rain_scale("products", "mm/h", None, [truth])
    shares = {
        f"probability of {SHOWN:g} mm/h or more": products.probability(members, SHOWN),
        f"the same within {RADIUS:g} km": products.probability_nearby(members, SHOWN, RADIUS, pixel_km=PIXEL_KM),
    }
    figure = Figure(figsize=(11.8, 6.1), dpi=100)
    size, left, gap = 0.218, 0.008, 0.011
    height = size * 11.8 / 6.1
    for n, (name, field) in enumerate([*fields.items(), *shares.items()]):
        row, column = divmod(n, 4)
        axes = figure.add_axes((left + column * (size + gap), 0.53 - row * 0.498, size, height))
        if name in shares:
            axes.imshow(np.ma.masked_less(field[-1], 0.01), cmap="Blues", norm=LEVELS, interpolation="nearest")
            axes.set(xticks=[], yticks=[])
        else:
            draw_field(axes, field[-1], rain, size * 1180)
        axes.contour(truth[-1], [SHOWN], colors="black", linewidths=0.7)
        axes.spines[:].set(color="#bbbbbb", linewidth=0.6)
        axes.set_title(name, size=10, loc="left", pad=3)
    side = left + 4 * (size + gap)
    draw_bar(figure, figure.add_axes((side, 0.55, 0.012, 0.38)), rain)
    bar = figure.add_axes((side, 0.055, 0.012, 0.38))
    figure.colorbar(ScalarMappable(LEVELS, "Blues"), cax=bar, ticks=[0, 0.2, 0.4, 0.6, 0.8, 1], label="probability")
    return figure


LEVELS = BoundaryNorm([n / 10 for n in range(11)], 256)


def main() -> None:
    """Draws the first start and prints the scores of all."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--starts", type=int, default=16)
    arguments = parser.parse_args()
    metrics: dict[str, RainMetrics] = {}
    for number, (truth, members) in enumerate(forecasts(arguments.starts)):
        if number == 0:
            with mpl.rc_context({"font.family": "DejaVu Sans"}):
                draw(truth, members).savefig(PICTURE)
        for name, field in fields_of(members).items():
            one = metrics.setdefault(name, RainMetrics(THRESHOLDS, pixel_km=PIXEL_KM, scales=(), pools=()))
            one.update(field[None, ..., None], truth[None, ..., None])
    print("| forecast | MAE | RMSE | CSI at 0.5, 2, 5 mm/h | bias at 0.5, 2, 5 mm/h |\n|---|---|---|---|---|")
    for name, one in metrics.items():
        scores = {kind: values["mean_over_leads"] for kind, values in one.compute().items()}
        csi, bias = (", ".join(f"{scores[f'{kind}@{t:g}mmh']:.2f}" for t in THRESHOLDS) for kind in ("csi", "bias"))
        print(f"| {name} | {scores['mae_mmh']:.3f} | {scores['rmse_mmh']:.2f} | {csi} | {bias} |")
    print(f"{PICTURE.name} is written.")


if __name__ == "__main__":
    main()
