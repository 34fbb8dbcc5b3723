"""Help, messages about values and paths, and the ends of a program."""

import functools
import os
import subprocess
import sys
import warnings

from convlstm.cli.configuration import quoted
from tests.support import tiny
from tests.support.tiny import OVERRIDES, PROJECT, call, environment, snapshot

import pytest

SHORT = (*OVERRIDES, "trainer.max_steps=2")


@pytest.fixture
def train(monkeypatch, capsys):
    return functools.partial(call, "train", monkeypatch, capsys)


@pytest.fixture
def evaluate(monkeypatch, capsys):
    return functools.partial(call, "evaluate", monkeypatch, capsys)


MODELS = ", ".join(sorted(path.stem for path in (PROJECT / "configs" / "model").glob("*.yaml")))


EXPERIMENTS = ", ".join(sorted(path.stem for path in (PROJECT / "configs" / "experiment").glob("*.yaml")))


KEYS = "Keys of trainer: max_steps, batch_size, "


def test_help_of_train(train):
    status, out, err = train("--help")
    assert (status, err) == (0, "")
    for text in (
        "Trains a forecaster",
        f"model: {MODELS}",
        "  max_steps: 20000",
        "resume=runs/NAME",
        "-m schedule.learning_rate=1e-3,3e-4",
    ):
        assert text in out


def test_help_of_evaluate(evaluate):
    status, out, err = evaluate("--help")
    assert (status, err) == (0, "")
    for text in ("ckpt: null", "python evaluate.py ckpt=[runs/a,runs/b]", "sequences: null"):
        assert text in out


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (
            "model=foo",
            f"model has no choice 'foo'.\nChoices of model: {MODELS}",
        ),
        ("model=shi2016", "model has no choice 'shi2016'. Did you mean 'shi2015'?"),
        ("optimizer=foo", "Choices of optimizer: adam, adam_one_cycle, adamw, muon, rmsprop"),
        ("experiment=foo", f"Choices of experiment: {EXPERIMENTS}"),
        ("trainer.max_step=3", f"there is no key 'trainer.max_step'. Did you mean 'trainer.max_steps'?\n{KEYS}"),
        ("model.hiden=1", "there is no key 'model.hiden'. Did you mean 'model.hidden_channels'?\nKeys of model: in_ch"),
        ("optimzer.eps=1", "there is no key 'optimzer.eps'."),
        ("zzz=1", "there is no key 'zzz'.\nKeys: model, data, optimizer, schedule, loss, trainer, output, name, seed"),
        ("loss.weight=1", "there is no key 'loss.weight'.\nKeys of loss: epsilon"),
        (
            "+model.foo=1",
            "model.foo, model.cell: [EncoderForecaster] cell='convlstm' has layers without 'foo': leave that out",
        ),
        (
            "+trainer.log_evry=1",
            "there is no key 'trainer.log_evry'. Did you mean 'trainer.log_every'?\nKeys of trainer: max_steps, ",
        ),
        (
            "data._target_=convlstm.datasets.moving_mnist.MovingMNIST data.digits=foo",
            "'digits' must be one of auto, mnist, builtin",
        ),
        (
            "trainer.monitor=foo",
            "'monitor' must be one of val_loss, val_mse_per_frame, val_mae_per_frame, val_psnr but got",
        ),
        ("model.activation=foo", "'activation' must be one of sigmoid, linear but got 'foo'"),
        ("trainer.max_steps=abc", "'trainer.max_steps' must be int but got 'abc'."),
        ("trainer.max_steps=0", "'max_steps' must be a whole number of at least 1 but got 0."),
        ("trainer.patience=1.5", "'trainer.patience' must be int | null but got 1.5."),
        ("model.hidden_channels=4", "'model.hidden_channels' must be list[int] but got 4."),
        ("model.hidden_channels=[a]", "'model.hidden_channels' must be list[int] but got ['a']."),
        ("model.concatenate=1", "'model.concatenate' must be bool but got 1."),
        ("schedule.learning_rate=fast", "'schedule.learning_rate' must be float but got 'fast'."),
        ("optimizer.learning_rate=fast", "'optimizer.learning_rate' must be "),
        ("optimizer.betas=3", "'optimizer.betas' must be list[float] but got 3."),
        ("loss=mse_mae loss.weights=2", "'loss.weights' must be list[float] | null but got 2."),
        ("model.kernel_size=4", "'kernel_size' must be odd but got 4"),
        ("data.step=[0.1,2]", "'step' must be a number from 0 to 1"),
        ("data.frame_size=18", "frames of 18x18 cannot be cut into patches of 4x4"),
        ("model.in_channels=2", "expected inputs of shape NTHWC with C=2 channels"),
        (
            "model.out_channels=2 model.next_frame_weight=0",
            "the model's forecasts are (2, 3, 16, 16, 2) but the data's targets",
        ),
        ("trainer.batch_size=23", "an epoch has 22 sequences, fewer than 'batch_size' (23)"),
        ("data.train_sequences=???", "'data.train_sequences' has no value. Give it one: data.train_sequences=VALUE."),
        ("seed=abc", "'seed' must be a whole number of at least 0 but got 'abc'."),
        ("seed=-1", "'seed' must be a whole number of at least 0 but got -1."),
        ("deterministic=3", "'deterministic' must be true or false but got 3."),
        ("name=null", "'name' must be a path but got None."),
        ("resume=nowhere", "'nowhere' does not exist. Give a run's folder or a checkpoint's folder."),
        ("resume=5", "'5' does not exist."),
        (
            "model._target_=convlstm.models.Nothing",
            "'model._target_' names 'convlstm.models.Nothing', which cannot be loaded: Are you sure that 'Nothing' is",
        ),
        ("model._target_=os.system", "os.system"),
        ("trainer", "Error parsing override 'trainer'"),
    ],
)
def test_wrong_values_are_refused(change, text, train, tmp_path):
    output = tmp_path / "runs"
    status, out, err = train(*OVERRIDES, f"output={output}", *change.split(" "))
    assert (status, out) == (1, "")
    assert text in err
    assert err.startswith("train.py: ")
    assert "Traceback" not in err
    assert not output.exists()


def test_an_output_below_a_file_is_refused(train, tmp_path):
    (tmp_path / "file").write_text("mine")
    for output in (tmp_path / "file" / "sub", tmp_path / "file"):
        status, out, err = train(*SHORT, f"output={output}", "name=a")
        assert (status, out) == (1, "")
        assert f"'{output / 'a'}': Not a directory. Choose another path, or change what is there." in err
    status, _, err = train(*SHORT, f"output={tmp_path}", "name=file")
    assert status == 1
    assert f"'{tmp_path / 'file'}': File exists. Choose another path" in err
    assert snapshot(tmp_path) == {"file": b"mine"}


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_an_output_without_permission_is_refused(train, tmp_path):
    (tmp_path / "run").mkdir()
    tmp_path.chmod(0o500)
    for name in ("run", "other"):
        (tmp_path / "run").chmod(0o500)
        status, _, err = train(*SHORT, f"output={tmp_path}", f"name={name}")
        assert status == 1
        assert f"'{tmp_path / name}': Permission denied" in err
    assert snapshot(tmp_path) == {}
    tmp_path.chmod(0o700)


@pytest.mark.parametrize(
    ("argument", "expected"),
    [
        ("out=/data/Müller/x.nc", 'out="/data/Müller/x.nc"'),
        ("out=übung.nc", 'out="übung.nc"'),
        ('out=/a/it\'s "(1)".nc', 'out="/a/it\'s \\"(1)\\".nc"'),
        # Values that Hydra can read stay as they are.
        ("out=/a b/c.nc", None),
        ("ckpt=[/a/b,/c/d]", None),
        ("out='/ä/b'", None),
        ("horizon=3", None),
        ("model.size=(3", None),
        ("--help", None),
    ],
)
def test_paths_need_no_quotes_of_hydra_s(argument, expected):
    assert quoted(argument) == (argument if expected is None else expected)


def test_an_interruption_at_the_start_leaves_nothing(train, tmp_path, monkeypatch):
    def impatient(*arguments, **more):
        raise KeyboardInterrupt

    monkeypatch.setattr("tests.support.tiny.blots", impatient)
    status, out, err = train(*SHORT, f"output={tmp_path / 'runs'}")
    assert (status, out) == (130, "")
    assert err.strip() == "train.py: interrupted."
    assert not (tmp_path / "runs").exists()


def test_a_warning_is_a_line(train, tmp_path, monkeypatch):
    def warn(seed=0, blots=tiny.blots):
        warnings.warn("these digits are blots", stacklevel=1)
        return blots(seed)

    monkeypatch.setattr(tiny, "blots", warn)
    with warnings.catch_warnings():
        warnings.simplefilter("default")
        status, _, err = train(*SHORT, f"output={tmp_path}")
    assert status == 0
    assert err == "warning     these digits are blots\n"


def test_the_program_exits_with_one_message(tmp_path):
    """A process has exit status 1, prints only the message and leaves nothing in the working folder."""
    for command, argument, text in (
        ("train", "trainer.max_step=3", "there is no key 'trainer.max_step'. Did you mean 'trainer.max_steps'?"),
        ("evaluate", "ckpt=nowhere", "ckpt: 'nowhere' does not exist. Give a run's folder or a checkpoint's folder."),
    ):
        done = subprocess.run(
            [sys.executable, PROJECT / f"{command}.py", argument],
            cwd=tmp_path,
            env=environment(),
            capture_output=True,
            text=True,
            timeout=120,
        )
        assert (done.returncode, done.stdout) == (1, "")
        assert done.stderr.startswith(f"{command}.py: {text}\n")
        assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("program", [["summary.py", "model=shi2015", "memory=false"], ["-m", "convlstm.cli", "--help"]])
def test_a_program_ends_silently_if_nobody_reads_its_output(program):
    read, write = os.pipe()
    os.close(read)
    with os.fdopen(write, "wb") as nobody:
        line = [sys.executable, *program]
        done = subprocess.run(line, cwd=PROJECT, stdout=nobody, stderr=subprocess.PIPE, text=True, timeout=120)
    assert (done.returncode, done.stderr) == (141, "")


@pytest.mark.parametrize("obstacle", ["no compiler", "failing compiler", "missing folder"])
def test_where_nothing_can_be_compiled_commands_go_on_and_say_why_once(tmp_path, obstacle, monkeypatch):
    monkeypatch.delenv("MLX_DISABLE_COMPILE")
    variables = {"CONVLSTM_KERNELS": "none"}
    if obstacle == "missing folder":
        (tmp_path / "cache").touch()
        variables |= {"TMPDIR": str(tmp_path / "missing"), "XDG_CACHE_HOME": str(tmp_path / "cache")}
    else:
        compiler = tmp_path / "bin" / "g++"
        compiler.parent.mkdir()
        if obstacle == "failing compiler":
            compiler.write_text('#!/bin/sh\n[ "$1" = --version ] && exit 0\necho disk full >&2\nexit 1\n')
            compiler.chmod(0o755)
            (tmp_path / "tmp").mkdir(mode=0o700)
            variables |= {"TMPDIR": str(tmp_path / "tmp")}
        variables |= {"PATH": str(compiler.parent) + (":/bin" if obstacle == "failing compiler" else "")}
    done = tiny.train("trainer.max_steps=2", f"output={tmp_path}", "name=a", **variables)
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("Functions are not compiled, which costs speed: ") == 1, done.stderr
    if obstacle != "failing compiler":
        return  # one shows that evaluate.py does as train.py
    line = [sys.executable, "evaluate.py", f"ckpt={tmp_path / 'a'}", "trusted=[tests]", "sequences=1", "examples=[]"]
    done = subprocess.run(line, cwd=PROJECT, env=environment(**variables), capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("Functions are not compiled, which costs speed: ") == 1, done.stderr


def test_with_kernels_training_and_evaluation_compile_nothing(kernels, tmp_path, monkeypatch):
    monkeypatch.delenv("MLX_DISABLE_COMPILE")
    (tmp_path / "tmp").mkdir(mode=0o700)
    variables = {"TMPDIR": str(tmp_path / "tmp")}
    done = tiny.train("trainer.max_steps=2", f"output={tmp_path}", "name=a", **variables)
    assert (done.returncode, done.stderr) == (0, "")
    line = [sys.executable, "evaluate.py", f"ckpt={tmp_path / 'a'}", "trusted=[tests]", "sequences=1", "examples=[]"]
    done = subprocess.run(line, cwd=PROJECT, env=environment(**variables), capture_output=True, text=True, timeout=300)
    assert (done.returncode, done.stderr) == (0, "")
    assert list((tmp_path / "tmp").iterdir()) == []
