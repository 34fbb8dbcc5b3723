"""Guards of the commands hold if the functions behind them are called from Python."""

from __future__ import annotations

import re
from dataclasses import replace

from convlstm.architectures.baselines import Persistence
from convlstm.evaluation.files import write_scores
from convlstm.evaluation.scoring import evaluate
from convlstm.forecasting.ensemble import EnsembleForecaster
from convlstm.forecasting.forecaster import Forecaster, NotFiniteError
from convlstm.report import write_page
from convlstm.writers import FORMATS, Forecast, write
from tests.support.tiny import Fade

import numpy as np
import pytest

FRAMES = np.linspace(0, 1, 3 * 16 * 16, dtype=np.float32).reshape(3, 16, 16)
NOT_NUMBERS = {
    "complex": FRAMES.astype(complex),
    "texts": np.full(FRAMES.shape, "a"),
    "objects": np.full(FRAMES.shape, None),
    "times": np.zeros(FRAMES.shape, "datetime64[s]"),
    "empty": np.zeros((0, 16, 16)),
    "one dimension": np.zeros(3),
    "a text": "abc",
    "nothing": None,
}


@pytest.fixture(scope="module")
def result():
    frames = FRAMES[None, ..., None]
    return evaluate({"persistence": Persistence()}, [{"inputs": frames, "targets": frames}])


@pytest.mark.parametrize("frames", NOT_NUMBERS.values(), ids=NOT_NUMBERS)
def test_what_is_no_frames_is_refused(frames):
    with pytest.raises(ValueError, match=r"\[Forecaster\] 'frames' must"):
        Forecaster(Persistence())(frames)
    with pytest.raises(ValueError, match=r"\[Forecast\] 'values' must"):
        Forecast(frames, "mm/h")


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_frames_without_any_value_are_refused(value):
    with pytest.raises(ValueError, match=r"\[Forecaster\] 'frames' must have values but got none"):
        Forecaster(Persistence())(np.full_like(FRAMES, value))


def test_a_model_with_nan_weights_forecasts_nothing():
    with pytest.raises(NotFiniteError, match=r"\[Forecaster\] the model's forecast is NaN or infinite in 100.0%"):
        Forecaster(Fade(float("nan")))(FRAMES)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *(("units", value) for value in (None, 12)),
        *(("issued", value) for value in ("2020-01-01", 12)),
        *((name, value) for name in ("step", "frame_rate") for value in ("5m", 0, -1, np.nan, True)),
        *(("inputs", value) for value in ("x", [1], FRAMES.astype(complex))),
        *((name, 12) for name in ("layers", "provenance", "fields", "place")),
    ],
)
def test_wrong_parts_of_a_forecast_are_refused(name, value):
    with pytest.raises(ValueError, match=rf"\[Forecast\] '{name}' must be"):
        replace(Forecast(FRAMES, "mm/h"), **{name: value})


@pytest.mark.parametrize("format", FORMATS)
def test_writers_leave_foreign_files_alone(format, tmp_path):
    path = tmp_path / f"foreign{FORMATS[format].ending}"
    if format == "png":
        path.mkdir()
    foreign = path / "notes.txt" if format == "png" else path
    foreign.write_text("mine")
    with pytest.raises(FileExistsError, match="is left alone"):
        write(path, Forecast(FRAMES, "mm/h"), format)
    assert foreign.read_text() == "mine"
    assert len(list(tmp_path.rglob("*"))) == (2 if format == "png" else 1)


@pytest.mark.parametrize("path", [12, None, "", "a\0b"])
def test_paths_that_are_none(path):
    with pytest.raises(ValueError, match=r"\[write\] 'path' must be a "):
        write(path, Forecast(FRAMES, "mm/h"), "npy")
    if path != "":
        with pytest.raises(ValueError, match=r"\[find\] 'path' must be a path but got "):
            Forecaster.load(path)


@pytest.mark.parametrize("wrong", [{"forecast": 12}, {"format": 12}, {"format": []}])
def test_what_is_no_forecast_or_format_is_not_written(wrong, tmp_path):
    given = {"forecast": Forecast(FRAMES, "mm/h"), "format": "npy"} | wrong
    with pytest.raises(ValueError, match=rf"\[write\] '{next(iter(wrong))}' must be "):
        write(tmp_path / "forecast.npy", **given)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["report.html", "metrics.json", "metrics.csv"])
def test_results_replace_only_earlier_results(name, result, tmp_path):
    def written():
        return write_page(tmp_path / name, result) if name == "report.html" else write_scores(tmp_path, result)

    path = tmp_path / name
    path.write_text("mine")
    with pytest.raises(FileExistsError, match="it is not from an evaluation, and is left alone"):
        written()
    assert path.read_text() == "mine"
    path.write_text("")
    written()
    written()
    assert len(path.read_text()) > 100


def test_results_at_a_link_leave_its_target_alone(result, tmp_path):
    secret, link = tmp_path / "secret", tmp_path / "report.html"
    secret.write_text("secret")
    link.symlink_to(secret)
    with pytest.raises(FileExistsError):
        write_page(link, result)
    assert secret.read_text() == "secret"


@pytest.mark.parametrize("forecasters", [12, None, [1, 2], [None, None]])
def test_an_ensemble_takes_only_forecasters(forecasters):
    text = f"[EnsembleForecaster] 'forecasters' must be a list of forecasters but got {forecasters!r}."
    with pytest.raises(ValueError, match=re.escape(text)):
        EnsembleForecaster(forecasters)


@pytest.mark.parametrize("thresholds", [12, "abc", [np.nan], [None]])
def test_an_ensemble_takes_only_finite_thresholds(thresholds):
    members = [Forecaster(Persistence()), Forecaster(Persistence())]
    with pytest.raises(ValueError, match=r"\[EnsembleForecaster\] 'thresholds' must be a "):
        EnsembleForecaster(members, thresholds=thresholds)
