"""Scores, intervals and tables of the comparison of a learned ensemble with STEPS."""

import json

from benchmarks.nowcast_scores import ENSEMBLES, OPPONENTS, PRODUCTS, entry, mean, scores, tables, weights
from benchmarks.nowcast_sums import ensemble_sums, field_sums
from benchmarks.nowcast_tables import by_lead, chart, markdown

import numpy as np
import pytest

STEP = np.timedelta64(10, "m")


def moments(starts: int, spacing: int = 30) -> list[np.ndarray]:
    """Returns the times of seven frames of each start, which are so many minutes apart."""
    first = np.datetime64("2020-01-01T00:00:00") + np.arange(starts) * np.timedelta64(spacing, "m")
    return [begin + STEP * np.arange(7) for begin in first]


def event(rng, starts: int, *, error: float = 0.0, steps_error: float = 0.0) -> list[dict]:
    """Returns sums of starts whose members have errors, beyond those of the same members."""
    result = []
    for _ in range(starts):
        truth = rng.gamma(0.5, 3, (7, 32, 32)).astype(np.float32)
        known = rng.random(truth.shape) < 0.9
        members = rng.gamma(0.5, 3, (4, 7, 32, 32)).astype(np.float32)
        sums = {
            who: ensemble_sums(members + e, truth, known, 10, 2)
            for who, e in zip(ENSEMBLES, (error, steps_error), strict=True)
        }
        for n, who in enumerate((*PRODUCTS, *OPPONENTS)):
            sums[who] = field_sums(truth * (1 + 0.1 * n), truth, known)
        result.append(sums)
    return result


def test_the_first_row_of_weights_counts_every_start_once():
    drawn = weights(moments(10))
    assert (drawn[0] == 1).all()
    assert (drawn[1:].sum(axis=1) == 10).all()
    assert drawn[1:].std() > 0


@pytest.mark.parametrize(
    ("starts", "spacing", "length"),
    [(12, 60, 2), (12, 20, 3), (12, 10, 4), (5, 60, 1)],
    ids=["at least two", "an hour", "at most a third", "few starts"],
)
def test_blocks_are_starts_that_follow_each_other(starts, spacing, length):
    drawn = weights(moments(starts, spacing))[1:]
    # A start is as often drawn with its neighbour as it is in the same block.
    together = np.mean(drawn * np.roll(drawn, 1, axis=1)) - np.mean(drawn * np.roll(drawn, starts // 2, axis=1))
    assert together == pytest.approx((length - 1) / length, abs=0.15)


def test_days_are_drawn_whole():
    day = weights(moments(12, 8 * 60))[1:]  # three starts on each of four days
    assert (day[:, 0::3] == day[:, 1::3]).all()
    assert (day[:, 0::3] == day[:, 2::3]).all()
    assert day.max() > 1


def test_a_star_needs_an_interval_without_equality():
    draws = np.linspace(0.8, 0.98, 101)
    assert entry(np.append(0.9, draws), 1.0)["star"]
    assert not entry(np.append(0.9, draws + 0.1), 1.0)["star"]
    assert entry(np.append(1.2, draws + 0.3), 1.0)["star"]
    found = entry(np.append(0.9, draws))
    assert (found["value"], found["low"], found["high"]) == pytest.approx((0.9, 0.8045, 0.9755))
    assert "star" not in found


def test_a_single_start_has_no_interval_and_no_star(rng):
    found = scores(event(rng, 1, error=5), moments(1), 10).record()["crps 1px"]["ratio"]
    assert found["value"] > 1
    assert found["low"] is None
    assert not found["star"]


def test_ratios_say_which_ensemble_is_better(rng):
    worse = scores(event(rng, 6, error=1.0), moments(6), 10).record()
    better = scores(event(rng, 6, steps_error=1.0), moments(6), 10).record()
    same = scores(event(rng, 6), moments(6), 10).record()
    for name in ("crps 1px", "crps_fair 4px", "crps 16px at 30 min", "brier 2 mm/h"):
        assert worse[name]["ratio"]["value"] > 1
        assert worse[name]["ratio"]["star"]
        assert better[name]["ratio"]["value"] < 1
        assert better[name]["ratio"]["star"]
        assert same[name]["ratio"] == {"value": 1, "low": 1, "high": 1, "star": False}
    hardest = same["crps 4px"]["ratio to fair"]
    assert hardest["value"] == pytest.approx(
        same["crps 4px"]["nowcast"]["value"] / same["crps_fair 4px"]["steps"]["value"]
    )
    assert hardest["star"]


def test_every_score_has_its_sample(rng):
    sums = event(rng, 6)
    record = scores(sums, moments(6), 10).record()
    # From the first frame at 0:00 to the last at 2:30 + 1:00, a frame each ten minutes.
    assert record["crps 1px"]["sample"]["hours"] == pytest.approx(22 / 6, abs=0.01)
    assert record["crps 1px"]["sample"]["pixels"] == sum(start["steps"]["pixels 1px"].sum() for start in sums)
    at_last = record["crps 1px at 70 min"]["sample"]
    assert at_last["pixels"] == sum(start["steps"]["pixels 1px"][-1] for start in sums)
    assert {one["sample"]["starts"] for one in record.values()} == {6}


def test_products_are_compared_with_the_best_opponent(rng):
    record = scores(event(rng, 4), moments(4), 10).record()
    # The mean is the truth itself; the best opponent is the first one.
    assert record["mae, best opponent"]["ratio nowcast mean"]["value"] == 0
    assert record["mae"]["sprog"]["value"] < record["mae"]["extrapolation"]["value"]
    least, most = record["mae"]["sprog"]["value"], record["csi 2 mm/h"]["sprog"]["value"]
    ratio = record["mae, best opponent"]["ratio nowcast csi"]["value"]
    assert ratio == pytest.approx(record["mae"]["nowcast csi"]["value"] / least)
    difference = record["csi 2 mm/h, best opponent"]["difference nowcast mean"]
    assert difference["value"] == pytest.approx(1 - most)
    assert difference["star"]
    assert record["bias 2 mm/h"]["nowcast mean"]["value"] == 1


def test_the_mean_over_events_is_that_of_their_ratios(rng):
    first = scores(event(rng, 6, error=0.5), moments(6), 10, seed=0)
    second = scores(event(rng, 4), moments(4), 10, seed=1)
    both = mean([first, second])
    ratio = both.values["crps 1px"]["ratio"]
    assert ratio[0] == pytest.approx((first.values["crps 1px"]["ratio"][0] + 1) / 2)
    record = both.record()["crps 1px"]
    assert record["ratio"]["low"] < ratio[0] < record["ratio"]["high"]
    assert record["sample"]["starts"] == 10


def test_an_event_without_a_score_is_left_out_of_its_mean(rng):
    first, second = (scores(event(rng, 4, error=e), moments(4), 10) for e in (0.5, 0.0))
    second.values["brier 5 mm/h"]["ratio"][:] = np.nan
    assert mean([first, second]).values["brier 5 mm/h"]["ratio"][0] == first.values["brier 5 mm/h"]["ratio"][0]


def test_tables_have_a_row_for_each_event_and_their_mean(rng):
    events = {name: scores(event(rng, 4, error=e), moments(4), 10) for name, e in {"here": 1.0, "there": 0.0}.items()}
    average = mean(list(events.values()))
    text = markdown(events, average, {"nowcast": "mine", "steps": "pysteps", "members": 4})
    rows = [line for line in text.splitlines() if line.startswith("| ")]
    assert [row.split(" | ")[0] for row in rows[2:5]] == ["| here", "| there", "| mean of events"]
    assert len(rows) == 5 * 5
    crps = events["here"].record()["crps 1px"]["ratio"]
    assert f"| {crps['value']:.3f}* ({crps['low']:.3f} to {crps['high']:.3f}) |" in rows[2]
    assert len({row.count("|") for row in rows[:5]}) == 1


def test_the_chart_has_a_panel_for_each_event_and_their_mean(rng, tmp_path):
    events = {name: scores(event(rng, 4), moments(4), 10) for name in ("here", "there")}
    average = mean(list(events.values()))
    figure = chart(events, average)
    titles = [axes.get_title("left") for axes in figure.axes if axes.axison]
    assert titles == ["here (4 starts)", "there (4 starts)", "mean of events (8 starts)"]
    assert by_lead(average, 1)[0] == [10, 20, 30, 40, 50, 60, 70]
    figure.savefig(tmp_path / "crps.png")


def test_reliability_and_ranks_are_for_json(rng):
    sums = event(rng, 3)
    found = json.loads(json.dumps(tables(sums), allow_nan=False))
    reliability = found["nowcast"]["reliability"]["2 mm/h"]
    assert sum(reliability["pixels"]) == sum(start["steps"]["pixels 1px"].sum() for start in sums)
    assert reliability["probability"] == [0, 0.25, 0.5, 0.75, 1]
    assert len(found["steps"]["rank_histogram"]) == 5
