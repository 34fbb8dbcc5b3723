"""Loggers that send a run's rows to TensorBoard, Weights & Biases or MLflow; each imports its library itself."""

from __future__ import annotations

import importlib
import json
import os
import secrets
import time
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

from convlstm.backend import files
from convlstm.runs.log import Row
from convlstm.runs.summary import flat

import yaml

PATIENCE = 30.0  # seconds for a server to answer


class TensorBoard:
    """Writes TensorBoard's event files into the run's folder: `tensorboard --logdir runs` shows all runs.

    A run that goes on tells TensorBoard to drop what it had logged after the step that it goes on from.

    Raises:
        ImportError: The package `tensorboard` is not installed.
    """

    def __init__(self) -> None:
        self.writers = _library("tensorboard.summary.writer.event_file_writer", "tensorboard", "TensorBoard")
        self.events = _library("tensorboard.compat.proto.event_pb2", "tensorboard", "TensorBoard")
        self.summaries = _library("tensorboard.compat.proto.summary_pb2", "tensorboard", "TensorBoard")

    def start(self, folder: Path, config: Mapping[str, Any], step: int) -> int:
        has = step if any(folder.glob("events.out.tfevents.*")) else 0
        self.writer = self.writers.EventFileWriter(str(folder))
        log = self.events.SessionLog
        self._add(has + 1, session_log=log(status=log.START))
        # As text of Markdown: an indented block.
        text = "\n".join(f"    {line}" for line in yaml.safe_dump(dict(config), sort_keys=False).splitlines())
        value = self.summaries.Summary.Value(tag="config")
        value.metadata.plugin_data.plugin_name = "text"
        value.tensor.dtype, value.tensor.string_val[:] = 7, [text.encode()]  # DT_STRING
        self._add(has + 1, summary=self.summaries.Summary(value=[value]))
        return has

    def log(self, step: int, row: Row) -> None:
        values = [self.summaries.Summary.Value(tag=tag(name), simple_value=value) for name, value in row.items()]
        self._add(step, summary=self.summaries.Summary(value=values))

    def _add(self, step: int, **content: Any) -> None:
        self.writer.add_event(self.events.Event(wall_time=time.time(), step=step, **content))
        self.writer.flush()  # it would keep events for two minutes, which a kill would lose

    def close(self, status: str) -> None:
        self.writer.close()


class WandB:
    """Logs to Weights & Biases. A run that goes on is the same run there, and rows that it has are not sent again.

    Args:
        project: The project. Default: 'convlstm'.
        mode: 'offline' keeps everything in the run's folder, for `wandb sync` to send later; 'online' sends it as it
            comes, for which `wandb login` must have been done. Default: 'offline'.
        entity: The team or user; None: the login's own.
        group: Runs that belong together, such as those of a sweep; None: none.
        tags: Words to find the run by. Default: none.

    Raises:
        ImportError: The package `wandb` is not installed.
        ValueError: `mode` is neither.
    """

    def __init__(
        self,
        project: str = "convlstm",
        mode: str = "offline",
        *,
        entity: str | None = None,
        group: str | None = None,
        tags: list[str] | None = None,
    ):
        if mode not in ("offline", "online"):
            raise ValueError(f"[WandB] 'mode' must be offline or online but got {mode!r}.")
        self.wandb = _library("wandb", "wandb", "WandB")
        self.options = {"project": project, "mode": mode, "entity": entity, "group": group, "tags": tags}

    def start(self, folder: Path, config: Mapping[str, Any], step: int) -> int:
        self.known = _Known(folder / "wandb.json", {"id": secrets.token_hex(4), "step": 0, "open": None})
        self.known.save()
        offline = self.options["mode"] == "offline"
        self.step = self.known["step"]
        if self.known["open"] is not None:
            # A process that was killed leaves a part without its last rows: it is put aside, and they are logged again.
            part = folder / "wandb" / self.known["open"]
            if part.exists():
                part.rename(part.with_name(f"killed-{part.name}"))
        # No console: ours is a bar or many lines. Quiet, and never waiting for long: training goes on meanwhile.
        settings = self.wandb.Settings(
            console="off", silent=True, init_timeout=PATIENCE, login_timeout=PATIENCE, finish_timeout=2 * PATIENCE
        )
        self.run = self.wandb.init(
            **self.options,
            id=self.known["id"],
            name=folder.name,
            dir=str(folder),
            config=dict(config),
            allow_val_change=True,
            # Offline nobody can be asked whether the run exists: `wandb sync` puts the parts together by the id.
            resume=None if offline else "allow",
            reinit="create_new",
            settings=settings,
        )
        self.known.save(open=Path(self.run.dir).parent.name if offline else None)
        return self.step if offline else max(self.run.starting_step - 1, 0)

    def log(self, step: int, row: Row) -> None:
        self.step = step
        self.run.log({tag(name): value for name, value in row.items()}, step=step, commit=True)

    def close(self, status: str) -> None:
        self.run.summary["status"] = status
        self.run.finish(exit_code=int(status.startswith("failed")))
        self.known.save(step=self.step, open=None)


class MLflow:
    """Logs to MLflow: into files, or to a tracking server. A run that goes on is the same run there.

    Args:
        experiment: The experiment, which is made if it does not exist. Default: 'convlstm'.
        tracking_uri: Where to: the address of a server, or a database or folder as MLflow writes it, such as
            'http://host:5000'. None: the folder `mlruns` beside the run.

    Raises:
        ImportError: The package `mlflow` is not installed.
    """

    def __init__(self, experiment: str = "convlstm", tracking_uri: str | None = None):
        # MLflow would try for minutes whether a server that is away comes back, and training would wait.
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "10")
        self.mlflow = _library("mlflow", "mlflow", "MLflow")
        self.entities = _library("mlflow.entities", "mlflow", "MLflow")
        self.experiment, self.tracking_uri, self.run = experiment, tracking_uri, ""

    def start(self, folder: Path, config: Mapping[str, Any], step: int) -> int:
        where = (folder.resolve().parent / "mlruns").as_uri() if self.tracking_uri is None else self.tracking_uri
        if where.startswith("file:"):
            # Newer versions refuse files, for a database that their smaller package cannot write.
            os.environ.setdefault("MLFLOW_ALLOW_FILE_STORE", "true")
        self.client = self.mlflow.MlflowClient(tracking_uri=where)
        self.known = _Known(folder / "mlflow.json", {"run": None, "where": where})
        if self.known["run"] is not None and self.known["where"] == where and self._goes_on(self.known["run"]):
            logged = self.client.get_metric_history(self.run, tag("seconds"))
            return max((metric.step for metric in logged), default=0)
        found = self.client.get_experiment_by_name(self.experiment)
        experiment = self.client.create_experiment(self.experiment) if found is None else found.experiment_id
        self.run = self.client.create_run(experiment, run_name=folder.name).info.run_id
        self.known.save(run=self.run, where=where)
        # 100 at a time are the most that MLflow takes, and 500 letters are what all of its versions take.
        parameters = [self.entities.Param(key, str(value)[:500]) for key, value in flat(config).items()]
        for first in range(0, len(parameters), 100):
            self.client.log_batch(self.run, params=parameters[first : first + 100])
        return 0

    def _goes_on(self, run: str) -> bool:
        """Opens a run again; False where it has been deleted."""
        try:
            self.client.update_run(run, status="RUNNING")
        except self.mlflow.exceptions.MlflowException as error:
            if error.error_code == "RESOURCE_DOES_NOT_EXIST":
                return False
            raise
        self.run = run
        return True

    def log(self, step: int, row: Row) -> None:
        now = int(time.time() * 1000)
        self.client.log_batch(
            self.run, metrics=[self.entities.Metric(tag(name), float(value), now, step) for name, value in row.items()]
        )

    def close(self, status: str) -> None:
        self.client.set_tag(self.run, "status", status)
        ended = (
            "FAILED" if status.startswith("failed") else "KILLED" if status.startswith("interrupted") else "FINISHED"
        )
        self.client.set_terminated(self.run, status=ended)


class _Known:
    """What a logger has to know when the run goes on, in a JSON file; the values given where there is none."""

    def __init__(self, path: Path, values: dict[str, Any]):
        self.path, self.values = path, values
        if path.exists():
            self.values = values | json.loads(path.read_text(encoding="utf-8"))

    def __getitem__(self, name: str) -> Any:
        return self.values[name]

    def save(self, **values: Any) -> None:
        self.values |= values
        files.replace(self.path, json.dumps(self.values) + "\n")


def tag(name: str) -> str:
    """The name of a column where charts are grouped by what stands before a stroke: 'train/loss', 'val/psnr'."""
    group, _, rest = name.partition("_")
    return f"{group}/{rest}" if group in ("train", "val") and rest else f"train/{name}"


def _library(module: str, extra: str, owner: str) -> ModuleType:
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise ImportError(
            f"[{owner}] '{module}' cannot be imported ({error}). Install it: pip install 'convlstm[{extra}]', or pip "
            f"install {extra}."
        ) from error
