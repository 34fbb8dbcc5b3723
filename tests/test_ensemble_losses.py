"""Losses of ensembles."""

import itertools
import math

from convlstm.datasets.transforms import Reflectivity
from convlstm.ensemble_losses import EnsembleScore, block_means
from tests.support.reference import close, normal

import mlx.core as mx
import numpy as np
import pytest

SHAPE = (2, 3, 12, 8, 1)
PLAIN = {"rate_weight": 0.0, "spectrum_weight": 0.0}


def reference(members, target, known, *, blocks=(1,), weights=(1.0,), alpha=0.95):
    """Returns the almost fair CRPS by loops over blocks and pairs, in float64."""
    M, total = len(members), 0.0
    alphas = [alpha] * len(blocks) if isinstance(alpha, float) else alpha
    for side, weight, share in zip(blocks, weights, alphas, strict=True):
        values = []
        for n, t in np.ndindex(target.shape[:2]):
            for i, j in itertools.product(range(target.shape[2] // side), range(target.shape[3] // side)):
                part = np.s_[i * side : (i + 1) * side, j * side : (j + 1) * side, 0]
                inside = known[n, t][part]
                if inside.mean() < 0.5:
                    continue
                x = [member[n, t][part][inside].mean() for member in members]
                y = target[n, t][part][inside].mean()
                pairs = sum(abs(a - b) for a in x for b in x)
                epsilon = (1 - share) / M
                values.append(np.mean([abs(a - y) for a in x]) - (1 - epsilon) / (2 * M * (M - 1)) * pairs)
        total += weight * np.mean(values)
    return total


@pytest.mark.parametrize("alpha", [0.9, (0.0, 0.9, 1.0)])
@pytest.mark.parametrize("M", [2, 4, 12])
def test_the_score_is_that_of_loops_over_blocks_and_pairs(M, alpha, rng):
    x, y, known = rng.random((M, *SHAPE)), rng.random(SHAPE), rng.random(SHAPE) < 0.7
    options = {"blocks": (1, 2, 4), "weights": (1.0, 0.5, 2.0), "alpha": alpha}
    loss = EnsembleScore(**options, **PLAIN)
    arrays = (mx.array(a.astype(np.float32)) for a in (x, y))
    assert loss(*arrays, mx.array(known)).item() == pytest.approx(reference(x, y, known, **options), rel=1e-5)


def test_two_members_by_hand():
    members, target = mx.array([1.0, 3.0]).reshape(2, 1, 1, 1, 1, 1), mx.array([2.5]).reshape(1, 1, 1, 1, 1)
    # mean |x - y| = (1.5 + 0.5) / 2 = 1; the pair is 2 apart: fair 1 - 2 / 2 = 0, plain 1 - 2 / 4 = 0.5.
    assert EnsembleScore((1,), alpha=1.0, **PLAIN)(members, target).item() == pytest.approx(0)
    assert EnsembleScore((1,), alpha=0.0, **PLAIN)(members, target).item() == pytest.approx(0.5)
    assert EnsembleScore((1,), alpha=0.9, **PLAIN)(members, target).item() == pytest.approx(0.05)


def test_the_fair_score_does_not_depend_on_the_number_of_members_drawn_from_the_truth(rng):
    truth = normal(rng, (1, 1, 200, 200, 1))
    loss = EnsembleScore((1,), alpha=1.0, **PLAIN)
    scores = [loss(normal(rng, (M, 1, 1, 200, 200, 1)), truth).item() for M in (2, 3, 8)]
    # The CRPS of a standard normal distribution for truths from it is 1 / sqrt(pi).
    np.testing.assert_allclose(scores, 1 / math.sqrt(math.pi), rtol=0.02)


def test_rain_is_that_of_the_scale_up_to_the_ceiling():
    y = np.array([-0.5, 0, 0.1, 0.4, 0.6, 0.9, 1.5], np.float32)
    found = np.array(EnsembleScore(ceiling=30).rain(mx.array(y)))
    np.testing.assert_allclose(found, np.minimum(Reflectivity().inverse(y), 30), rtol=1e-4)


def test_the_weight_of_rain_adds_the_score_in_its_units(rng):
    x, y = (0.3 * rng.random(shape) for shape in ((3, *SHAPE), SHAPE))
    loss = EnsembleScore((1,), rate_weight=0.5, spectrum_weight=0.0)
    everywhere = np.ones(SHAPE, bool)
    rain = (Reflectivity().inverse(a.astype(np.float32)).astype(np.float64) for a in (x, y))
    expected = reference(x, y, everywhere) + 0.5 * reference(*rain, everywhere)
    assert loss(*(mx.array(a.astype(np.float32)) for a in (x, y))).item() == pytest.approx(expected, rel=1e-4)


def test_the_power_of_an_octave_is_that_of_its_details():
    loss = EnsembleScore(octaves=2)
    board = np.indices((8, 8)).sum(axis=0) % 2 * 2.0 - 1
    coarse = np.kron(np.indices((4, 4)).sum(axis=0) % 2 * 2.0 - 1, np.ones((2, 2)))
    y = mx.array((board + 3 * coarse).astype(np.float32)).reshape(1, 1, 8, 8, 1)
    x = mx.array(np.stack([2 * board + 3 * coarse, 4 * board + 3 * coarse]).astype(np.float32)).reshape(
        2, 1, 1, 8, 8, 1
    )
    known = mx.ones(y.shape)
    # Details of 2 pixels: energies 1 in the truth, (4 + 16) / 2 = 10 in the members; those of 4 pixels are equal.
    assert loss.power_error(x, y, known).item() == pytest.approx(math.log(10) ** 2 / 2, rel=1e-3)
    assert loss.power_error(mx.stack([y, y]), y, known).item() == pytest.approx(0, abs=1e-9)
    x, y = x + 10, y + 10  # above the floor
    total = [EnsembleScore((1,), rate_weight=0, spectrum_weight=w, octaves=2)(x, y).item() for w in (0, 2)]
    assert total[1] - total[0] == pytest.approx(math.log(10) ** 2, rel=1e-3)


def test_the_power_of_rain_below_the_floor_is_none(rng):
    y = mx.array(rng.uniform(0, 0.4, SHAPE).astype(np.float32))
    floor = float(Reflectivity().forward(np.array(0.5, np.float32)))
    weak = mx.where(y < floor, 0, y)
    losses = {floor: EnsembleScore((1,), rate_weight=0, floor=floor) for floor in (0.0, 0.5)}
    without = EnsembleScore((1,), **PLAIN)
    members = mx.stack([weak, weak])
    assert losses[0.5](members, y).item() == pytest.approx(without(members, y).item(), abs=1e-6)
    assert losses[0.0](members, y).item() > without(members, y).item() + 1e-3


def test_what_is_missing_neither_scores_nor_has_a_gradient(rng):
    x, y = normal(rng, (3, *SHAPE)), normal(rng, SHAPE)
    known = mx.array(rng.random(SHAPE) < 0.6)
    loss = EnsembleScore((1, 2), spectrum_weight=0.5)
    hidden_x, hidden_y = mx.where(known, x, mx.nan), mx.where(known, y, mx.nan)
    value, gradient = mx.value_and_grad(loss)(hidden_x, hidden_y, known)
    assert value.item() == pytest.approx(loss(x, y, known).item(), rel=1e-5)
    assert mx.isfinite(gradient).all()
    assert not (mx.abs(gradient) * ~known).any()
    assert mx.abs(gradient).max() > 0
    assert loss(x, y, mx.zeros(SHAPE)).item() == 0


def test_block_means_leave_out_the_rest_at_the_border(rng):
    x = rng.normal(size=(2, 7, 5, 3))
    expected = np.stack([[x[:, 3 * i : 3 * i + 3, :3].mean(axis=(1, 2)) for i in range(2)]])[0].swapaxes(0, 1)
    close(block_means(mx.array(x.astype(np.float32)), 3), expected[:, :, None], 1e-5)


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"blocks": [1, 0]}, "'blocks' must be a whole number of at least 1 but got 0"),
        ({"blocks": [1, 2], "weights": [1]}, r"'weights' must be one number .* \[1, 2\], but got \[1.0\]"),
        ({"weights": [1, 1, -1]}, r"'weights' must be one number of at least 0"),
        ({"rate_weight": -1}, "'rate_weight' must be at least 0 but got -1"),
        ({"spectrum_weight": -1}, "'spectrum_weight' must be at least 0 but got -1"),
        ({"octaves": 0}, "'octaves' must be a whole number of at least 1 but got 0"),
        ({"rates": [2, 1]}, r"'rates' must be two rain rates, 0 < low < high, but got \[2, 1\]"),
        ({"ceiling": 0}, "'ceiling' must be above 0 but got 0"),
        ({"floor": -1}, "'floor' must be at least 0 but got -1"),
        ({"alpha": 1.5}, r"'alpha' must be a number in \[0, 1\], or one for each of 'blocks', .* but got 1.5"),
        ({"alpha": [0.5, 0.5]}, r"one for each of 'blocks', .* but got \[0.5, 0.5\]"),
    ],
)
def test_arguments_that_are_refused(options, text):
    with pytest.raises(ValueError, match=text):
        EnsembleScore(**options)


def test_shapes_that_are_refused(rng):
    y = normal(rng, SHAPE)
    for x in (y, y[None], normal(rng, (2, *SHAPE[:-2], 9, 1))):
        with pytest.raises(ValueError, match=r"'members' must be two or more of the target's shape, \(M, 2, 3, 12"):
            EnsembleScore()(x, y)


def test_frames_without_a_known_pixel_have_no_part_in_any_term(rng):
    score = EnsembleScore(spectrum_weight=0.5)
    members, target = normal(rng, (3, 2, 3, 16, 16, 1)), normal(rng, (2, 3, 16, 16, 1))
    mask = mx.broadcast_to(mx.array([True, False, True]).reshape(1, 3, 1, 1, 1), target.shape)
    known = mx.array([0, 2])
    expected = score(mx.take(members, known, axis=2), mx.take(target, known, axis=1))
    assert score(members, target, mask).item() == pytest.approx(expected.item(), rel=1e-5)
    # Known blocks of 2 x 2 in every other place: no octave but the first has details.
    board = mx.array(np.kron(np.indices((8, 8)).sum(axis=0) % 2, np.ones((2, 2)))[None, None, ..., None])
    first, all_octaves = (EnsembleScore(octaves=n, rate_weight=0.0) for n in (1, 4))
    assert all_octaves(members, target, board).item() == pytest.approx(first(members, target, board).item(), rel=1e-5)
