"""The best and the worst sequences of an evaluation."""

from __future__ import annotations

import math
import types

from convlstm.evaluation.ranking import Ranking, critical_success, middle, squared_error
from convlstm.evaluation.scoring import evaluate

import numpy as np
import pytest


def ranked(scores, count, higher):
    ranking = Ranking(count, higher=higher)
    made = [ranking.offer(i, score, lambda i=i: i) for i, score in enumerate(scores)]
    return [[case.example for case in cases] for cases in (ranking.best, ranking.worst)], made


@pytest.mark.parametrize(
    ("higher", "count", "best", "worst"),
    [
        (False, 1, [1], [4]),
        (True, 1, [4], [1]),
        (False, 2, [1, 3], [4, 0]),
        (False, 0, [], []),
        # Each is one of both, and stands among the best alone.
        (False, 9, [1, 3, 0, 4], []),
    ],
)
def test_best_and_worst(higher, count, best, worst):
    assert ranked([0.5, 0.1, math.nan, 0.2, 0.9], count, higher)[0] == [best, worst]


def test_the_first_of_equal_scores_is_kept_and_only_kept_ones_are_made():
    (best, worst), made = ranked([1.0] * 5, 1, True)
    assert (best, worst, made) == ([0], [], [0, None, None, None, None])


def test_a_count_below_zero():
    with pytest.raises(ValueError, match=r"\[Ranking\] 'count' must be at least 0 but got -1\."):
        Ranking(-1, higher=True)


def test_scores_of_a_sequence():
    truth = np.array([0.0, 2.0, 3.0, np.nan])
    assert squared_error(np.array([1.0, 2.0, 1.0, 9.0]), truth) == pytest.approx(5 / 3)
    assert math.isnan(squared_error(truth, np.full(4, np.nan)))
    assert critical_success(np.array([2.0, 2.0, 0.0, 9.0]), truth, 2.0) == pytest.approx(1 / 3)
    assert math.isnan(critical_success(truth, truth, 2.0, least=0.9))
    assert math.isnan(critical_success(truth, truth, 5.0))


@pytest.mark.parametrize(("count", "place"), [(1, 0), (2, 1), (3, 0), (4, 1), (5, 1)])
def test_the_threshold_that_stands_for_all(count, place):
    assert middle(list(range(count))) == place


def batches(rng, errors, mask=None):
    """Yields batches of two sequences whose truth differs by `errors` from the forecast of `still`."""
    inputs = np.zeros((len(errors), 1, 8, 8, 1), np.float32)
    targets = np.broadcast_to(np.float32(errors).reshape(-1, 1, 1, 1, 1), (len(errors), 2, 8, 8, 1)).copy()
    for i in range(0, len(errors), 2):
        batch = {"inputs": inputs[i : i + 2], "targets": targets[i : i + 2]}
        yield batch | ({} if mask is None else {"mask": mask[i : i + 2]})


def still(inputs, horizon):
    return np.zeros((len(inputs), horizon, *inputs.shape[2:]), np.float32)


def test_evaluate_keeps_the_best_and_the_worst_by_squared_error(rng):
    forecasters = {"still": still, "other": lambda x, n: still(x, n) + 1}
    result = evaluate(forecasters, batches(rng, [0.5, 0.1, 0.9, 0.3, 0.2]), cases=1, keep=[0], ssim=False)
    assert [example.index for example in result.examples] == [0]
    (best,), (worst,) = result.best, result.worst
    assert (best.example.index, worst.example.index) == (1, 2)
    assert (best.score, worst.score) == pytest.approx((0.01, 0.81))
    assert np.all(worst.example.forecasts["other"] == 1)
    np.testing.assert_allclose(worst.example.targets, 0.9)
    assert evaluate(forecasters, batches(rng, [0.5]), ssim=False).best == []


def test_masked_pixels_do_not_rank(rng):
    mask = np.ones((2, 2, 8, 8, 1), bool)
    mask[1] = False
    result = evaluate({"still": still}, batches(rng, [0.5, 0.1], mask), cases=2, ssim=False)
    assert [case.example.index for case in (*result.best, *result.worst)] == [0]


def test_rain_is_ranked_by_the_critical_success_index_and_dry_sequences_are_not(rng):
    rain = types.SimpleNamespace(units="mm/h", thresholds=(1.0, 5.0), pixel_km=None, physical=lambda x: 10 * x)
    half = still(np.zeros((1, 1, 8, 8, 1)), 2)[0]
    half[:, :4] = 0.8
    forecast = {"half": lambda x, n: np.stack([half] * len(x))}
    # Half of what is forecast there comes, all of it and more comes, nothing comes that counts.
    result = evaluate(forecast, batches(rng, [0.6, 0.0, 0.3]), cases=1, rain=rain, ssim=False)
    assert [(case.example.index, case.score) for case in result.best] == [(0, 0.5)]
    assert [(case.example.index, case.score) for case in result.worst] == [(1, 0.0)]
    dry = {"dry": still}
    assert evaluate(dry, batches(rng, [0.1, 0.2]), cases=1, rain=rain, ssim=False).best == []
