"""S-PROG and STEPS, whole forecasts, against NumPy with the same random numbers."""

from convlstm.architectures.sprog import SPROG
from convlstm.architectures.steps import STEPS
from convlstm.ops import band_processes
from convlstm.ops.algorithm import without_kernels
from tests.support import steps_reference as reference

import mlx.core as mx
import numpy as np
import pytest

H, W, LEADS, LEVELS = 64, 80, 4, 5


@pytest.fixture(scope="module")
def rain():
    """Returns frames on the model's scale (1, 3, H, W, 1), with showers that move, grow and leave the frame."""
    rng = np.random.default_rng(3)
    wave = np.hypot(np.fft.fftfreq(3 * H)[:, None], np.fft.rfftfreq(3 * W))
    wave[0, 0] = 1
    smooth = [np.fft.irfft2(np.fft.rfft2(rng.normal(size=(3 * H, 3 * W))) * wave**-1.6) for _ in range(4)]
    smooth = [field / field.std() for field in smooth]
    frames = [
        np.roll(smooth[0] + 0.25 * smooth[1] * t + 0.1 * smooth[2 + t % 2], (t, -2 * t), axis=(0, 1))[
            H : 2 * H, W : 2 * W
        ]
        for t in range(3)
    ]
    z = 8 + 9 * np.array(frames)
    return mx.array(np.where(z > 6, 0.17 + 0.012 * z, 0).astype(np.float32))[None, ..., None]


def setting(model, rain):
    """Returns the frames in decibels, and a motion that turns; the model takes it for that of the rain."""
    rows, columns = np.indices((H, W))
    motion = np.stack([1 + 0.01 * columns, -2 + 0.01 * rows])
    model.flow = lambda _: mx.array(motion.transpose(1, 2, 0).astype(np.float32))[None]
    return np.array(model._scale.forward(rain), float)[0, ..., 0], motion


def same(model, forecast, expected):
    """Asserts that a forecast on the model's scale is the expected one in decibels, except where rounding decides."""
    z = np.where(forecast > 0, model._scale.lowest + model._scale.width * forecast, 0)
    # Ranks are exact to a bin of the histogram.
    assert (abs(z - expected) < 0.25).mean() > 0.985
    assert np.corrcoef(z.ravel(), expected.ravel())[0, 1] > 0.995
    assert (z > 0).mean() == pytest.approx((expected > 0).mean(), abs=0.005)


@pytest.mark.parametrize("kernels_too", [True, False])
def test_sprog(kernels_too, rain):
    model = SPROG(LEVELS)
    frames, motion = setting(model, rain)
    expected = reference.sprog(frames, motion, LEADS, levels=LEVELS, threshold=model._scale.threshold - 1e-4)
    if kernels_too:
        forecast = model(rain, LEADS)
    else:
        with without_kernels():
            forecast = model(rain, LEADS)
    same(model, np.array(forecast)[0, ..., 0], expected)


def test_steps(rain, monkeypatch):
    model = STEPS(2, minutes=10, pixel_km=2, levels=LEVELS)
    frames, motion = setting(model, rain)
    rng = np.random.default_rng(5)
    noises, draws = rng.normal(size=(2, LEADS, H, W)), np.array([[0.8, -1.1], [-0.4, 0.6]])

    def white_noise(keys, number, height, width):
        return mx.fft.rfft2(mx.array(noises[:, number].astype(np.float32))) / np.sqrt(height * width)

    monkeypatch.setattr(band_processes, "white_noise", white_noise)
    model.draws = lambda _: mx.array(draws.astype(np.float32))
    with without_kernels():
        members = np.array(model(rain, LEADS))[:, 0, ..., 0]
    minutes = 10 * np.arange(1, LEADS + 1)
    # km/h to pixels in 10 minutes.
    errors = np.stack([10.88 * minutes**0.23 - 7.68, 5.76 * minutes**0.31 - 2.72], axis=1) / 12
    for forecast, noise, draw in zip(members, noises, draws, strict=True):
        expected = reference.member(
            frames,
            motion,
            noise,
            errors * draw,
            levels=LEVELS,
            threshold=model._scale.threshold - 1e-4,
            reach=2,
        )
        same(model, forecast, expected)
