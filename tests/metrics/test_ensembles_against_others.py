"""Our scores of ensembles beside those of pysteps and properscoring; what is not installed is skipped.

`pip install pysteps` needs a C compiler, `pip install properscoring` needs nothing.
"""

import contextlib
import io
import warnings

from convlstm.metrics import EnsembleMetrics

import numpy as np
import pytest

M = 7
THRESHOLDS = (0.5, 2.0, 5.0)


def imported(name):
    """A module of another package; it may print, and warn of what is missing or old."""
    with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return pytest.importorskip(name, reason=f"pip install {name.partition('.')[0]}")


@pytest.fixture
def probabilities():
    return imported("pysteps.verification.probscores")


@pytest.fixture
def ranks():
    return imported("pysteps.verification.ensscores")


@pytest.fixture
def properscoring():
    return imported("properscoring")


def fields(rng, *, dry):
    """Members (M, 3, 2, 24, 20, 1) and truth in mm/h; a tenth of the truth and of each pixel's members is missing."""
    shape = (3, 2, 24, 20, 1)
    level = rng.normal(size=shape)
    draw = np.concatenate([level[None] + rng.normal(size=(M, *shape)), level[None] + rng.normal(0, 1.5, (1, *shape))])
    values = 0.5 * np.exp(draw)
    if dry:
        values = np.where(values < 0.5, 0, np.round(values, 1))
    members, target = values[:-1], values[-1]
    members[3][rng.random(shape) < 0.1] = np.nan
    target[rng.random(shape) < 0.1] = np.nan
    target[0, 0, :10] = np.nan
    return members, target


def gathered(members, target, **options):
    metrics = EnsembleMetrics(M, THRESHOLDS, **options)
    for n in range(len(target)):
        metrics.update(members[:, n : n + 1], target[n : n + 1])
    return metrics


def test_crps_of_pysteps(probabilities, rng):
    members, target = fields(rng, dry=False)
    score = gathered(members, target).compute()["crps_mmh"]
    theirs = [probabilities.CRPS(members[:, :, lead], target[:, lead]) for lead in (0, 1)]
    assert score["per_lead"] == pytest.approx(theirs, abs=1e-10)
    assert score["overall"] == pytest.approx(probabilities.CRPS(members, target), abs=1e-10)


def test_crps_of_pysteps_leaves_out_members_beside_a_tie(probabilities):
    """Members 0, 0, 3 and truth 0: two thirds of the distribution are right and one is 3 off, (1/3)^2 3."""
    members, target = np.array([0.0, 0.0, 3.0]).reshape(3, 1, 1, 1, 1, 1), np.zeros((1, 1, 1, 1, 1))
    metrics = EnsembleMetrics(3)
    metrics.update(members, target)
    assert metrics.compute()["crps_mmh"]["overall"] == pytest.approx(1 / 3)
    assert probabilities.CRPS(members, target) == 0


def test_reliability_of_pysteps(probabilities, rng):
    """In M + 1 bins, each of the probabilities that M members can give has its own."""
    members, target = fields(rng, dry=True)
    tables = gathered(members, target).reliability()
    for threshold in THRESHOLDS:
        missing = np.isnan(members).any(axis=0)
        share = np.where(missing, np.nan, (members >= threshold).mean(axis=0))
        table = tables[f"@{threshold:g}mmh"]
        with np.errstate(invalid="ignore"):  # bins without a pixel
            p, observed = probabilities.reldiag(share, target, threshold, n_bins=M + 1, min_count=1)
        np.testing.assert_allclose(table["probability"], p, atol=1e-6)
        np.testing.assert_allclose(table["observed"], observed, atol=1e-10)


def test_ranks_of_pysteps(ranks, rng):
    members, target = fields(rng, dry=False)
    ours = gathered(members, target).rank_histogram()
    np.testing.assert_array_equal(ours, ranks.rankhist(members, target, normalize=False))


def test_ranks_of_rain_of_pysteps(ranks, rng, monkeypatch):
    """Above a least value; pysteps draws where ties are counted, so the mean of its draws is compared."""
    members, target = fields(rng, dry=True)
    ours = gathered(members, target, rank_from=0.5).rank_histogram()
    monkeypatch.setattr("numpy.random.uniform", rng.uniform)
    theirs = [ranks.rankhist(members, target, X_min=0.5, normalize=False) for _ in range(100)]
    assert {counts.sum() for counts in theirs} == {round(ours.sum())}
    np.testing.assert_allclose(ours, np.mean(theirs, axis=0), atol=5 * np.std(theirs, axis=0).max() / 10)


@pytest.mark.parametrize("dry", [False, True])
def test_crps_of_properscoring(properscoring, rng, dry):
    """Ties included; properscoring ignores members that are missing, so these pixels are missing from the truth."""
    members, target = fields(rng, dry=dry)
    score = gathered(members, target).compute()["crps_mmh"]
    known = np.where(np.isnan(members).any(axis=0), np.nan, target)
    theirs = properscoring.crps_ensemble(known, members, axis=0)
    assert score["overall"] == pytest.approx(np.nanmean(theirs), abs=1e-10)
    assert score["per_lead"] == pytest.approx(np.nanmean(theirs, axis=(0, 2, 3, 4)), abs=1e-10)


def test_brier_of_properscoring(properscoring, rng):
    """properscoring wants more than the threshold; no value here is at one."""
    members, target = fields(rng, dry=False)
    scores = gathered(members, target).compute()
    known = np.where(np.isnan(members).any(axis=0), np.nan, target)
    for threshold in THRESHOLDS:
        theirs = properscoring.threshold_brier_score(known, members, threshold, axis=0)
        assert scores[f"brier@{threshold:g}mmh"]["overall"] == pytest.approx(np.nanmean(theirs), abs=1e-10)
