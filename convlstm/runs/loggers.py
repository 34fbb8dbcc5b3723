"""Loggers that send a run's rows to TensorBoard, Weights & Biases or MLflow. Each imports its library when created."""

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

from convlstm.arguments import check_text
from convlstm.backend import files
from convlstm.backend.plain_files import parse_json, read_bytes
from convlstm.runs.metrics_log import Row
from convlstm.runs.summary import flat

import yaml

TIMEOUT = 30.0  # seconds that a server has to answer


class TensorBoard:
    """A logger that writes TensorBoard's event files to the run's folder: `tensorboard --logdir runs` shows all runs.

    A resumed run tells TensorBoard to drop the events after the step that it continues from.

    Raises:
        ImportError: The package `tensorboard` is not installed.
    """

    def __init__(self) -> None:
        self.writers = _library("tensorboard.summary.writer.event_file_writer", "tensorboard", "TensorBoard")
        self.events = _library("tensorboard.compat.proto.event_pb2", "tensorboard", "TensorBoard")
        self.summaries = _library("tensorboard.compat.proto.summary_pb2", "tensorboard", "TensorBoard")

    def start(self, folder: Path, config: Mapping[str, Any], step: int) -> int:
        last_step = step if any(folder.glob("events.out.tfevents.*")) else 0
        self.writer = self.writers.EventFileWriter(str(folder))
        log = self.events.SessionLog
        self._add(last_step + 1, session_log=log(status=log.START))
        # TensorBoard renders Markdown, in which an indented block is code.
        text = "\n".join(f"    {line}" for line in yaml.safe_dump(dict(config), sort_keys=False).splitlines())
        value = self.summaries.Summary.Value(tag="config")
        value.metadata.plugin_data.plugin_name = "text"
        value.tensor.dtype, value.tensor.string_val[:] = 7, [text.encode()]  # DT_STRING
        self._add(last_step + 1, summary=self.summaries.Summary(value=[value]))
        return last_step

    def log(self, step: int, row: Row) -> None:
        values = [self.summaries.Summary.Value(tag=tag(name), simple_value=value) for name, value in row.items()]
        self._add(step, summary=self.summaries.Summary(value=values))

    def _add(self, step: int, **content: Any) -> None:
        self.writer.add_event(self.events.Event(wall_time=time.time(), step=step, **content))
        self.writer.flush()  # else events wait for two minutes, and a kill would lose them

    def close(self, status: str) -> None:
        self.writer.close()


class WandB:
    """A logger for Weights & Biases. A resumed run is the same run there, and rows that it has are not sent again.

    Args:
        project: Name of the project. Default: 'convlstm'.
        mode: 'offline' keeps everything in the run's folder, for `wandb sync` to send later. 'online' sends it at once,
            which needs `wandb login` first. Default: 'offline'.
        entity: Team or user. Default: None, the one that is logged in.
        group: Name of a group of runs, such as a sweep. Default: None.
        tags: Words to find the run by. Default: None.

    Raises:
        ImportError: The package `wandb` is not installed.
        ValueError: `mode` is neither 'offline' nor 'online', or another argument is no text.
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
        check_text("WandB", "project", project)
        for name, value in (("entity", entity), ("group", group)):
            if value is not None:
                check_text("WandB", name, value)
        if tags is not None and not (isinstance(tags, list) and all(isinstance(word, str) and word for word in tags)):
            raise ValueError(f"[WandB] 'tags' must be a list of texts but got {tags!r}.")
        self.wandb = _library("wandb", "wandb", "WandB")
        self.options = {"project": project, "mode": mode, "entity": entity, "group": group, "tags": tags}

    def start(self, folder: Path, config: Mapping[str, Any], step: int) -> int:
        self.notes = _Notes(folder / "wandb.json", {"id": secrets.token_hex(4), "step": 0, "open": None})
        self.notes.save()
        offline = self.options["mode"] == "offline"
        self.step = self.notes["step"]
        if self.notes["open"] is not None:
            # A killed process leaves a part without its last rows: the part is moved aside, and the rows logged again.
            part = folder / "wandb" / self.notes["open"]
            if part.exists():
                part.rename(part.with_name(f"killed-{part.name}"))
        # The console is a bar or many lines, so it is not captured. Timeouts are short, since training waits.
        settings = self.wandb.Settings(
            console="off", silent=True, init_timeout=TIMEOUT, login_timeout=TIMEOUT, finish_timeout=2 * TIMEOUT
        )
        self.run = self.wandb.init(
            **self.options,
            id=self.notes["id"],
            name=folder.name,
            dir=str(folder),
            config=dict(config),
            allow_val_change=True,
            # Offline, wandb cannot ask if the run exists; `wandb sync` joins the parts by their id.
            resume=None if offline else "allow",
            reinit="create_new",
            settings=settings,
        )
        self.notes.save(open=Path(self.run.dir).parent.name if offline else None)
        return self.step if offline else max(self.run.starting_step - 1, 0)

    def log(self, step: int, row: Row) -> None:
        self.step = step
        self.run.log({tag(name): value for name, value in row.items()}, step=step, commit=True)

    def close(self, status: str) -> None:
        self.run.summary["status"] = status
        self.run.finish(exit_code=int(status.startswith("failed")))
        self.notes.save(step=self.step, open=None)


class MLflow:
    """A logger for MLflow, to files or to a server. A resumed run is the same run there.

    Args:
        experiment: Name of the experiment, which is created if needed. Default: 'convlstm'.
        tracking_uri: Address of a server, a database or a folder, as MLflow writes it, such as 'http://host:5000'.
            Default: None, the folder `mlruns` beside the run.

    Raises:
        ImportError: The package `mlflow` is not installed.
        ValueError: An argument is no text.
    """

    def __init__(self, experiment: str = "convlstm", tracking_uri: str | None = None):
        check_text("MLflow", "experiment", experiment)
        if tracking_uri is not None:
            check_text("MLflow", "tracking_uri", tracking_uri)
        # By default MLflow tries for minutes to reach a server that does not answer, and training would wait.
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "10")
        self.mlflow = _library("mlflow", "mlflow", "MLflow")
        self.entities = _library("mlflow.entities", "mlflow", "MLflow")
        self.experiment, self.tracking_uri, self.run = experiment, tracking_uri, ""

    def start(self, folder: Path, config: Mapping[str, Any], step: int) -> int:
        uri = (folder.resolve().parent / "mlruns").as_uri() if self.tracking_uri is None else self.tracking_uri
        if uri.startswith("file:"):
            # Newer versions refuse files and want a database, which `mlflow-skinny` cannot write.
            os.environ.setdefault("MLFLOW_ALLOW_FILE_STORE", "true")
        self.client = self.mlflow.MlflowClient(tracking_uri=uri)
        self.notes = _Notes(folder / "mlflow.json", {"run": None, "where": uri})
        if self.notes["run"] is not None and self.notes["where"] == uri and self._reopen(self.notes["run"]):
            logged = self.client.get_metric_history(self.run, tag("seconds"))
            return max((metric.step for metric in logged), default=0)
        existing = self.client.get_experiment_by_name(self.experiment)
        experiment = self.client.create_experiment(self.experiment) if existing is None else existing.experiment_id
        self.run = self.client.create_run(experiment, run_name=folder.name).info.run_id
        self.notes.save(run=self.run, where=uri)
        # MLflow takes at most 100 parameters at a time, and all of its versions take 500 characters.
        parameters = [self.entities.Param(key, str(value)[:500]) for key, value in flat(config).items()]
        for first in range(0, len(parameters), 100):
            self.client.log_batch(self.run, params=parameters[first : first + 100])
        return 0

    def _reopen(self, run: str) -> bool:
        """Opens a run again; returns False if it has been deleted."""
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


class _Notes:
    """A logger's notes for a later start, in a JSON file; `values` are the notes of the first start."""

    def __init__(self, path: Path, values: dict[str, Any]):
        self.path, self.values = path, values
        if path.exists():
            self.values = values | parse_json(read_bytes(path, 1 << 20))

    def __getitem__(self, name: str) -> Any:
        return self.values[name]

    def save(self, **values: Any) -> None:
        self.values |= values
        files.replace(self.path, json.dumps(self.values) + "\n")


def tag(name: str) -> str:
    """Returns a column's name with its group before a slash: 'train/loss', 'val/psnr'."""
    group, _, rest = name.partition("_")
    return f"{group}/{rest}" if group in ("train", "val") and rest else f"train/{name}"


def _library(module: str, extra: str, owner: str) -> ModuleType:
    """Imports a module, or raises ImportError that says how to install it."""
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise ImportError(
            f"[{owner}] '{module}' cannot be imported ({error}). Install it: pip install 'convlstm[{extra}]', or pip "
            f"install {extra}."
        ) from error
