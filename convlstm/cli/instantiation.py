"""Building the objects that sections of the configuration describe, after checks of the sections."""

from __future__ import annotations

import inspect
import math
import re
import types
import typing
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import convlstm  # noqa: F401  (loads a fast BLAS, which must come before mlx)
from convlstm.cli.error_wording import no_such_key, shown
from convlstm.cli.program import fail

import hydra
import mlx.nn as nn
import mlx.optimizers as optim
from omegaconf import DictConfig


def instantiate(config: DictConfig, key: str) -> Any:
    """Returns the object that a section of the configuration describes.

    Raises:
        InstantiationException: The class does not accept the values.
        ValueError: The object does not fit the section.
    """
    built = hydra.utils.instantiate(config[key], _convert_="all")
    check_kind(key, built, str(config[key]["_target_"]))
    return built


def check_described(key: str, section: Any) -> None:
    """Ends the program if a section does not describe an object."""
    if not isinstance(section, dict) or "_target_" not in section:
        fault = f"lacks '{key}._target_'" if isinstance(section, dict) else f"is {shown(section)}"
        fail(f"'{key}' must describe an object but {fault}. Choose one of configs/{key.partition('.')[0]}.")


def check_types(settings: Mapping[str, Any]) -> None:
    """Raises ValueError if classes or functions do not take the keys or values of their sections. It lists all keys."""
    sections = {key: section for key, section in settings.items() if isinstance(section, dict)}
    wrong: list[str] = []
    for key, section in sections.items():
        # A copy of another section, such as the optimizer's ${schedule}, is checked under its own name.
        others = [other for name, other in sections.items() if name != key]
        wrong += _misfits(key, section, others)
    if wrong:
        raise ValueError("\n".join(wrong))


def check_kind(key: str, built: Any, target: str) -> None:
    """Raises ValueError if an object does not fit its section of the configuration."""
    if text := _wrong_kind(key, type(built), target):
        raise ValueError(text)
    if len(getattr(built, "betas", (0, 0))) != 2:
        raise ValueError(f"'{key}.betas' must be two numbers but got {shown(built.betas)}.")


@contextmanager
def fitting(settings: Mapping[str, Any], *sections: str) -> Iterator[None]:
    """Adds the keys of sizes in these sections to a ValueError, since one of them is why the objects do not fit.

    Args:
        settings: The configuration.
        *sections: Names of sections, or single keys such as `trainer.batch_size`.
    """
    try:
        yield
    except ValueError as error:
        described = {section: settings.get(section) or {} for section in sections}
        keys = [f"{name}.{k}" for name, section in described.items() for k in section if _is_size(k, section[k])]
        keys += [section for section in sections if "." in section]
        raise ValueError(f"{error}\nIt depends on {', '.join(keys)}.") from error


def _is_size(key: str, value: Any) -> bool:
    number = type(value) is int or (isinstance(value, list) and all(type(item) in (int, list, dict) for item in value))
    return number and key not in ("prefetch", "threads", "cache_bytes", "validation_sequences", "test_sequences")


def _misfits(key: str, section: Mapping[str, Any], others: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """Yields a message for each fault of a section."""
    name = section.get("_target_")
    if not isinstance(name, str) or not re.fullmatch(r"\w+(\.\w+)+", name):
        yield f"'{key}._target_' must be the dotted name of a class or a function but got {shown(name)}."
        return
    try:
        target = hydra.utils.get_object(name)
    except Exception as error:  # a module's import may raise anything
        reason = str(error).strip().splitlines()
        yield f"'{key}._target_' names '{name}', which cannot be loaded: {(reason or [type(error).__name__])[-1]}"
        return
    if text := _wrong_kind(key, target, name) if inspect.isclass(target) else "":
        yield text
        return
    for item, value in section.items():
        for inner_key, inner in _inner_sections(f"{key}.{item}", value):
            if inner not in others:
                yield from _misfits(inner_key, inner, others)
            elif text := _wrong_copy(inner_key, inner):
                yield text
    try:
        hints = typing.get_type_hints(target.__init__ if inspect.isclass(target) else target)
        parameters = inspect.signature(target).parameters
    except Exception:  # without types, the call itself will complain
        return
    taken = [n for n, p in parameters.items() if p.kind not in (p.VAR_KEYWORD, p.VAR_POSITIONAL)]
    given = [item for item in section if not str(item).startswith("_")]
    if len(taken) == len(parameters):
        yield from (no_such_key(f"{key}.{item}", taken, name) for item in given if item not in taken)
    for item in taken:
        if item not in section and parameters[item].default is inspect.Parameter.empty:
            yield f"'{key}.{item}' has no value. Give it one: {key}.{item}=VALUE."
    for item in given:
        value = section[item]
        if not all(map(math.isfinite, _floats(value))):
            yield f"'{key}.{item}' must be finite but got {shown(value)}."
        elif item in hints and not _fits(value, hints[item]):
            yield f"'{key}.{item}' must be {_spelled(hints[item])} but got {shown(value)}."


def _wrong_copy(key: str, section: Mapping[str, Any]) -> str:
    """Returns why a copy of another section does not fit under this key, or ""."""
    try:
        kind = hydra.utils.get_object(section["_target_"])
    except Exception:  # reported under the section's own name
        return ""
    return _wrong_kind(key, kind, section["_target_"]) if inspect.isclass(kind) else ""


def _inner_sections(key: str, value: Any) -> Iterator[tuple[str, dict]]:
    """Yields the sections that describe an object within a value, with their keys."""
    if isinstance(value, dict) and "_target_" in value:
        yield key, value
    elif isinstance(value, list):
        for n, item in enumerate(value):
            yield from _inner_sections(f"{key}[{n}]", item)


def _wrong_kind(key: str, kind: type, target: str) -> str:
    """Returns why objects of a type do not fit a section of the configuration, or ""."""

    def called(*arguments: str, **keywords: str) -> bool:
        if not any("__call__" in vars(base) for base in kind.__mro__):
            return False
        try:
            inspect.signature(kind.__call__).bind("self", *arguments, **keywords)  # type: ignore[operator]
        except (AttributeError, TypeError, ValueError):
            return False
        return True

    def has(*names: str) -> bool:
        return all(hasattr(kind, name) for name in names)

    kinds: dict[str, tuple[str, Callable[[], bool]]] = {
        "model": (
            "a model, called as model(inputs, horizon, key=key)",
            lambda: issubclass(kind, nn.Module) and called("inputs", "horizon", key="key"),
        ),
        "data": ("data, with stream, size and describe", lambda: has("stream", "size", "describe")),
        "schedule": ("a learning rate, or a function of the step", lambda: kind in (int, float) or called("step")),
        "sampling": ("a function of the step that gives probabilities", lambda: called("step")),
        "loss": ("a loss, called as loss(forecast, target, mask)", lambda: called("forecast", "target", "mask")),
        "optimizer": ("an optimizer of mlx.optimizers", lambda: issubclass(kind, optim.Optimizer)),
        "logger": ("a logger, with start, log and close", lambda: has("start", "log", "close")),
        "trainer": ("a trainer, with check and fit", lambda: has("check", "fit")),
    }
    kinds["optimizer.learning_rate"] = kinds["schedule"]
    wanted, fits = kinds.get("logger" if key.startswith("logger.") else key, ("", lambda: True))
    if fits():
        return ""
    return f"'{key}._target_' must name {wanted}, but '{target}' does not. See configs/{key.partition('.')[0]}."


def _spelled(hint: Any) -> str:
    """Returns a type hint as a configuration spells it: `list` for Sequence, `null` for None."""
    text = re.sub(r"<class '([\w.]+)'>", r"\1", str(hint))
    text = re.sub(r"\b(?:\w+\.)+", "", text).replace("Sequence[", "list[").replace("List[", "list[")
    return text.replace("None", "null")


def _floats(value: Any) -> Iterator[float]:
    """Yields the floats of a value, at any depth of lists."""
    if isinstance(value, float):
        yield value
    elif isinstance(value, list):
        for item in value:
            yield from _floats(item)


def _fits(value: Any, hint: Any) -> bool:
    """Returns True if a plain value fits a type hint, or if the hint says nothing about plain values."""
    origin, parts = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        return any(_fits(value, part) for part in parts)
    if hint is Any or (isinstance(value, dict) and "_target_" in value):
        return hint not in (float, int, bool, str, type(None))  # the call itself checks the object
    if hint is type(None):
        return value is None
    if hint is float:
        # MLX takes whole numbers of up to 64 bits.
        return isinstance(value, float) or (type(value) is int and abs(value) < 1 << 63)
    if hint is int:
        return isinstance(value, int) and not isinstance(value, bool) and abs(value) < 1 << 63
    if hint in (bool, str):
        return isinstance(value, hint)
    if origin is Callable:
        return False
    if inspect.isclass(origin or hint) and issubclass(origin or hint, Mapping):
        return isinstance(value, dict)
    if origin is tuple and Ellipsis not in parts:
        return isinstance(value, list) and len(value) == len(parts) and all(map(_fits, value, parts))
    if inspect.isclass(origin) and issubclass(origin, Iterable):
        return isinstance(value, list) and all(_fits(item, part) for item in value for part in parts[:1])
    return hint is object or not inspect.isclass(hint)  # a plain value is not an object of a class
