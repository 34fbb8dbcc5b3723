"""Every valid configuration in configs/, made small enough to run within a second."""

from __future__ import annotations

import copy
import functools
import importlib.util
import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.support.project import PROJECT

import yaml

CONFIGS = PROJECT / "configs"
LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)

# Settings that make any of the configurations small. A configuration takes those whose keys it has.
SMALL: dict[str, Any] = {
    "data.digits": "builtin",
    "data.frame_size": 16,
    "data.digit_size": 8,
    "data.num_digits": 1,
    "data.input_frames": 3,
    "data.target_frames": 2,
    "data.train_sequences": 4,
    "data.validation_sequences": 2,
    "data.test_sequences": 2,
    "data.coarsen": 1,
    "data.margin": 2,
    "model.kernel_size": 3,
    "model.points": 8,
    "model.frames": 3,
    "model.translator_channels": 8,
    "model.levels": 2,
    "model.blocks": 2,
    "model.members": 2,
    "model.training_members": 2,
    "trainer.max_steps": 1,
    "trainer.batch_size": 2,
    "trainer.accumulate": 1,
    "trainer.log_every": 1,
    "trainer.validation_sequences": 2,
}

# Choices of other groups that a choice needs.
COMPANIONS: dict[tuple[str, str], dict[str, str]] = {
    ("model", "advection_residual"): {"data": "radar_echo", "loss": "balanced"},
    ("model", "convlstm_stack"): {"loss": "mse"},
    ("model", "learned_steps"): {"data": "radar_mixture", "loss": "ensemble"},
    ("loss", "ensemble"): {"data": "radar_mixture", "model": "learned_steps"},
    ("model", "predrnn"): {"loss": "mse"},
    ("model", "predrnn_v2"): {"loss": "mse"},
    ("model", "shi2017"): {"loss": "mse_mae"},
    ("sampling", "*"): {"model": "convlstm_stack", "loss": "mse"},
}
# Models that cannot be trained, only evaluated.
WITHOUT_WEIGHTS = ("extrapolation", "persistence", "sprog", "steps")


# They need pixels of a known size, so that slips of other keys cannot be tried with them alone.
OF_RAIN = ("sprog", "steps")


@dataclass
class Base:
    """A valid configuration.

    Attributes:
        command: 'train' or 'evaluate'.
        choices: The choice of each group on the command line.
        settings: Further settings, by dotted key.
        checkpoint: Name of the checkpoint to evaluate, if there is one.
    """

    command: str
    choices: dict[str, str]
    settings: dict[str, Any] = field(default_factory=dict)
    checkpoint: str | None = None

    def compose(self) -> tuple[dict[str, Any], dict[str, Any]]:
        """Returns the configuration with small settings, and these settings by dotted key."""
        config = read(CONFIGS / f"{self.command}.yaml")
        config.pop("hydra")
        choices: dict[str, Any] = {}
        for default in config.pop("defaults"):
            if isinstance(default, dict) and not next(iter(default)).startswith("override "):
                choices |= default
        choices |= self.choices
        experiment = choices.pop("experiment", None)
        changes = read(CONFIGS / "experiment" / f"{experiment}.yaml") if experiment else {}
        for default in changes.pop("defaults", []):
            ((group, choice),) = default.items()
            choices[group.removeprefix("override /")] = choice
        for group, choice in choices.items():
            names = choice if isinstance(choice, list) else [choice]
            config[group] = None
            for name in filter(None, names):
                config[group] = (config[group] or {}) | read_choice(group, name)
        config = {group: section for group, section in config.items() if choices.get(group) != []}
        merge(config, changes)
        settings = {key: value for key, value in SMALL.items() if has(config, key)}
        settings |= small_model(config.get("model") or {}) | self.settings
        for key, value in settings.items():
            put(config, key, copy.deepcopy(value))
        return config, settings


def small_model(model: dict[str, Any]) -> dict[str, Any]:
    """Returns settings for few channels on every level, and for frames that all strides of the levels divide."""
    settings: dict[str, Any] = {}
    if isinstance(channels := model.get("hidden_channels"), list):
        settings["model.hidden_channels"] = [4] * len(channels)
    elif channels is not None:
        settings["model.hidden_channels"] = 4
    if "training_leads" in model:
        settings["model.levels"] = 3
    for name in ("downsample", "upsample"):
        if model.get(name):
            settings[f"model.{name}"] = [level and level | {"channels": 4} for level in model[name]]
            settings["data.frame_size"] = math.prod(level["stride"] if level else 1 for level in model[name])
    return settings


@functools.cache
def bases() -> tuple[Base, ...]:
    """Returns every experiment and every choice of every group, to train and to evaluate."""
    defaults = read(CONFIGS / "train.yaml")["defaults"]
    of_train = {group for default in defaults if default != "_self_" for group in default}
    whole = []
    for group, names in groups().items():
        for name in names if group in of_train else ():
            if group == "logger" and importlib.util.find_spec(name) is None:
                continue  # an extra that is not installed
            if needs_files(group, name):
                continue
            companions = COMPANIONS.get((group, name), COMPANIONS.get((group, "*"), {}))
            if group == "loss" and "transforms.to_unit" in (CONFIGS / group / f"{name}.yaml").read_text("utf-8"):
                companions = companions | {"data": "radar_echo"}
            trains = group != "model" or name not in WITHOUT_WEIGHTS
            if trains:
                whole.append(Base("train", companions | {group: name}))
            if group == "model" and name not in OF_RAIN:
                data = {"data": companions.get("data", "moving_mnist")}
                whole.append(Base("evaluate", data | {group: name}, {} if trains else {"batch_size": 2}))
            if group == "data":
                whole.append(Base("evaluate", {"model": "persistence", group: name}))
    return (*whole, *(Base("evaluate", {}, {}, name) for name in ("digits", "rain")))


def needs_files(group: str, name: str) -> bool:
    """Returns True for data whose path has no value, and for experiments with such data or with several archives."""
    choice = read(CONFIGS / group / f"{name}.yaml")
    overrides = [one for one in choice.get("defaults", []) if isinstance(one, dict)]
    data = [one["override /data"] for one in overrides if "override /data" in one]
    parts = (choice.get("data") or {}).get("parts", {}) if group == "experiment" else {}
    of_files = any("archive" in part for part in parts.values())
    return of_files or "???" in choice.values() or any(needs_files("data", other) for other in data)


def groups() -> dict[str, list[str]]:
    """Returns the choices of every group in configs/."""
    return {
        folder.name: sorted(path.stem for path in folder.glob("*.yaml"))
        for folder in sorted(CONFIGS.iterdir())
        if folder.is_dir()
    }


def read(path: Path) -> dict[str, Any]:
    """Returns what a YAML file holds, as a copy that the caller may change."""
    return copy.deepcopy(_read(path))


@functools.cache
def _read(path: Path) -> dict[str, Any]:
    return yaml.load(path.read_text(encoding="utf-8"), LOADER) or {}


def read_choice(group: str, choice: str) -> dict[str, Any]:
    """Returns a choice of a group, merged into the choices that it builds on."""
    changes = read(CONFIGS / group / f"{choice}.yaml")
    whole: dict[str, Any] = {}
    for default in changes.pop("defaults", []):
        if default != "_self_":
            merge(whole, read_choice(group, default))
    merge(whole, changes)
    return whole


def merge(config: dict[str, Any], changes: dict[str, Any]) -> None:
    """Changes a configuration section by section."""
    for key, value in changes.items():
        if isinstance(value, dict) and isinstance(config.get(key), dict):
            merge(config[key], value)
        else:
            config[key] = value


def has(config: Any, key: str) -> bool:
    """Returns True if a configuration has a dotted key."""
    for name in key.split("."):
        if not isinstance(config, dict) or name not in config:
            return False
        config = config[name]
    return True


def at(config: Any, key: str) -> Any:
    """Returns the value at a dotted key."""
    for name in key.split("."):
        config = config[name]
    return config


def put(config: dict[str, Any], key: str, value: Any) -> None:
    """Sets the value at a dotted key, with the sections that it needs."""
    *parents, last = key.split(".")
    for name in parents:
        config = config.setdefault(name, {})
    config[last] = value


def keys(config: dict[str, Any], prefix: str = "") -> Iterator[str]:
    """Yields the dotted keys of all sections and all values."""
    for name, value in config.items():
        yield prefix + name
        if isinstance(value, dict):
            yield from keys(value, f"{prefix}{name}.")
