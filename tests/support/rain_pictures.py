"""Rain fields to draw, and what a figure of them shows."""

import numpy as np
from matplotlib.colors import to_rgb

TIMES = np.datetime64("2010-08-26T22:05:00") + np.arange(17) * np.timedelta64(300, "s")
LEVELS = (0.1, 0.5, 1, 2, 5, 10, 20, 30, 50, 100)


def fields(t_in=5, horizon=12, size=(16, 24), names=("model", "persistence")):
    rng = np.random.default_rng(0)
    values = np.exp(rng.normal(0, 2, (t_in + horizon, *size))).astype(np.float32)
    inputs, targets = values[:t_in], values[t_in:]
    return inputs, targets, {name: targets * (1 + k) for k, name in enumerate(names)}


def maps(figure):
    return [axes for axes in figure.axes if axes.images]


def bar(figure):
    (axes,) = (axes for axes in figure.axes if axes.get_ylabel())
    return axes


def texts(figure):
    return [text.get_text().replace("\n", " ") for text in figure.texts if text.get_text()]


def has_colour(picture, colour):
    return (np.abs(picture.astype(int) - np.round(255 * np.array(to_rgb(colour))).astype(int)).max(axis=-1) <= 3).any()
