"""Valid configurations, and what a hand that slips makes of one key of them."""

from __future__ import annotations

import copy
import importlib.util
import math
import random
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.support.project import PROJECT

import yaml

CONFIGS = PROJECT / "configs"
LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)

# What makes any of the configurations small. A key that a configuration lacks is left out.
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
    "model.kernel_size": 3,
    "model.points": 8,
    "model.frames": 3,
    "model.translator_channels": 8,
    "model.levels": 2,
    "model.blocks": 2,
    "trainer.max_steps": 1,
    "trainer.batch_size": 2,
    "trainer.accumulate": 1,
    "trainer.log_every": 1,
    "trainer.validation_sequences": 2,
}

# What a choice needs beside it.
COMPANIONS: dict[tuple[str, str], tuple[str, ...]] = {
    ("model", "advection_residual"): ("data=radar_echo", "loss=balanced"),
    ("model", "convlstm_stack"): ("loss=mse",),
    ("model", "predrnn"): ("loss=mse",),
    ("model", "predrnn_v2"): ("loss=mse",),
    ("model", "shi2017"): ("loss=mse_mae",),
    ("sampling", "*"): ("model=convlstm_stack", "loss=mse"),
}
# Nothing to train, so only to evaluate.
WITHOUT_WEIGHTS = ("extrapolation", "persistence")


@dataclass
class Base:
    """A valid configuration: its door, its groups on the command line, and the settings that make it small."""

    door: str
    choices: dict[str, str]
    settings: dict[str, Any] = field(default_factory=dict)
    checkpoint: str | None = None

    def compose(self) -> tuple[dict[str, Any], dict[str, Any]]:
        """The configuration as the files and the settings give it, and the settings: values by dotted key."""
        config = read(CONFIGS / f"{self.door}.yaml")
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
    """Few channels on every level, and frames that all of their strides divide."""
    settings: dict[str, Any] = {}
    if isinstance(channels := model.get("hidden_channels"), list):
        settings["model.hidden_channels"] = [4] * len(channels)
    elif channels is not None:
        settings["model.hidden_channels"] = 4
    for name in ("downsample", "upsample"):
        if model.get(name):
            settings[f"model.{name}"] = [level and level | {"channels": 4} for level in model[name]]
            settings["data.frame_size"] = math.prod(level["stride"] if level else 1 for level in model[name])
    return settings


def read(path: Path) -> dict[str, Any]:
    return yaml.load(path.read_text(encoding="utf-8"), LOADER) or {}


def read_choice(group: str, choice: str) -> dict[str, Any]:
    """A choice of a group, with those that it builds on."""
    own = read(CONFIGS / group / f"{choice}.yaml")
    whole: dict[str, Any] = {}
    for default in own.pop("defaults", []):
        if default != "_self_":
            merge(whole, read_choice(group, default))
    merge(whole, own)
    return whole


def merge(into: dict[str, Any], changes: dict[str, Any]) -> None:
    for key, value in changes.items():
        if isinstance(value, dict) and isinstance(into.get(key), dict):
            merge(into[key], value)
        else:
            into[key] = value


def groups() -> dict[str, list[str]]:
    """The choices of every group in configs/."""
    return {
        folder.name: sorted(path.stem for path in folder.glob("*.yaml"))
        for folder in sorted(CONFIGS.iterdir())
        if folder.is_dir()
    }


def bases() -> list[Base]:
    """Every experiment and every choice of every group, to train and to evaluate."""
    known = {name for default in read(CONFIGS / "train.yaml")["defaults"] if default != "_self_" for name in default}
    found = []
    for group, names in groups().items():
        if group not in known:
            continue
        for name in names:
            if group == "logger" and importlib.util.find_spec(name) is None:
                continue  # an extra that is not installed
            companions = dict(c.split("=") for c in COMPANIONS.get((group, name), COMPANIONS.get((group, "*"), ())))
            if group == "loss" and "${data.transform}" in (CONFIGS / group / f"{name}.yaml").read_text("utf-8"):
                companions["data"] = "radar_echo"
            trains = (group, name) not in [("model", name) for name in WITHOUT_WEIGHTS]
            if trains:
                found.append(Base("train", companions | {group: name}))
            if group == "model":
                settings = {} if trains else {"batch_size": 2}
                data = {"data": companions.get("data", "moving_mnist")}
                found.append(Base("evaluate", data | {group: name}, settings))
            if group == "data":
                found.append(Base("evaluate", {"model": "persistence", group: name}))
    return [*found, *(Base("evaluate", {}, {}, name) for name in ("digits", "rain"))]


def has(config: Any, key: str) -> bool:
    for name in key.split("."):
        if not isinstance(config, dict) or name not in config:
            return False
        config = config[name]
    return True


def at(config: Any, key: str) -> Any:
    for name in key.split("."):
        config = config[name]
    return config


def put(config: dict[str, Any], key: str, value: Any) -> None:
    *parents, last = key.split(".")
    for name in parents:
        config = config.setdefault(name, {})
    config[last] = value


def keys(config: dict[str, Any], place: str = "") -> Iterator[str]:
    """Every key, of sections and of values."""
    for name, value in config.items():
        yield place + name
        if isinstance(value, dict):
            yield from keys(value, f"{place}{name}.")


@dataclass
class Corruption:
    """One key of a configuration that is not what it was; `kind` says in which way."""

    kind: str
    key: str
    value: Any = None


REMOVED = object()
TARGETS = (
    *("convlstm.nothing.Nothing", "nowhere.Thing", "builtins.dict", "os.getcwd", "mlx.nn.Linear", "", "nodots", ".."),
    *(
        "convlstm.datasets.moving_mnist.MovingMNIST",
        "convlstm.losses.MeanSquaredError",
        "convlstm.models.EncoderForecaster",
    ),
)
INTERPOLATIONS = ("${nowhere.to.be.found}", "${", "${oc.env:NOT_SET_ANYWHERE}", "${nonsense:1}", "${model}")
STRANGE = ("ünïcödé 😀", "\u202eabc", "a\0b", "long " * 1000, " ", "a/b\nc")
OTHER = ("banana", 3, 2.5, True, [1, 2], {"a": 1})


def corrupt(rng: random.Random, base: Base) -> Corruption:
    """A corruption of one key of a configuration."""
    config, _ = base.compose()
    key = rng.choice(list(keys(config)))
    value = at(config, key)
    if key.endswith("_target_") and rng.random() < 0.7:
        return Corruption("_target_", key, rng.choice(TARGETS))
    kind = rng.choice(KINDS)
    if kind == "wrong type":
        return Corruption(kind, key, rng.choice([other for other in OTHER if type(other) is not type(value)]))
    if kind == "negative":
        return Corruption(kind, key, first_replaced(value, lambda v: -abs(v) or -1, -1))
    if kind == "zero":
        return Corruption(kind, key, first_replaced(value, lambda v: 0, 0))
    if kind == "huge":
        huge = rng.choice([10**9, 10**18, 10**30, 1e30])
        return Corruption(kind, key, first_replaced(value, lambda v: huge, huge))
    if kind == "not finite":
        strange = rng.choice([math.nan, math.inf, -math.inf])
        return Corruption(kind, key, first_replaced(value, lambda v: strange, strange))
    if kind == "nested":
        return Corruption(kind, key, [[value]])
    if kind == "item":
        items = list(value) if isinstance(value, list) else [value, value]
        return Corruption(
            kind, key, rng.choice([items[:-1], [*items, *items], [*items[:-1], None], [*items, "banana"]])
        )
    if kind == "unknown key":
        place = key if isinstance(value, dict) else key.rpartition(".")[0]
        return Corruption(kind, f"{place}.nonsense" if place else "nonsense", rng.choice([1, None, "x", {"a": 1}]))
    if kind == "misspelt key":
        place, dot, name = key.rpartition(".")
        n = rng.randrange(len(name))
        wrong = rng.choice([name[:n] + name[n + 1 :], name[: n + 1] + name[n:], name + "s"])
        if wrong and not has(config, place + dot + wrong) and not wrong.startswith("_"):
            return Corruption(kind, place + dot + wrong, value)
        return Corruption("null", key, None)
    if kind == "misspelt choice":
        if not base.choices:
            return Corruption("unknown key", "nonsense", 1)
        group, choice = rng.choice(list(base.choices.items()))
        return Corruption(kind, group, rng.choice([choice[:-1], choice + "x", choice.upper(), "nonsense"]))
    values = {"null": [None], "empty": ["", [], {}], "interpolation": INTERPOLATIONS, "strange text": STRANGE}
    return Corruption(kind, key, REMOVED if kind == "removal" else rng.choice(values[kind]))


KINDS = (
    *("wrong type", "null", "negative", "zero", "huge", "not finite", "empty", "nested", "item", "unknown key"),
    *("misspelt key", "misspelt choice", "interpolation", "strange text", "removal"),
)


def first_replaced(value: Any, change: Any, otherwise: Any) -> Any:
    """The value, or the first item of a list of numbers, changed; `otherwise` where there is no number."""
    if isinstance(value, list) and value and type(value[0]) in (int, float):
        return [change(value[0]), *value[1:]]
    return change(value) if type(value) in (int, float) else otherwise
