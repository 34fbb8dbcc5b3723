"""`convlstm export`: what is written forecasts as the model does, and what cannot be exported is refused by name."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import asdict

from convlstm import checkpoints
from convlstm.checkpoints.build import build
from convlstm.export import mlx_function, pytorch
from convlstm.export.__main__ import export, main, parsed, waves
from convlstm.export.pytorch import ExportError, settings_of, state_dict
from convlstm.runs.progress import Progress
from tests.support.project import PROJECT

import mlx.core as mx
import mlx.optimizers as optim
import numpy as np
import pytest
from mlx.utils import tree_map

pytestmark = pytest.mark.usefixtures("without_compilation")

ENCODER_FORECASTER = "convlstm.models.EncoderForecaster"
RESAMPLED = {
    "patch_size": 1,
    "kernel_size": 3,
    "downsample": [
        {"channels": 3, "kernel_size": 4, "stride": 2, "padding": 1},
        {"channels": 5, "kernel_size": 3, "stride": 3},
    ],
    "upsample": [
        {"channels": 3, "kernel_size": 4, "stride": 2, "padding": 1},
        {"channels": 5, "kernel_size": 3, "stride": 3, "bias": False},
    ],
    "head_channels": [4],
    "activation": "linear",
}
MODELS = {
    "patches": {"in_channels": 2, "patch_size": 2, "concatenate": True, "kernel_size": [3, 5]},
    "other channels": {"in_channels": 2, "out_channels": 1, "patch_size": 2, "recurrent_kernel_size": 3},
    "peepholes of pixels": {"in_channels": 2, "kernel_size": 3, "grid_size": [12, 18], "bias": False},
    "no peepholes": {"in_channels": 2, "peepholes": False, "kernel_size": 3, "recurrent_activation": "hard_sigmoid"},
    "softsign": {"in_channels": 2, "kernel_size": 3, "state_activation": "softsign"},
    "resampled": {"in_channels": 2, **RESAMPLED},
    "gru": {"in_channels": 2, "cell": "convgru", **RESAMPLED},
    "gru of tanh": {"in_channels": 2, "cell": "convgru", "state_activation": "tanh", "patch_size": 2, "bias": False},
}
OTHERS = {
    "trajgru": {"cell": "trajgru", "links": 2},
    "circular": {"padding": "circular"},
    "advection": {"_target_": "convlstm.architectures.advection_residual.AdvectionResidual", "points": 8},
}


def model_of(**options):
    """Returns a description and its model with weights that all matter."""
    description = {"_target_": ENCODER_FORECASTER, **options}
    if description["_target_"] == ENCODER_FORECASTER:
        description.setdefault("hidden_channels", [4, 6])
    mx.random.seed(0)
    model = build(description)
    model.update(tree_map(lambda a: a + mx.random.uniform(-0.3, 0.3, a.shape), model.parameters()))
    model.eval()
    return description, model


@pytest.fixture
def run(tmp_path):
    """Returns a function that saves a model as the best checkpoint of a run, and returns the run's folder."""

    def saved(description, model, data=None):
        optimizer = optim.Adam(1e-3)
        optimizer.init(model.trainable_parameters())
        state = {**asdict(Progress(status="finished")), "data": data or {}}
        checkpoints.save(
            tmp_path / "run" / checkpoints.FOLDER / "best", model, optimizer, state, {"model": description}
        )
        return tmp_path / "run"

    return saved


DATA = {"frame_shape": [12, 18, 2], "input_frames": 3, "target_frames": 4, "transform": {"name": "Linear"}}


@pytest.mark.parametrize("name", MODELS)
def test_pytorch_forecasts_as_the_model_does(name, run, tmp_path, capsys):
    pytest.importorskip("torch")
    pytest.importorskip("safetensors")
    out = tmp_path / "exported"
    assert main([f"ckpt={run(*model_of(**MODELS[name]), DATA)}", f"out={out}"]) == 0
    printed = capsys.readouterr().out
    assert "forecasts of 4 frames of 12x18 pixels differ by at most" in printed
    assert {path.name for path in out.iterdir()} == {"forecaster.py", "settings.json", "weights.safetensors"}


def test_the_code_for_pytorch_runs_alone(run, tmp_path):
    pytest.importorskip("torch")
    pytest.importorskip("safetensors")
    description, model = model_of(**MODELS["patches"])
    export(run(description, model, DATA), tmp_path / "out")
    frames = np.random.default_rng(1).uniform(0, 1, (2, 5, 8, 12, 2)).astype(np.float32)  # others than in training
    np.save(tmp_path / "frames.npy", frames.transpose(0, 1, 4, 2, 3))
    code = """import sys, numpy as np, torch, forecaster
with torch.no_grad():
    np.save("forecast.npy", forecaster.load()(torch.from_numpy(np.load("../frames.npy")), 7).numpy())
print([name for name in ("mlx", "convlstm") if name in sys.modules])"""
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path / "out", capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "[]\n"), done.stderr
    forecast = np.load(tmp_path / "out" / "forecast.npy").transpose(0, 1, 3, 4, 2)
    np.testing.assert_allclose(forecast, np.array(model(mx.array(frames), 7)), atol=2e-6)


def test_what_pytorch_gets_without_pytorch(run, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("convlstm.export.pytorch.find_spec", lambda name: None)
    out = tmp_path / "exported"
    description, model = model_of(**MODELS["resampled"])
    assert main([f"ckpt={run(description, model, DATA)}", f"out={out}"]) == 0
    assert "compared    not: PyTorch and safetensors are not installed here" in capsys.readouterr().out
    settings = json.loads((out / "settings.json").read_text(encoding="utf-8"))
    assert settings["data"] == DATA
    weights = mx.load(str(out / "weights.safetensors"))
    assert weights["encoder.0.cell.Wx"].shape == (16, 3, 3, 3)
    np.testing.assert_array_equal(weights["encoder.0.cell.Wx"], model.encoder[0].cell.Wx.transpose(0, 3, 1, 2))
    # PyTorch's transposed convolutions have the input's channels first.
    assert weights["upsample.1.conv.weight"].shape == (6, 5, 3, 3)
    for part in ("encoder", "forecaster"):
        for level, cell in enumerate(settings["model"][part]):
            for weight, shape in cell["weights"].items():
                assert list(weights[f"{part}.{level}.cell.{weight}"].shape) == shape
    assert main([f"ckpt={tmp_path / 'run'}", f"out={out}"]) == 1
    assert "exists already" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["patches", "gru of tanh", *OTHERS])
def test_a_function_of_mlx_forecasts_as_the_model_does(name, run, tmp_path, capsys):
    description, model = model_of(**({**OTHERS, **MODELS}[name]))
    out = tmp_path / "model.mlxfn"
    if name in MODELS:
        line, shape = [f"ckpt={run(description, model, DATA)}", "horizon=2"], (1, 3, 12, 18, 2)
    else:
        sizes = ["input_frames=4", "horizon=2", "height=16", "width=20", "batch=2"]
        line, shape = [f"ckpt={run(description, model)}", *sizes], (2, 4, 16, 20, 1)
    assert main([*line, f"out={out}"]) == 0
    printed = capsys.readouterr().out
    assert f"({', '.join(map(str, shape))}) -> 2 frames" in printed
    assert "differ by at most" in printed
    frames = mx.array(1 - waves(shape))
    (forecast,) = mx.import_function(str(out))(frames)
    np.testing.assert_allclose(np.array(forecast), np.array(model(frames, 2)), atol=1e-5)


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"cell": "trajgru", "links": 2}, "TrajGRU layers have no form in PyTorch here"),
        ({"padding": "circular"}, "columns that go round"),
        ({"even_kernels": True, "kernel_size": 4}, "even kernels have no form"),
        (
            {"_target_": "convlstm.architectures.extrapolation.Extrapolation"},
            "Extrapolation has no form in PyTorch here",
        ),
    ],
)
def test_what_pytorch_does_not_have_is_refused(options, text):
    with pytest.raises(ExportError, match=text):
        settings_of(model_of(**options)[1])


def test_models_that_draw_are_refused(run, tmp_path, capsys):
    assert main(["ckpt=nowcast", f"out={tmp_path / 'a.mlxfn'}", "height=64", "width=64"]) == 1
    told = capsys.readouterr().err
    assert "LearnedSTEPS draws its members at random" in told
    assert told.endswith("Nothing was written.\n")
    assert list(tmp_path.iterdir()) == []


def test_a_wrong_export_does_not_stay(run, tmp_path, monkeypatch):
    folder = run(*model_of(**MODELS["patches"]), DATA)
    monkeypatch.setattr(mlx_function, "difference", lambda *_: float("nan"))
    with pytest.raises(ExportError, match="differs from the model's by nan"):
        export(folder, tmp_path / "a.mlxfn")
    assert not (tmp_path / "a.mlxfn").exists()


def test_sizes_that_no_one_says_are_asked_for(run, tmp_path):
    folder = run(*model_of(**MODELS["patches"]))
    with pytest.raises(ExportError, match="does not say 'input_frames': give input_frames=NUMBER"):
        export(folder, tmp_path / "a.mlxfn")
    with pytest.raises(ValueError, match="patch"):
        export(folder, tmp_path / "a.mlxfn", input_frames=3, horizon=2, height=11, width=12)


@pytest.mark.parametrize(
    ("line", "text"),
    [
        (["ckpt=a"], "'out' must be given"),
        (["ckpt=a", "out=b", "out=c"], "'out' must be given once"),
        (["ckpt=a", "out=b", "horizon=0"], "'horizon' must be a whole number of at least 1 but got '0'"),
        (["ckpt=a", "into=b"], "must be KEY=VALUE with one of ckpt, out, .* but got 'into=b'"),
    ],
)
def test_arguments_that_are_wrong(line, text, capsys):
    with pytest.raises(ExportError, match=text):
        parsed(line)
    assert main(line) == 2


def test_help_and_a_checkpoint_that_is_missing(tmp_path, capsys):
    assert main(["--help"]) == 0
    assert "usage: convlstm export ckpt=RUN out=PATH" in capsys.readouterr().out
    assert main([f"ckpt={tmp_path / 'none'}", f"out={tmp_path / 'out'}"]) == 1
    assert "Nothing was written" in capsys.readouterr().err


def test_peepholes_keep_their_channels():
    _, model = model_of(**MODELS["peepholes of pixels"])
    arrays = state_dict(model)
    assert arrays["encoder.0.cell.Wci"].shape == (4, 12, 18)
    np.testing.assert_array_equal(arrays["encoder.0.cell.Wci"][2], np.array(model.encoder[0].cell.Wci)[..., 2])
    assert pytorch.CODE.is_relative_to(PROJECT)
