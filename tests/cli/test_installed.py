"""The project as a wheel, installed into an environment of its own and used from folders outside the checkout."""

import os
import platform
import shutil
import subprocess
import sys
import sysconfig
import venv
import zipfile
from importlib import metadata
from pathlib import Path

from convlstm.backend.blas import load_fast_blas
from convlstm.ops.cpu import build
from tests.support.forecast_runs import ENCODER, READER, write_run
from tests.support.project import PROJECT
from tests.support.radar_archives import OPTIONS, write_pictures

import numpy as np
import pytest

SETTINGS = (
    *("data.digits=builtin", "data.num_digits=1", "data.train_sequences=8", "data.validation_sequences=2"),
    *("data.test_sequences=2", "data.input_frames=3", "data.target_frames=3", "model.hidden_channels=[4]"),
    *("trainer.max_steps=2", "trainer.batch_size=2"),
)


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """Returns the wheel of the working tree."""
    # Not imported here: the two disagree about distutils.
    versions = {
        name: next((d.version for d in metadata.distributions(name=name)), "0") for name in ("pip", "setuptools")
    }
    if versions["pip"] == "0" or int(versions["setuptools"].partition(".")[0]) < 77:
        pytest.skip("building and installing the wheel needs pip and setuptools 77")
    source = tmp_path_factory.mktemp("source") / "project"
    source.mkdir()
    for folder in ("convlstm", "configs", "datasets"):
        shutil.copytree(
            PROJECT / folder, source / folder, symlinks=True, ignore=shutil.ignore_patterns("__pycache__", ".*")
        )
    for file in ("pyproject.toml", "setup.py", "README.md", "LICENSE"):
        shutil.copy(PROJECT / file, source)
    code = "from setuptools import build_meta; build_meta.build_wheel('..')"
    # The kernels that the checkout has; if it has none, they are compiled here.
    variables = {**os.environ, "CONVLSTM_LEVELS": ",".join(build.levels_here()[:1]) or "none"}
    subprocess.run([sys.executable, "-c", code], cwd=source, env=variables, check=True, capture_output=True)
    return next(source.parent.glob("*.whl"))


class Environment:
    """An environment with the wheel. It finds the libraries of the running one, but not the checkout."""

    def __init__(self, folder: Path, wheel: Path):
        self.folder = folder
        venv.create(folder, symlinks=True)
        site = next((folder / "lib").glob("python*/site-packages"))
        pip = [sys.executable, "-m", "pip", "--python", folder / "bin" / "python", "--disable-pip-version-check"]
        subprocess.run([*pip, "install", "-q", "--no-deps", "--no-index", wheel], check=True)
        (site / "libraries.pth").write_text("\n".join({sysconfig.get_path("purelib"), sysconfig.get_path("platlib")}))

    def run(self, *line: str, cwd: Path) -> subprocess.CompletedProcess:
        """Runs a program of the environment."""
        blas = load_fast_blas().path
        variables = {key: value for key, value in os.environ.items() if key not in ("PYTHONPATH", "HYDRA_FULL_ERROR")}
        variables |= {"MLX_DISABLE_COMPILE": "1", **({"CONVLSTM_BLAS": str(blas)} if blas else {})}
        program = [self.folder / "bin" / line[0], *line[1:]]
        return subprocess.run(program, cwd=cwd, env=variables, capture_output=True, text=True, timeout=120)

    def succeed(self, *line: str, cwd: Path) -> str:
        """Runs a program that ends without an error, and returns its output."""
        done = self.run(*line, cwd=cwd)
        assert done.returncode == 0, done.stderr
        return done.stdout


@pytest.fixture(scope="module")
def environment(wheel, tmp_path_factory):
    return Environment(tmp_path_factory.mktemp("environment"), wheel)


def test_the_wheel_has_all_files_of_the_package_and_no_others(wheel):
    package = PROJECT / "convlstm"
    files = {
        str(Path(folder, name).relative_to(PROJECT))
        for folder, _, names in os.walk(package, followlinks=True)
        for name in names
        if not name.startswith(".") and "__pycache__" not in folder and Path(folder) != build.BUILT
    }
    with zipfile.ZipFile(wheel) as archive:
        installed = {name for name in archive.namelist() if ".dist-info/" not in name}
    built = {name for name in installed if name.startswith("convlstm/ops/cpu/built/")}
    assert {"convlstm/datasets/radar_echo.py", "convlstm/configs/experiment/quickstart.yaml"} <= files
    assert installed - built == files


@pytest.mark.skipif(
    not (build.can_build() and build.levels_here()), reason="needs Linux, g++ and a processor of a level"
)
def test_the_wheel_has_kernels_for_this_machine_and_uses_them(wheel, environment, kernels, tmp_path):
    with zipfile.ZipFile(wheel) as archive:
        built = {Path(name).name for name in archive.namelist() if "/ops/cpu/built/" in name}
    names = (f"kernels-{build.levels_here()[0]}", f"bridge-{platform.machine()}")
    assert built == {f"{name}.{suffix}" for name in names for suffix in ("so", "json")}
    assert wheel.name.endswith(f"-py3-none-linux_{platform.machine()}.whl")
    code = "from convlstm.ops.cpu.library import library; print(library().path, library().bridge, sep='\\n')"
    done = environment.run("python", "-c", code, cwd=tmp_path)
    used = [Path(line).relative_to(environment.folder.resolve()) for line in done.stdout.splitlines()]
    assert [path.stem for path in used] == list(names), done.stderr
    assert done.stderr == ""


def test_a_model_is_trained_evaluated_and_used_from_an_empty_folder(environment, tmp_path):
    # With an experiment and a class of the user's own, in the working folder, and by a job of a sweep.
    (tmp_path / "configs" / "experiment").mkdir(parents=True)
    (tmp_path / "configs" / "experiment" / "mine.yaml").write_text(
        "# @package _global_\ndefaults: [quickstart, _self_]\nloss: {_target_: losses.Mine}\nname: mine\n"
    )
    (tmp_path / "losses.py").write_text("import convlstm.losses\n\nclass Mine(convlstm.losses.MeanSquaredError): ...\n")
    line = ("experiment=mine", "~loss.epsilon", *SETTINGS, "hydra.sweep.dir=runs")
    output = environment.succeed("convlstm", "train", "-m", "seed=3", *line, cwd=tmp_path)
    assert "finished at step 2 of 2" in output
    assert "Next:  convlstm evaluate ckpt=runs/0\n" in output
    assert "_target_: losses.Mine" in (tmp_path / "runs" / "0" / "config.yaml").read_text()

    output = environment.succeed("convlstm", "evaluate", "ckpt=runs/0", "sequences=2", "examples=[0]", cwd=tmp_path)
    assert "runs/0/evaluation/report.html" in output

    np.save(tmp_path / "frames.npy", np.random.default_rng(0).random((3, 32, 32), np.float32))
    environment.succeed("convlstm", "forecast", "ckpt=runs/0", "input=frames.npy", "out=next.npy", cwd=tmp_path)
    assert np.load(tmp_path / "next.npy").shape == (3, 32, 32, 1)


RADAR = """
import importlib.util, sys
import convlstm
from pathlib import Path
import numpy as np
assert Path(convlstm.__file__).is_relative_to(sys.prefix), convlstm.__file__
assert importlib.util.find_spec("datasets") is None, "a package called datasets is installed"
forecaster = convlstm.Forecaster.load(sys.argv[1])
print(type(forecaster.scale).__name__, forecaster.units, forecaster(np.ones((3, 40, 48))).shape)
"""


def test_a_radar_checkpoint_of_the_checkout_loads_elsewhere(environment, tmp_path):
    scale = {"_target_": "convlstm.datasets.transforms.LogRain", "minimum": 0.1, "maximum": 100.0}
    section = {"_target_": "convlstm.datasets.radar_echo.RadarEcho", "transform": scale, "reader": OPTIONS}
    run = write_run(tmp_path / "runs" / "rain", ENCODER, section=section)
    write_pictures(tmp_path / "radar", 4)
    output = environment.succeed("python", "-c", RADAR, str(run), cwd=tmp_path)
    assert output == "LogRain mm/h (4, 40, 48)\n"
    line = (f"ckpt={run}", f"input={tmp_path / 'radar'}", "out=next.npy")
    assert "forecast    4 frames to" in environment.succeed("convlstm", "forecast", *line, cwd=tmp_path)


def test_the_wheel_forecasts_rain_with_its_own_weights(environment, tmp_path):
    write_pictures(tmp_path / "radar", 5)
    line = ("ckpt=nowcast", "input=radar", READER, "horizon=2", "out=next.npy")
    assert "forecast    2 frames to" in environment.succeed("convlstm", "forecast", *line, cwd=tmp_path)
    assert np.load(tmp_path / "next.npy").shape == (2, 40, 48)
    code = "import convlstm; print(convlstm.Forecaster.load('nowcast').size)"
    assert environment.succeed("python", "-c", code, cwd=tmp_path) == "24\n"


def test_the_command_explains_itself(environment, tmp_path):
    listing = environment.succeed("convlstm", cwd=tmp_path)
    assert environment.succeed("convlstm", "--help", cwd=tmp_path) == listing
    assert environment.succeed("convlstm", "--version", cwd=tmp_path).startswith("convlstm ")
    unknown = environment.run("convlstm", "evalute", cwd=tmp_path)
    assert (unknown.returncode, unknown.stdout) == (2, "")
    assert unknown.stderr.startswith("convlstm: there is no command 'evalute'. Did you mean 'evaluate'?")
    wrong = environment.run("convlstm", "train", "trainer.max_step=3", cwd=tmp_path)
    assert (wrong.returncode, wrong.stdout) == (1, "")
    assert wrong.stderr.startswith("convlstm train: there is no key 'trainer.max_step'.")
    assert list(tmp_path.iterdir()) == []
