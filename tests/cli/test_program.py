"""The command line of train.py, and what both doors say about bad input."""

import functools
import json
import os
import shutil
import subprocess
import sys

from convlstm.cli.configuration import quoted
from tests.support.tiny import OVERRIDES, PROJECT, call, environment, snapshot

import mlx.core as mx
import pytest
import yaml

SHORT = (*OVERRIDES, "trainer.max_steps=2")


@pytest.fixture
def train(monkeypatch, capsys):
    return functools.partial(call, "train", monkeypatch, capsys)


@pytest.fixture
def evaluate(monkeypatch, capsys):
    return functools.partial(call, "evaluate", monkeypatch, capsys)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A run of two steps, for copies to be resumed or harmed."""
    output = tmp_path_factory.mktemp("trained")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HYDRA_FULL_ERROR", "1")
        patch.setattr(sys, "argv", ["train.py", *SHORT, f"output={output}", "name=run"])
        from convlstm.cli import train

        train.main()
    return output / "run"


@pytest.fixture
def run(trained, tmp_path):
    return shutil.copytree(trained, tmp_path / "runs" / "run")


def last(run):
    return run / "checkpoints" / "last"


# Help


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


def test_cfg_job_shows_what_would_run_and_runs_nothing(train, tmp_path):
    status, out, err = train("experiment=quickstart", f"output={tmp_path / 'runs'}", "--cfg", "job", "--resolve")
    assert (status, err) == (0, "")
    config = yaml.safe_load(out)
    assert config["data"]["frame_size"] == 32
    assert config["optimizer"]["learning_rate"]["steps"] == config["trainer"]["max_steps"]
    assert not (tmp_path / "runs").exists()


# A run


def test_a_run_tells_what_it_does_and_keeps_its_configuration(trained, train, run):
    config = yaml.safe_load((trained / "config.yaml").read_text())
    assert config["data"]["digits"] == "builtin"
    assert (config["name"], config["output"], config["resume"]) == ("run", str(trained.parent), None)
    assert config["schedule"]["steps"] == 2
    assert yaml.safe_load((last(trained) / "config.yaml").read_text()) == config
    files = ["checkpoints", "config.yaml", "metrics.csv", "metrics.jsonl", "run.json"]
    assert sorted(path.name for path in trained.iterdir()) == files

    status, out, err = train(*OVERRIDES, "trainer.max_steps=3", f"output={run.parent}", "name=run", "resume=auto")
    assert (status, err) == (0, "")
    lines = out.splitlines()
    assert lines[0] == f"run         {run}, from step 2 on"
    assert lines[1].startswith("device      Device(")
    assert lines[2] == "model       EncoderForecaster, 3,592 parameters"
    assert lines[3].startswith("data        name moving_mnist, digits builtin,")
    assert "changed     trainer.max_steps: 2 in the run so far, 3 from here on" in lines
    assert lines[-2].startswith("finished at step 3 of 3; best val_loss ")
    assert lines[-1] == f"Next:  python evaluate.py ckpt={run}"
    assert yaml.safe_load((run / "config.yaml").read_text())["trainer"]["max_steps"] == 3


def test_resume_auto_without_a_run_starts_one(train, tmp_path):
    status, out, _ = train(*SHORT, f"output={tmp_path}", "resume=auto", "name=first")
    assert status == 0
    assert "finished at step 2 of 2" in out
    assert (tmp_path / "first" / "checkpoints" / "last").exists()

    status, out, _ = train(*SHORT, f"output={tmp_path}", "resume=auto", "schedule.learning_rate=0.5")
    assert status == 0
    assert "resume=auto found no run of this configuration" in out
    assert len(list(tmp_path.iterdir())) == 2, "another learning rate is another run"


def test_resume_auto_finds_the_latest_run_of_the_configuration(train, run):
    other = shutil.copytree(run, run.parent / "other")
    for name in ("run", "other"):
        os.utime(run.parent / name / "checkpoints", (1e9, 1e9 + (name == "run")))
    torn = shutil.copytree(run, run.parent / "torn")
    for place in (torn / "checkpoints").iterdir():
        (place / "config.yaml").write_text("[")
    status, out, _ = train(*OVERRIDES, "trainer.max_steps=4", f"output={run.parent}", "resume=auto")
    assert status == 0
    assert out.startswith(f"run         {run}, from step 2 on\n")
    assert json.loads((last(run) / "state.json").read_text())["step"] == 4
    assert json.loads((last(other) / "state.json").read_text())["step"] == 2


def test_a_checkpoint_outside_a_run_starts_a_run_of_its_own(train, run, tmp_path):
    alone = shutil.copytree(last(run), tmp_path / "given")
    before = snapshot(alone)
    line = [*OVERRIDES, "trainer.max_steps=3", f"output={tmp_path / 'new'}", "name=mine", f"resume={alone}"]
    status, out, _ = train(*line)
    assert status == 0
    assert f"run         {tmp_path / 'new' / 'mine'}, from step 2 on" in out
    assert snapshot(alone) == before
    assert "holds a run already" in train(*line)[2]


# Runs that must not go on, or begin: nothing is changed


def test_a_name_that_is_taken(train, run):
    before = snapshot(run.parent)
    status, out, err = train(*SHORT, "seed=1", f"output={run.parent}", "name=run")
    assert (status, out) == (1, "")
    assert err == f"train.py: '{run}' holds a run already. Resume it (resume=auto), or choose another name=..."
    assert snapshot(run.parent) == before


@pytest.mark.parametrize(
    ("changes", "keys"),
    [
        (
            ["model.hidden_channels=[5]", "model.bias=false"],
            ["model.hidden_channels: [4] in the run, [5] now", "model.bias"],
        ),
        (["loss=mse"], ["loss._target_: 'convlstm.losses.BinaryCrossEntropy' in the run"]),
        (["data.num_digits=2", "seed=1"], ["data.num_digits: 1 in the run, 2 now", "seed: 0 in the run, 1 now"]),
        (["trainer.batch_size=3"], ["trainer.batch_size: 2 in the run, 3 now"]),
    ],
)
def test_a_changed_configuration_is_listed(changes, keys, train, run):
    before = snapshot(run.parent)
    for resume in ("resume=auto", f"resume={run}", f"resume={last(run)}"):
        status, out, err = train(
            *OVERRIDES, "trainer.max_steps=3", *changes, f"output={run.parent}", "name=run", resume
        )
        assert (status, out) == (1, "")
        assert "cannot be resumed with another configuration" in err
        assert all(key in err for key in keys)
        assert err.count("\n  ") == len(changes) + ("loss=mse" in changes), "and nothing else"
        assert snapshot(run.parent) == before


def test_other_digits_under_the_same_configuration_are_told(train, run, monkeypatch):
    before = snapshot(run.parent)
    monkeypatch.setenv("TINY_DIGITS", "1")
    status, out, err = train(*OVERRIDES, "trainer.max_steps=3", f"resume={run}")
    assert (status, out) == (1, "")
    assert "was trained on other data than is here:\n  digits_sha256: '" in err
    assert "Give the run its data back (data.root=" in err
    assert snapshot(run.parent) == before


def test_auto_digits_are_those_that_the_run_began_with(train, run, monkeypatch):
    line = [*OVERRIDES, "trainer.max_steps=3", f"output={run.parent}", "name=run", "resume=auto"]
    status, _, _ = train(*line, "data.digits=auto")
    assert status == 0
    assert yaml.safe_load((run / "config.yaml").read_text())["data"]["digits"] == "builtin"
    status, _, err = train(*line, "data.digits=mnist")
    assert status == 1
    assert "data.digits: 'builtin' in the run, 'mnist' now" in err


def test_another_optimizer_is_no_continuation(train, run):
    before = snapshot(run)
    status, _, err = train(*OVERRIDES, "trainer.max_steps=3", f"resume={run}", "optimizer=rmsprop")
    assert status == 1
    assert "optimizer.safetensors' belongs to another optimizer" in err
    assert snapshot(run) == before


def cut(path):
    path.write_bytes(path.read_bytes()[:-9])


@pytest.mark.parametrize("door", ["train", "evaluate"])
@pytest.mark.parametrize(
    ("harm", "text"),
    [
        (lambda folder: shutil.rmtree(folder.parent.parent), r"does not exist. Give a run's folder"),
        (lambda folder: shutil.rmtree(folder.parent), "holds no checkpoint"),
        (lambda folder: (folder / "state.json").unlink(), "is incomplete, without state.json"),
        (lambda folder: cut(folder / "model.safetensors"), "model.safetensors' is damaged"),
        (lambda folder: (folder / "state.json").write_text("{}"), "state.json' is damaged"),
        (lambda folder: (folder / "config.yaml").write_text("model: ["), "config.yaml' is damaged"),
    ],
)
def test_a_checkpoint_that_is_not_whole(harm, text, door, train, evaluate, run):
    shutil.rmtree(run / "checkpoints" / "best")
    shutil.rmtree(run / "checkpoints" / "best.previous", ignore_errors=True)
    shutil.rmtree(run / "checkpoints" / "last.previous", ignore_errors=True)
    harm(last(run))
    before = snapshot(run.parent)
    if door == "train":
        status, _, err = train(*OVERRIDES, "trainer.max_steps=3", f"resume={run}")
    else:
        status, _, err = evaluate(f"ckpt={run}", "trusted=[tests]")
    assert status == 1
    assert text in err
    assert err.startswith(f"{door}.py: ")
    assert snapshot(run.parent) == before


# Values

MODELS = ", ".join(sorted(path.stem for path in (PROJECT / "configs" / "model").glob("*.yaml")))
EXPERIMENTS = ", ".join(sorted(path.stem for path in (PROJECT / "configs" / "experiment").glob("*.yaml")))
KEYS = "Keys of trainer: max_steps, batch_size, "


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (
            "model=foo",
            f"model has no choice 'foo'.\nChoices of model: {MODELS}",
        ),
        ("model=shi2016", "model has no choice 'shi2016'. Did you mean 'shi2015'?"),
        ("optimizer=foo", "Choices of optimizer: adam, adam_one_cycle, adamw, rmsprop"),
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
def test_values_that_cannot_be(change, text, train, tmp_path):
    output = tmp_path / "runs"
    status, out, err = train(*OVERRIDES, f"output={output}", *change.split(" "))
    assert (status, out) == (1, "")
    assert text in err
    assert err.startswith("train.py: ")
    assert "Traceback" not in err
    assert not output.exists()


def test_an_output_below_a_file(train, tmp_path):
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
def test_an_output_that_may_not_be_written_to(train, tmp_path):
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
        # What Hydra reads stays as it is.
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


def test_an_interruption_while_it_starts(train, tmp_path, monkeypatch):
    def impatient(*arguments, **more):
        raise KeyboardInterrupt

    monkeypatch.setattr("tests.support.tiny.blots", impatient)
    status, out, err = train(*SHORT, f"output={tmp_path / 'runs'}")
    assert (status, out) == (130, "")
    assert err.strip() == "train.py: interrupted."
    assert not (tmp_path / "runs").exists()


def test_data_that_breaks_leaves_the_last_checkpoint_and_says_so(train, tmp_path, monkeypatch):
    monkeypatch.setenv("TINY_BROKEN", "train:0:12")
    line = [*OVERRIDES, "trainer.max_steps=8", f"output={tmp_path}", "name=a"]
    status, _, err = train(*line)
    assert status == 1
    assert "train.py: the data (train) failed after step 6: KeyError: 'no such frame' (tiny.py, line " in err
    assert f"The last good checkpoint is '{last(tmp_path / 'a')}'." in err
    monkeypatch.delenv("TINY_BROKEN")
    assert "from step 6 on" in train(*line, "resume=auto")[1]


def test_a_loss_that_is_not_finite_ends_the_program(train, tmp_path):
    status, _, err = train(
        *OVERRIDES,
        "trainer.max_steps=8",
        f"output={tmp_path}",
        "name=a",
        "loss=mse",
        "model.activation=linear",
        "model.output_mean=null",
        "optimizer.learning_rate=1e30",
        "trainer.checkpoint_every=1",
        "trainer.max_skipped=2",
    )
    assert status == 1
    assert "became" in err
    assert "with a learning rate of 1e+30, after 2 steps in a row were skipped" in err
    assert "The last good checkpoint is" in err
    assert json.loads((last(tmp_path / "a") / "state.json").read_text())["step"] >= 1
    kept = mx.load(str(last(tmp_path / "a") / "model.safetensors"))
    assert all(mx.isfinite(array).all() for array in kept.values())


def test_a_warning_is_a_line(train, tmp_path, monkeypatch):
    import warnings

    from tests.support import tiny

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
    """The same as above, of a process: exit status, nothing but the message, nothing in the current folder."""
    for door, argument, text in (
        ("train", "trainer.max_step=3", "there is no key 'trainer.max_step'. Did you mean 'trainer.max_steps'?"),
        ("evaluate", "ckpt=nowhere", "ckpt: 'nowhere' does not exist. Give a run's folder or a checkpoint's folder."),
    ):
        done = subprocess.run(
            [sys.executable, PROJECT / f"{door}.py", argument],
            cwd=tmp_path,
            env=environment(),
            capture_output=True,
            text=True,
            timeout=120,
        )
        assert (done.returncode, done.stdout) == (1, "")
        assert done.stderr.startswith(f"{door}.py: {text}\n")
        assert list(tmp_path.iterdir()) == []
