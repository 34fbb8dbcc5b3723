"""Fields that go round the earth, from training to forecasts, and fields that do not."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

from convlstm import Forecaster, load
from convlstm.architectures.baselines import Persistence
from convlstm.architectures.extrapolation import Extrapolation
from convlstm.architectures.sprog import SPROG
from convlstm.checkpoints import find
from convlstm.cli.columns import check_columns, check_turns, note_on_columns
from convlstm.cli.evaluation_baselines import baseline
from convlstm.datasets.columns import Columns
from convlstm.datasets.transforms import Reflectivity
from convlstm.evaluation.scoring import evaluate
from tests.support.project import PROJECT
from tests.support.tiny import call

import numpy as np
import pytest
import yaml

pytest.importorskip("netCDF4")

LON = 15.0 * np.arange(24)


def temperature(shift=0):
    """Returns temperatures (F, H, W) that go round with a wave to the east, moved by some columns."""
    t, y, x = np.meshgrid(np.arange(30), np.arange(12), np.arange(24), indexing="ij")
    values = 12 + 0.4 * y + 3 * np.sin(2 * np.pi * (x - shift - 0.5 * t) / 12)
    return (values + 2 * np.cos(2 * np.pi * (x - shift) / 24)).astype(np.float32)


def write(path, values, lon):
    import netCDF4

    with netCDF4.Dataset(path, "w") as file:
        axes = {
            "time": (6.0 * np.arange(len(values)), "hours since 2020-01-01"),
            "latitude": (60 - 5.0 * np.arange(values.shape[1]), "degrees_north"),
            "longitude": (lon, "degrees_east"),
        }
        for name, (numbers, units) in axes.items():
            file.createDimension(name, len(numbers))
            file.createVariable(name, "f8", (name,))[:] = numbers
            file[name].units = units
        variable = file.createVariable("sst", "f4", tuple(axes))
        variable[:], variable.units = values, "degC"
    return path


@pytest.fixture
def commands(tmp_path, monkeypatch, capsys):
    """Returns a function that runs a command in a folder with `ring.nc` and `rolled.nc`, and returns its output."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CONVLSTM_DATA", str(tmp_path / "indexes"))
    write(tmp_path / "ring.nc", temperature(), LON)
    write(tmp_path / "rolled.nc", temperature(8), LON)

    def run(name, *line, status=0):
        if name == "train":
            line = (
                *("experiment=fields", "data.input_frames=3", "data.target_frames=2", "data.progress=false"),
                *("trainer.batch_size=2", "trainer.max_steps=2", "model.hidden_channels=[4]", "model.kernel_size=3"),
                *("output=runs", "name=ring", *line),
            )
        got, out, err = call(name, monkeypatch, capsys, *line)
        assert got == status, out + err
        return out if status == 0 else err

    return run


def forecast(commands, source, *options):
    """Returns the forecast of a file, (T, H, W)."""
    out = f"out{len(list(Path().glob('out*')))}"
    commands("forecast", "ckpt=runs/ring", f"input={source}", "horizon=2", f"out={out}", "format=[npy]", *options)
    return np.load(next(Path(out).rglob("*.npy")))


def test_a_model_whose_columns_go_round_through_all_commands(commands):
    out = commands("train", "data.archive=ring.nc", "model.padding=circular")
    assert "note" not in "\n".join(line for line in out.splitlines() if "round" in line)
    model = load("runs/ring")
    assert model.circular
    assert model.encoder[0].cell.padding == "circular"
    assert "padding='circular'" in repr(model.encoder[0].cell)
    assert find("runs/ring").joinpath("config.yaml").read_text().count("padding: circular") == 1
    assert "EncoderForecaster" in commands("summary", "ckpt=runs/ring", "frame_size=[12,24]", "input_frames=3")
    assert "note: " not in commands("evaluate", "ckpt=runs/ring", "examples=[]")

    whole = forecast(commands, "ring.nc")
    np.testing.assert_allclose(forecast(commands, "rolled.nc"), np.roll(whole, 8, -1), atol=1e-4)
    tiled = forecast(commands, "ring.nc", "tile=16", "overlap=6")
    np.testing.assert_allclose(tiled, whole, atol=0.2 * np.ptp(whole))
    # Its tiles begin at the columns 0, 8 and 16.
    rolled = forecast(commands, "rolled.nc", "tile=16", "overlap=6")
    np.testing.assert_allclose(rolled, np.roll(tiled, 8, -1), atol=1e-4)
    forecaster = Forecaster.load("runs/ring")
    np.testing.assert_allclose(forecaster(temperature()[-3:], 2), whole.reshape(2, 12, 24), atol=1e-4)


def test_notes_where_columns_do_and_the_model_does_not_and_the_other_way_round(commands):
    out = commands("train", "data.archive=ring.nc")
    assert "note        the columns go round the earth: model.padding=circular joins the first and the last" in out
    assert not load("runs/ring").circular
    write("part.nc", temperature()[:, :, :20], LON[:20])
    text = "joins the first and the last column, but the columns cover 300 degrees of longitude, not 360"
    out = commands("train", "data.archive=part.nc", "model.padding=circular", "name=part")
    assert f"note        the model {text}" in out
    assert f"note: the model {text}." in commands("evaluate", "ckpt=runs/part", "examples=[]")
    out = commands("forecast", "ckpt=runs/part", "input=ring.nc", "horizon=1", "out=out", "crop=[0,0,12,16]")
    assert "the frames lack 8 of the 24 columns of the input: forecasts are wrong near the left and the right" in out


def test_notes_of_a_model_without_weights_also_where_a_folder_is_watched(commands):
    write("part.nc", temperature()[:, :, :20], LON[:20])
    for line in ((), ("watch=true", "forecasts=1", "interval=0.1")):
        out = commands("forecast", "model=extrapolation", "model.border=circular", "input=part.nc", "horizon=1", *line)
        assert out.count("the columns cover 300 degrees of longitude, not 360") == 1
    out = commands("forecast", "model=extrapolation", "input=ring.nc", "horizon=1", "out=other")
    assert "note        the columns go round the earth: model.border=circular joins the first and the last" in out


def test_a_crop_cannot_go_round(commands):
    line = ("data.archive=ring.nc", "model.padding=circular", "data.frame_size=[12,16]")
    err = commands("train", *line, status=1)
    assert "[EncoderForecaster] model.padding=circular joins the first and the last column" in err
    assert "lack 8 of the 24 columns of the files. Keep them all: data.frame_size=null" in err


def test_what_is_said_of_columns():
    crop, ring, part, unknown = (Columns(24, *about) for about in ((2, 360.0), (0, 360.0), (0, 300.0), (0, None)))
    around, plain = Extrapolation(border="circular"), Extrapolation()
    with pytest.raises(ValueError, match=r"\[Extrapolation\] model.border=circular joins .* lack 2 of the 24 columns"):
        check_columns(around, crop)
    for columns in (ring, part, unknown, None):
        check_columns(around, columns)
    for columns in (crop, ring, part, unknown, None):
        check_columns(plain, columns)
    assert "lack 2 of the 24 columns" in note_on_columns(around, crop)
    assert "cover 300 degrees" in note_on_columns(around, part)
    assert "model.border=circular joins" in note_on_columns(plain, ring)
    silent = [(around, ring), (around, unknown), (around, None), (plain, crop), (plain, part), (Persistence(), ring)]
    assert [note_on_columns(*pair) for pair in silent] == [None] * len(silent)


def test_baselines_and_scores_go_round_with_the_data():
    ring, crop = Columns(24, 0, 360.0), Columns(24, 2, 360.0)
    rain = SimpleNamespace(units="mm/h", thresholds=[1.0], pixel_km=None, transform=Reflectivity(), columns=ring)
    rain.physical = lambda x: 10 * np.asarray(x)
    for kind in (Extrapolation, SPROG):
        assert baseline(kind, rain, around=ring).border == "circular"
        assert baseline(kind, rain, around=crop).border == baseline(kind, rain).border == "edge"
    assert isinstance(baseline(Persistence, rain, around=ring), Persistence)

    # Rain on both sides of the seam, where the forecast has it and where it is.
    inputs, targets = np.zeros((2, 1, 1, 12, 24, 1), np.float32)
    inputs[..., 5, 23, :] = targets[..., 5, 0, :] = 0.5
    scores = []
    for rain.columns in (ring, crop):
        result = evaluate({"last": Persistence()}, [{"inputs": inputs, "targets": targets}], rain=rain, ssim=False)
        scores.append(result.scores["last"]["fss@1mmh_4px"]["overall"])
    assert scores == [pytest.approx(0.75), 0]


def test_quarter_turns_are_refused():
    around, plain = Extrapolation(border="circular"), Extrapolation()
    turned, wide, still = (
        SimpleNamespace(turns_quarters=turns, frame_shape=(24, width, 1))
        for turns, width in ((True, 24), (True, 48), (False, 24))
    )
    with pytest.raises(ValueError, match=r"data\.augment turns square frames by quarters, so that columns become rows"):
        check_turns(around, turned)
    for model, data in ((around, wide), (around, still), (plain, turned), (around, SimpleNamespace())):
        check_turns(model, data)


@pytest.mark.parametrize("name", sorted(path.stem for path in (PROJECT / "configs" / "model").glob("*.yaml")))
def test_all_models_have_columns_that_go_round_or_the_error_names_those_that_have(name, monkeypatch, capsys):
    settings = yaml.safe_load((PROJECT / "configs" / "model" / f"{name}.yaml").read_text())
    while not {"padding", "border"} & set(settings) and "defaults" in settings:
        settings |= yaml.safe_load((PROJECT / "configs" / "model" / f"{settings.pop('defaults')[0]}.yaml").read_text())
    has = {"padding", "border"} & set(settings)
    assert bool(has) is (name not in ("persistence", "learned_steps"))
    if not has or name == "extrapolation":
        command = ("evaluate", f"model={name}", "data=moving_mnist", "model.padding=circular")
        status, _, err = call(command[0], monkeypatch, capsys, *command[1:])
        assert status == 1
        expected = "model.border=circular" if has else "all networks but learned_steps have, or model.border=circular"
        assert "there is no key 'model.padding'." in err
        assert expected in err
