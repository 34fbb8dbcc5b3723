"""Logging to TensorBoard, Weights & Biases and MLflow.

TensorBoard comes with the test extra; the other two are tested where they are installed.
"""

from __future__ import annotations

import json
import os
import signal
import struct
import subprocess
import sys
import time
from pathlib import Path

from convlstm.runs import loggers
from convlstm.runs.loggers import MLflow, TensorBoard, WandB, tag
from convlstm.runs.metrics_log import MetricsLog
from tests.support.logged import CONFIG, run
from tests.support.project import PROJECT

import pytest

# All three: names, and missing packages


def test_tags_are_grouped():
    assert [tag(name) for name in ("train_loss", "val_mse_per_frame", "learning_rate", "seconds", "val")] == [
        "train/loss",
        "val/mse_per_frame",
        "train/learning_rate",
        "train/seconds",
        "train/val",
    ]


@pytest.mark.parametrize(("kind", "extra"), [(TensorBoard, "tensorboard"), (WandB, "wandb"), (MLflow, "mlflow")])
def test_a_missing_package_is_named(kind, extra, monkeypatch):
    for name in [name for name in sys.modules if name.partition(".")[0] == extra]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, extra, None)
    for name in ("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "MLFLOW_HTTP_REQUEST_TIMEOUT"):
        monkeypatch.setenv(name, "1")
    with pytest.raises(ImportError, match=rf"\[{kind.__name__}\] .* Install it: pip install 'convlstm\[{extra}\]', or"):
        kind()


# TensorBoard


@pytest.fixture
def tensorboard():
    pytest.importorskip("tensorboard.summary.writer.event_file_writer")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    def read(folder):
        accumulator = EventAccumulator(str(folder), size_guidance={"scalars": 0, "tensors": 0})
        accumulator.Reload()
        tags = accumulator.Tags()
        scalars = {name: [(e.step, round(e.value, 6)) for e in accumulator.Scalars(name)] for name in tags["scalars"]}
        texts = [e.tensor_proto.string_val[0].decode() for e in accumulator.Tensors("config")]
        return scalars, texts

    return read


def test_tensorboard_has_every_column_by_step_and_the_configuration(tensorboard, tmp_path):
    run(tmp_path / "mine", [TensorBoard()], [2, 4])
    scalars, texts = tensorboard(tmp_path / "mine")
    assert scalars == {
        "train/seconds": [(2, 1.0), (4, 2.0)],
        "train/loss": [(2, 0.5), (4, 0.25)],
        "val/psnr": [(4, 24.0)],
    }
    assert texts == [
        "    model:\n      kernel_size: 3\n      hidden_channels:\n      - 4\n      - 4\n    seed: 0",
    ]


def test_tensorboard_has_no_step_twice_after_a_resume(tensorboard, tmp_path):
    run(tmp_path, [TensorBoard()], range(1, 8), status="running")
    # As two processes do it, whose files are read in the order of their names.
    (first,) = tmp_path.glob("events.out.tfevents.*")
    first.rename(first.with_name("events.out.tfevents.0000000001.host.1.0"))
    run(tmp_path, [TensorBoard()], range(5, 10), step=4, value=lambda step: float(step))
    scalars, texts = tensorboard(tmp_path)
    expected = [(n, round(1 / n, 6)) for n in range(1, 5)] + [(n, float(n)) for n in range(5, 10)]
    assert scalars["train/loss"] == expected
    assert len(texts) == 2, "the configuration may have changed"


def test_tensorboard_chosen_later_has_the_rows_before(tensorboard, tmp_path):
    run(tmp_path, [], range(1, 4))
    run(tmp_path, [TensorBoard()], [4, 5], step=3)
    scalars, _ = tensorboard(tmp_path)
    assert [step for step, _ in scalars["train/loss"]] == [1, 2, 3, 4, 5]


def test_tensorboard_without_a_folder_is_a_warning(tmp_path, monkeypatch):
    pytest.importorskip("tensorboard.summary.writer.event_file_writer")
    logger = TensorBoard()
    monkeypatch.setattr(logger.writers, "EventFileWriter", lambda folder: Path("/dev/null/nowhere").mkdir())
    with pytest.warns(UserWarning, match="TensorBoard does not log: NotADirectoryError"):
        run(tmp_path, [logger], [1])


# Weights & Biases, offline


def wandb_records(folder):
    """Returns the steps and losses of an offline run by file, in the order of time, and the ids of the runs."""
    parts, ids = [], set()
    for file in sorted(folder.glob("wandb/offline-run-*/*.wandb")):
        ended = False
        while not ended:  # another process writes it, which may end after the run
            time.sleep(0.05)
            rows, ended = [], False
            for record in wandb_file(file.read_bytes()):
                if record.HasField("history"):
                    items = {(i.key or "/".join(i.nested_key)): json.loads(i.value_json) for i in record.history.item}
                    rows.append((record.history.step.num, items["train/loss"]))
                elif record.HasField("run"):
                    ids.add(record.run.run_id)
                ended = ended or record.HasField("exit")
        parts.append(rows)
    return parts, ids


def wandb_file(data):
    """Yields the records of a file: seven bytes, then LevelDB's log format."""
    from wandb.proto import wandb_internal_pb2 as messages

    place, whole = 7, b""
    while place + 7 <= len(data):
        if (left := 32768 - place % 32768) < 7:
            place += left
            continue
        size, kind = struct.unpack("<HB", data[place + 4 : place + 7])
        whole, place = whole + data[place + 7 : place + 7 + size], place + 7 + size
        if kind in (1, 4):
            record = messages.Record()
            record.ParseFromString(whole)
            whole = b""
            yield record


def test_wandb_continues_the_run_without_a_step_twice(tmp_path):
    pytest.importorskip("wandb")
    run(tmp_path, [WandB(tags=["a"], group="g")], range(1, 8), status="running")
    first, ids = wandb_records(tmp_path)
    assert [step for step, _ in first[0]] == list(range(1, 8))
    for place in tmp_path.glob("wandb/offline-run-*"):
        place.rename(place.with_name("offline-run-00000000_000000-" + place.name.rpartition("-")[2]))
    run(tmp_path, [WandB()], range(5, 10), step=4)
    parts, again = wandb_records(tmp_path)
    assert [[step for step, _ in part] for part in parts] == [list(range(1, 8)), [8, 9]]
    assert dict(row for part in parts for row in part) == {n: pytest.approx(1 / n) for n in range(1, 10)}
    assert again == ids
    assert len(ids) == 1


KILL = """
import sys
sys.path.insert(0, sys.argv[1])
import os, signal
from tests.support import logged
from convlstm.runs.loggers import WandB
from pathlib import Path

def die(step):
    if step == 7:
        os.kill(os.getpid(), signal.SIGKILL)
    return 1 / step

logged.run(Path(sys.argv[2]), [WandB()], range(4, 9), step=3, value=die)
"""


def test_wandb_has_every_row_once_after_a_kill(tmp_path):
    pytest.importorskip("wandb")
    run(tmp_path, [WandB()], range(1, 4), status="interrupted by SIGTERM")
    # Without the address of the service that this process has started.
    variables = {name: value for name, value in os.environ.items() if not name.startswith("WANDB_")}
    done = subprocess.run([sys.executable, "-c", KILL, PROJECT, tmp_path], cwd=PROJECT, env=variables)
    assert done.returncode == -signal.SIGKILL
    run(tmp_path, [WandB()], range(6, 10), step=5)
    parts, ids = wandb_records(tmp_path)
    assert sorted(row for part in parts for row in part) == [(n, pytest.approx(1 / n)) for n in range(1, 10)]
    assert len(ids) == 1


def test_wandb_without_its_server_warns_once(tmp_path, monkeypatch):
    pytest.importorskip("wandb")
    monkeypatch.setenv("WANDB_BASE_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("WANDB_API_KEY", "0" * 40)
    monkeypatch.setattr(loggers, "TIMEOUT", 2.0)
    with pytest.warns(UserWarning, match="WandB does not log: ") as told:
        run(tmp_path, [WandB(mode="online")], [1, 2, 3])
    assert len(told) == 1
    assert len(MetricsLog.read(tmp_path / "metrics.csv")) == 3


def test_wandb_refuses_an_unknown_mode():
    with pytest.raises(ValueError, match=r"\[WandB\] 'mode' must be offline or online but got 'disabled'."):
        WandB(mode="disabled")


# MLflow, in files


@pytest.fixture
def mlflow(monkeypatch):
    for name in ("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "MLFLOW_HTTP_REQUEST_TIMEOUT"):
        monkeypatch.setenv(name, "1")
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    return pytest.importorskip("mlflow")


def mlflow_runs(mlflow, place, experiment="convlstm"):
    client = mlflow.MlflowClient(tracking_uri=place.as_uri())
    found = client.search_runs([client.get_experiment_by_name(experiment).experiment_id])
    losses = [[(m.step, m.value) for m in client.get_metric_history(r.info.run_id, "train/loss")] for r in found]
    return client, found, losses


def test_mlflow_continues_the_run_without_a_step_twice(mlflow, tmp_path):
    run(tmp_path / "mine", [MLflow()], range(1, 8), status="interrupted by SIGINT")
    client, (found,), (losses,) = mlflow_runs(mlflow, tmp_path / "mlruns")
    assert losses == [(n, 1 / n) for n in range(1, 8)]
    assert found.info.run_name == "mine"
    assert found.info.status == "KILLED"
    assert found.data.params == {"model.kernel_size": "3", "model.hidden_channels": "[4, 4]", "seed": "0"}

    run(tmp_path / "mine", [MLflow()], range(5, 10), step=4, config=CONFIG | {"seed": 1})
    client, (found,), (losses,) = mlflow_runs(mlflow, tmp_path / "mlruns")
    assert losses == [(n, 1 / n) for n in range(1, 10)]
    assert (found.info.status, found.data.tags["status"]) == ("FINISHED", "finished")

    client.delete_run(found.info.run_id)
    for place in (tmp_path / "mlruns").glob(f"*/{found.info.run_id}"):
        place.rename(tmp_path / "gone")
    run(tmp_path / "mine", [MLflow()], [10], step=9, status="failed: ValueError: so")
    _, (other,), (losses,) = mlflow_runs(mlflow, tmp_path / "mlruns")
    assert other.info.run_id != found.info.run_id
    assert losses == [(n, pytest.approx(1 / n)) for n in range(1, 11)], "the rows of a run that is gone come again"
    assert other.info.status == "FAILED"


def test_mlflow_has_an_experiment_and_a_place(mlflow, tmp_path):
    place = (tmp_path / "elsewhere").as_uri()
    run(tmp_path / "a", [MLflow("rain", place)], [1])
    run(tmp_path / "b", [MLflow("rain", place)], [1])
    _, found, _ = mlflow_runs(mlflow, tmp_path / "elsewhere", "rain")
    assert sorted(r.info.run_name for r in found) == ["a", "b"]
    assert not (tmp_path / "mlruns").exists()


def test_mlflow_without_its_server_warns_once(mlflow, tmp_path):
    with pytest.warns(UserWarning, match="MLflow does not log: ") as told:
        run(tmp_path, [MLflow(tracking_uri="http://127.0.0.1:9")], [1, 2, 3])
    assert len(told) == 1
    assert len(MetricsLog.read(tmp_path / "metrics.csv")) == 3
