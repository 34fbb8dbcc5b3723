"""Fields between their pixels and along motions: by hand, against loops, and the kernels against MLX."""

import convlstm  # noqa: F401  before mlx.core, so that the tests run with a fast BLAS
from convlstm.ops.sampling import bilinear, drift, plain_bilinear, starts
from tests.support.reference import close, normal

import mlx.core as mx
import numpy as np
import pytest


def looked_up(field, y, x, circular):
    """Returns the value of a field (H, W) at one place, by the definition."""
    H, W = field.shape
    y = min(max(y, 0), H - 1)
    x = x % W if circular else min(max(x, 0), W - 1)
    top, left = int(np.floor(y)), int(np.floor(x))
    a, b = y - top, x - left
    rows = [top, min(top + 1, H - 1)]
    columns = [left % W, (left + 1) % W if circular else min(left + 1, W - 1)]
    return sum(
        u * v * field[row, column]
        for row, u in zip(rows, (1 - a, a), strict=True)
        for column, v in zip(columns, (1 - b, b), strict=True)
    )


@pytest.mark.parametrize("algorithm", ["auto", "native"])
@pytest.mark.parametrize("circular", [False, True])
@pytest.mark.parametrize(("fields", "places"), [((), ()), ((3,), (1,)), ((2, 3), (2, 1)), ((2, 3), (2, 3)), ((2,), ())])
def test_bilinear_is_the_sum_over_four_pixels(algorithm, circular, fields, places, rng):
    field = rng.normal(size=(*fields, 7, 9)).astype(np.float32)
    y, x = (rng.uniform(-3, 12, (*places, 5, 13)).astype(np.float32) for _ in range(2))
    values = np.array(bilinear(mx.array(field), mx.array(y), mx.array(x), circular, algorithm))
    assert values.shape == (*fields, 5, 13)
    every_y, every_x = (np.broadcast_to(a, values.shape) for a in (y, x))
    for index in np.ndindex(values.shape):
        expected = looked_up(field[index[:-2]], every_y[index], every_x[index], circular)
        assert values[index] == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize("circular", [False, True])
@pytest.mark.parametrize("shape", [(2, 1, 9, 15), (2, 3, 9, 15), (1, 1, 9, 15), (9, 15)])
def test_gradients_of_bilinear_are_those_of_the_plain_form(circular, shape, kernels, rng):
    primals = [normal(rng, (2, 3, 6, 8)), normal(rng, shape, 3), normal(rng, shape, 3)]
    primals[1][..., 0, :6] = mx.array([0.0, 5.0, 1.0, 0.0, 5.0, 2.0])
    primals[2][..., 0, :6] = mx.array([0.0, 7.0, 7.0, 3.5, 3.0, 0.0])
    dy = normal(rng, (2, 3, 9, 15))
    _, ours = mx.vjp(lambda *a: bilinear(*a, circular), primals, [dy])
    _, plain = mx.vjp(lambda *a: plain_bilinear(*a, circular), primals, [dy])
    for actual, expected in zip(ours, plain, strict=True):
        close(actual, expected, 1e-5)


def test_between_pixels_the_value_is_linear_in_the_row(rng):
    field, dy = normal(rng, (2, 3, 6, 8)), normal(rng, (2, 3, 9, 15))
    y, x = (mx.array(rng.uniform(0, most, (2, 1, 9, 15)).astype(np.float32)) for most in (5, 7))
    y = mx.floor(y) + 0.5
    _, (_, slope, _) = mx.vjp(bilinear, [field, y, x], [dy])
    change = bilinear(field, y + 1e-2, x) - bilinear(field, y, x)
    close(slope, (change * dy).sum(axis=1, keepdims=True) / 1e-2, 1e-3)


def test_bilinear_inside_a_compiled_function_and_with_rows_and_columns(kernels, rng):
    field = normal(rng, (2, 6, 8))
    rows, columns = mx.arange(6.0)[:, None], mx.arange(8.0)
    np.testing.assert_allclose(bilinear(field, rows, columns), field, atol=1e-6)
    shifted = mx.compile(lambda f: bilinear(f, rows, columns + 0.5))(field)
    close(shifted[..., :-1], (field[..., 1:] + field[..., :-1]) / 2, 1e-5)


@pytest.mark.parametrize("algorithm", ["auto", "native"])
def test_a_uniform_motion_moves_by_whole_pixels_and_its_error_along_and_across(algorithm, rng):
    field, flow = normal(rng, (20, 24)), mx.broadcast_to(mx.array([0.0, 2.0]), (20, 24, 2))
    fields, places = mx.stack([field] * 3), starts(3, 20, 24)
    errors = mx.array([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0]])
    for _ in range(2):
        frames, places = drift(fields, places, flow, errors, algorithm=algorithm)
    # The motion is to the right; across it is up, as the rows count down.
    for frame, (dy, dx) in zip(np.array(frames), ((0, 4), (0, 6), (-2, 4)), strict=True):
        np.testing.assert_allclose(frame[4:-4, 8:-8], np.roll(field, (dy, dx), (0, 1))[4:-4, 8:-8], atol=1e-5)
    np.testing.assert_allclose(places[2, :, 0, 0], [2, -4], atol=1e-5)


@pytest.mark.parametrize("circular", [False, True])
@pytest.mark.parametrize("margin", [None, 0.0, 0.5])
@pytest.mark.parametrize("scale", [None, (-0.5, 3.0, 0.25)])
@pytest.mark.parametrize("flows", [1, 3])
def test_the_kernel_drifts_as_the_plain_form(circular, margin, scale, flows, kernels, rng):
    H, W = 19, 70  # more pixels than a group
    smooth = normal(rng, (flows, H, W, 2)) * 0.3 + mx.array([1.5, -2.0])
    smooth[0, :4] = 0
    fields, errors = normal(rng, (3, H, W)), normal(rng, (3, 2))
    fields[0, 8, 30:34] = np.nan
    options = {"circular": circular, "margin": margin, "scale": scale}
    places = {algorithm: starts(3, H, W) for algorithm in ("auto", "native")}
    for _ in range(3):
        frames = {}
        for algorithm in places:
            frames[algorithm], places[algorithm] = drift(
                fields, places[algorithm], smooth, errors, **options, algorithm=algorithm
            )
        close(places["auto"], places["native"], 1e-5)
        ours, plain = (np.array(frames[algorithm]) for algorithm in places)
        np.testing.assert_array_equal(np.isnan(ours), np.isnan(plain))
        # A value at the threshold, or a place at the border, can fall on either side.
        assert (abs(np.nan_to_num(ours - plain)) < 1e-4).mean() > 0.999
    assert np.isnan(ours).any()


@pytest.mark.parametrize("algorithm", ["auto", "native"])
def test_what_comes_from_beyond_the_margin_is_zero(algorithm):
    fields, still = mx.ones((1, 6, 8)), mx.zeros((1, 2))
    flow = mx.broadcast_to(mx.array([0.25, -0.75]), (6, 8, 2))
    for margin, rows, columns in ((None, 6, 8), (0.0, 5, 7), (0.25, 6, 7), (0.75, 6, 8)):
        frame, _ = drift(fields, starts(1, 6, 8), flow, still, margin=margin, algorithm=algorithm)
        expected = np.zeros((6, 8))
        expected[6 - rows :, :columns] = 1
        np.testing.assert_array_equal(frame[0], expected)
