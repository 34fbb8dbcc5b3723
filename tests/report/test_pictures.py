"""The pictures of an evaluation."""

from __future__ import annotations

from convlstm.architectures.ensemble import Ensemble
from convlstm.evaluation.scoring import Evaluation
from convlstm.report import pictures, write_pictures
from tests.support import sea, tiny
from tests.support.pages import Rain, evaluation, run

import pytest


@pytest.fixture
def drawn(monkeypatch):
    """The calls that would draw pictures, recorded instead."""
    calls = {}
    for name in (
        "forecast_gif", "forecast_panel", "rain_gif", "rain_panel", "lead_curves", "training_curve", "score_curves",
        "fss_by_scale", "spectra", "reliability_diagram", "rank_histogram", "spread_skill", "field_gif", "field_panel",
    ):  # fmt: skip
        monkeypatch.setattr(pictures, name, lambda path, *a, _name=name, **how: calls.setdefault(_name, (path, a, how)))
    return calls


def test_frames_have_pictures_and_an_animation(drawn, tmp_path):
    result = evaluation(("a", "b"), keep=2)
    found = write_pictures(tmp_path, result)
    assert [path.name for path in found] == ["forecast_0.png", "forecast_1.png", "forecast_0.gif", "lead_times.png"]
    assert list(drawn["forecast_gif"][1][2]) == list(drawn["forecast_panel"][1][2]) == ["a", "b", "persistence"]
    assert drawn["lead_curves"][2] == {"title": "3 sequences", "frame_interval": None}
    drawn.clear()
    write_pictures(tmp_path, result, animated=["b"])
    assert list(drawn["forecast_gif"][1][2]) == ["b"]


def test_rain_has_maps_scales_and_times_of_its_split(drawn, tmp_path):
    class Clock(Rain):
        def times(self, split, index):
            asked.append((split, index))
            return super().times(split, index)

    asked: list[tuple[str, int]] = []
    found = write_pictures(tmp_path, evaluation(rain=Rain(), missing=False, keep=1), rain=Clock(), split="validation")
    assert [path.name for path in found] == [
        "forecast_0.png", "forecast_0.gif", "csi.png", "fss.png", "spectra.png", "lead_times.png",
    ]  # fmt: skip
    assert asked == [("validation", 0)]
    assert len(drawn["rain_panel"][2]["times"]) == 7
    assert drawn["fss_by_scale"][2]["pixel_km"] == 2.0


@pytest.mark.parametrize("size", [(1, 1), (2, 2)])
def test_frames_too_small_for_waves_have_no_spectra(size, drawn, tmp_path):
    found = write_pictures(tmp_path, evaluation(rain=Rain(), missing=False, size=size, keep=0), rain=Rain())
    assert [path.name for path in found] == ["csi.png", "fss.png", "lead_times.png"]


@pytest.mark.parametrize(("fields", "thresholds"), [([sea.SST], [20]), ([sea.SST], ()), ([sea.SST, sea.WIND], ())])
def test_ensembles_of_fields_have_pictures_of_each(fields, thresholds, drawn, tmp_path):
    data = sea.Sea(fields)
    data.thresholds = thresholds
    ensemble = Ensemble([tiny.Fade(0.9, 0.0), tiny.Fade(0.6, 0.0)])
    result = sea.evaluation(data, {"e": ensemble})
    found = [path.name for path in write_pictures(tmp_path, result, fields=data)]
    endings = [f"_{field.name}" for field in fields] if len(fields) > 1 else [""]
    kinds = (*(["reliability"] if thresholds else []), "rank_histogram", "spread_skill")
    assert found[found.index("lead_times.png") + 1 :] == [f"{kind}{end}.png" for end in endings for kind in kinds]
    if len(fields) > 1:
        (tmp_path / "rank_histogram_u10.png").write_bytes(b"foreign")
        with pytest.raises(FileExistsError, match="rank_histogram_u10"):
            write_pictures(tmp_path, result, fields=data)


def test_a_log_and_an_ensemble_add_pictures(drawn, tmp_path):
    best = run(tmp_path / "a")
    result: Evaluation = evaluation(keep=0, more={"e": Ensemble([tiny.Fade(0.9, 0.0), tiny.Fade(0.6, 0.0)])})
    found = write_pictures(tmp_path, result, log=best.parent.parent / "metrics.csv")
    assert [path.name for path in found] == [
        "lead_times.png", "reliability.png", "rank_histogram.png", "spread_skill.png", "training.png",
    ]  # fmt: skip
    assert next(row["step"] for row in drawn["training_curve"][1][0]) == "10"
