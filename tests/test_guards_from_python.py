"""Guards of the commands hold if the functions behind them are called from Python."""

from __future__ import annotations

import re
from dataclasses import replace

from convlstm.architectures.baselines import Persistence
from convlstm.convert import keras
from convlstm.convert.families import MODELS, convert, to_state_dict
from convlstm.convert.sources import ConversionError, read_state_dict, write_state_dict
from convlstm.evaluation.files import write_scores
from convlstm.evaluation.scoring import evaluate
from convlstm.forecasting.ensemble import EnsembleForecaster
from convlstm.forecasting.forecaster import Forecaster, NotFiniteError
from convlstm.report import write_page, write_pictures
from convlstm.writers import FORMATS, Forecast, write
from tests.support.tiny import Fade

import numpy as np
import pytest
from PIL import Image

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
    is_folder = not FORMATS[format].ending
    if is_folder:
        path.mkdir()
    foreign = path / "notes.txt" if is_folder else path
    foreign.write_text("mine")
    with pytest.raises(FileExistsError, match="is left alone"):
        write(path, Forecast(FRAMES, "mm/h"), format)
    assert foreign.read_text() == "mine"
    assert len(list(tmp_path.rglob("*"))) == (2 if is_folder else 1)


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


SEQUENCES = FRAMES[None, ..., None]
BATCH = {"inputs": SEQUENCES, "targets": SEQUENCES}


def refused(call, owner, name, error=ValueError):
    """Checks that a call names its owner and the argument in the room's own error, and no other."""
    with pytest.raises(error, match=rf"^\[{owner}\] .*'?{name}'? .*must .*but got ") as caught:
        call()
    assert type(caught.value) is error


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *(("forecasters", value) for value in (12, "a", [1], None, {"p": 12}, {1: Persistence()})),
        *(("batches", value) for value in (12, None, "a", BATCH, [1], [None])),
        *(("keep", value) for value in (-1, "a", 1.5, None, [None], [-1])),
        *(("cases", value) for value in (-1, "a", 1.5, None)),
        *((name, value) for name in ("rain", "fields") for value in (12, "a", [1])),
        *(("ssim", value) for value in (12, None)),
    ],
)
def test_an_evaluation_of_other_things_is_refused(name, value):
    given = {"forecasters": {"p": Persistence()}, "batches": [BATCH], name: value}
    refused(lambda: evaluate(given.pop("forecasters"), given.pop("batches"), **given), "evaluate", name)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *((name, value) for name in BATCH for value in (None, "a", [[1], [1, 2]], SEQUENCES[0], SEQUENCES[:0])),
        ("targets", np.concatenate([SEQUENCES, SEQUENCES])),
        *((name, value) for name in ("mask", "input_mask") for value in ("a", np.zeros(7), [[1], [1, 2]])),
        *(("reference", value) for value in (12, "a", FRAMES)),
    ],
)
def test_a_batch_of_other_things_is_refused(name, value):
    batch = {**BATCH, name: value}
    refused(lambda: evaluate({"p": Persistence()}, [batch], keep=1), "evaluate", name)


@pytest.mark.parametrize("forecast", [None, "abc", 12, FRAMES])
def test_a_forecast_of_another_type_is_refused(forecast):
    refused(lambda: evaluate({"p": lambda x, t: forecast}, [BATCH]), "evaluate", "the forecast of 'p'")


@pytest.mark.parametrize(
    ("write_it", "name", "value"),
    [
        *((write_scores, name, 12) for name in ("folder", "result", "record")),
        *((write_page, name, 12) for name in ("path", "result", "checkpoints", "record", "rain", "fields")),
        *((write_pictures, name, 12) for name in ("folder", "result", "animated", "rain", "fields", "log")),
        *(
            (write_it, "result", value)
            for write_it in (write_scores, write_page, write_pictures)
            for value in (None, {})
        ),
        *((write_it, "folder", value) for write_it in (write_scores, write_pictures) for value in (None, "a\0b")),
        (write_pictures, "animated", ["unknown"]),
    ],
)
def test_results_of_other_things_are_not_written(write_it, name, value, result, tmp_path):
    place = {"path": tmp_path / "report.html"} if write_it is write_page else {"folder": tmp_path}
    refused(lambda: write_it(**{**place, "result": result, name: value}), write_it.__name__, name)
    assert not list(tmp_path.iterdir())


def test_results_without_rain_are_not_shown_as_rain(result, tmp_path):
    class Rain:
        units, thresholds, pixel_km, frame_interval, physical, times = "mm/h", [1.0], None, None, None, None

    refused(lambda: write_page(tmp_path / "report.html", result, rain=Rain()), "write_page", "rain")
    refused(lambda: write_pictures(tmp_path, result, rain=Rain()), "write_pictures", "rain")


@pytest.mark.parametrize("path", [12, None, "a\0b.npz"])
def test_weights_have_a_path(path):
    refused(lambda: read_state_dict(path), "read_state_dict", "path", ConversionError)
    refused(lambda: write_state_dict(path, {}), "write_state_dict", "path", ConversionError)
    refused(lambda: keras.read(path), "read", "path", ConversionError)


@pytest.mark.parametrize("ending", ["npz", "safetensors"])
@pytest.mark.parametrize("arrays", [12, None, [1], {1: FRAMES}, {"a": None}, {"a": "b"}, {"a": np.full(3, None)}])
def test_weights_are_arrays_by_name(arrays, ending, tmp_path):
    path = tmp_path / f"weights.{ending}"
    refused(lambda: write_state_dict(path, arrays), "write_state_dict", "arrays", ConversionError)
    refused(lambda: convert(arrays), "convert", "arrays", ConversionError)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["file", "allow_pickle"])
def test_names_that_numpy_takes_for_arguments_are_refused(name, tmp_path):
    arrays = {name: FRAMES, "a": FRAMES}
    refused(lambda: write_state_dict(tmp_path / "a.npz", arrays), "write_state_dict", "arrays", ConversionError)
    assert not list(tmp_path.iterdir())
    write_state_dict(tmp_path / "a.safetensors", arrays)
    assert sorted(read_state_dict(tmp_path / "a.safetensors")) == sorted(arrays)


@pytest.mark.parametrize("target", MODELS)
def test_only_models_with_a_description_have_a_state_dict(target):
    described = {"_target_": target}
    for model in (12, None, FRAMES, Persistence()):
        refused(lambda model=model: to_state_dict(model, described), "to_state_dict", "model", ConversionError)
    for wrong in (12, None, "a", {**described, "layers": 12}, {**described, "layers": [12]}):
        refused(lambda wrong=wrong: to_state_dict(Fade(0.5), wrong), "to_state_dict", "description", ConversionError)


@pytest.mark.parametrize("frames", [[[[1, 2], [3]]], [[1], [2, 3]], [FRAMES, FRAMES[:, :8]], [FRAMES, None]])
def test_ragged_frames_are_refused(frames):
    refused(lambda: Forecaster(Persistence())(frames), "Forecaster", "frames")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *(("model", value) for value in (12, None, "a")),
        *(("grid", value) for value in (12, "a", [1], [0, 0])),
        *(("most_clipped", value) for value in ("a", None, -1, np.nan)),
        *(("record", value) for value in (12, "a", [1])),
    ],
)
def test_wrong_parts_of_a_forecaster_are_refused(name, value):
    refused(lambda: Forecaster(**{"model": Persistence(), name: value}), "Forecaster", name)


@pytest.mark.parametrize("perturb", [12, "a"])
def test_frames_are_perturbed_by_functions_only(perturb):
    refused(lambda: Forecaster(Persistence())(FRAMES, perturb=perturb), "Forecaster", "perturb")


@pytest.mark.parametrize("name", ["lead_times.png", "forecast_0.png", "forecast_0.gif", "forecast_0_wind.png"])
def test_pictures_replace_only_earlier_pictures(name, tmp_path):
    kept = evaluate({"persistence": Persistence()}, [BATCH], keep=1)
    write_pictures(tmp_path, kept)
    write_pictures(tmp_path, kept)
    (tmp_path / name).write_bytes(b"\x89PNG mine")
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}
    with pytest.raises(FileExistsError, match="it is not from an evaluation, and is left alone"):
        write_pictures(tmp_path, kept)
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_a_foreign_still_picture_is_not_replaced_by_an_animation(tmp_path):
    path = tmp_path / "forecast_0.gif"
    Image.new("L", (4, 4)).save(path)
    before = path.read_bytes()
    with pytest.raises(FileExistsError, match="left alone"):
        write_pictures(tmp_path, evaluate({"persistence": Persistence()}, [BATCH], keep=1))
    assert path.read_bytes() == before
