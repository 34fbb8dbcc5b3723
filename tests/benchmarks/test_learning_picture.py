"""The picture of what was learned in an hour."""

from __future__ import annotations

import json

from benchmarks.learning_picture import RESULTS, draw

import matplotlib.image


def test_the_kept_results_are_drawn(tmp_path):
    results = json.loads(RESULTS.read_text(encoding="utf-8"))
    for run in results["runs"]:
        assert len(run["minutes"]) == len(run["mse"]) == len(run["steps"]) > 0
        assert run["minutes"] == sorted(run["minutes"])
    draw(results, tmp_path / "hour.png")
    assert matplotlib.image.imread(tmp_path / "hour.png").std() > 0.05
