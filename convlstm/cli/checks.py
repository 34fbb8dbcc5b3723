"""Whether the values of a configuration are what the classes that it names take, before anything is built."""

from __future__ import annotations

import difflib
import inspect
import math
import re
import reprlib
import types
import typing
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import convlstm  # noqa: F401  (loads a fast BLAS, which must come before mlx)

import hydra
import mlx.nn as nn
import mlx.optimizers as optim


def check_types(settings: Mapping[str, Any]) -> None:
    """ValueError that names every key that the section's class or function does not take, or not with such a value."""
    sections = {key: section for key, section in settings.items() if isinstance(section, dict)}
    wrong: list[str] = []
    for key, section in sections.items():
        # What is one of the others, such as the optimizer's ${schedule}, is checked under its own name.
        others = [other for name, other in sections.items() if name != key]
        wrong += _misfits(key, section, others)
    if wrong:
        raise ValueError("\n".join(wrong))


def check_kind(key: str, made: Any, target: str) -> None:
    """ValueError where a section of the configuration has made something that cannot take its place."""
    if text := _misplaced(key, type(made), target):
        raise ValueError(text)
    if len(getattr(made, "betas", (0, 0))) != 2:
        raise ValueError(f"'{key}.betas' must be two numbers but got {shown(made.betas)}.")


def shown(value: Any) -> str:
    """A value in an error, not longer than a line."""
    short = reprlib.Repr()
    short.maxstring = short.maxother = 80
    return short.repr(value)


def meant(wrong: str, names: Iterable[str], place: str = "") -> str:
    """A question that names what is spelled nearly like `wrong`, or has a word that is."""

    def likeness(name: str) -> float:
        return max(difflib.SequenceMatcher(None, wrong, part).ratio() for part in (name, *name.split("_")))

    names = list(names)
    best = max(names, key=likeness, default=None)
    if best is None or wrong in names or likeness(best) < 0.7:
        return ""
    return f" Did you mean '{f'{place}.' if place else ''}{best}'?"


def no_such_key(key: str, names: Iterable[str], target: str = "") -> str:
    """What to say about a key that does not exist: those that do, and whose they are."""
    place, _, wrong = key.rpartition(".")
    keys = [name for name in names if not name.startswith("_")]
    known = f"\nKeys{' of ' + place if place else ''}: {', '.join(keys)}" if keys else ""
    whose = f"\nThey are those of {place}._target_, {target}." if target else ""
    return f"there is no key '{key}'.{meant(wrong, keys, place)}{known}{whose}"


def named(text: str, settings: Any, place: str = "") -> str:
    """An error's text, led by the keys of the configuration that are its arguments in quotes.

    `[ConvLSTMStack] 'kernel_size' must ...` becomes `model.kernel_size: [ConvLSTMStack] 'kernel_size' must ...`.

    Args:
        text: What a class or a function said.
        settings: The configuration, as dicts and lists.
        place: The section in which the keys are; "" for all.
    """
    owner = re.match(r"\[(\w+)\]", text)
    found: list[str] = []
    # MLX says beta1 and epsilon.
    own_words = {"beta": "betas", "epsilon": "eps", "alpha": "alpha"} if place == "optimizer" else {}
    arguments = [*re.findall(r"'(\w+)'", text), *(name for word, name in own_words.items() if word in text)]
    for argument in dict.fromkeys(arguments):
        keys = list(_places(settings, argument, place)) or _left_out(settings, argument, place)
        owned = [key for key, target in keys if owner and target.rpartition(".")[2] == owner[1]]
        found += owned or [key for key, _ in keys if len(keys) == 1 or place]
    if not found and place:
        found = [key for key in keys_of_path(_at(settings, place), text, place) if not key.endswith("._target_")]
    found = [key for key in dict.fromkeys(found) if not re.search(rf"(?<![\w.]){re.escape(key)}(?!\w)", text)]
    lead = ", ".join(found) or ("" if place in text else place)
    return f"{lead}: {text}" if lead else text


def _left_out(settings: Any, argument: str, place: str) -> list[tuple[str, str]]:
    """The key of an argument that a section's class takes and the section does not give."""
    section = _at(settings, place) if place else None
    target = section.get("_target_") if isinstance(section, dict) else None
    try:
        parameters = inspect.signature(hydra.utils.get_object(target)).parameters if target else {}
    except Exception:  # what cannot be loaded has been told of
        return []
    return [(f"{place}.{argument}", str(target))] if argument in parameters else []


def keys_of_path(settings: Any, text: str, place: str = "") -> list[str]:
    """The keys of paths and other texts that a text holds, wherever it has them."""
    if isinstance(settings, str) and len(settings.strip()) > 1:
        ways = {settings, str(Path(settings.replace("\0", "")).expanduser())}
        return [place] if any(re.search(rf"(?<!\w){re.escape(way)}(?!\w)", text) for way in ways) else []
    if isinstance(settings, list):
        return [place] if any(keys_of_path(item, text, place) for item in settings) else []
    items = settings.items() if isinstance(settings, dict) else []
    return [
        key for name, value in items for key in keys_of_path(value, text, f"{place}.{name}" if place else str(name))
    ]


def _places(settings: Any, argument: str, place: str) -> Iterator[tuple[str, str]]:
    """The keys called `argument` in a section and the sections in it, each with the `_target_` that it is for."""

    def walk(node: Any, key: str, target: str) -> Iterator[tuple[str, str]]:
        if not isinstance(node, dict):
            return
        target = str(node.get("_target_", target))
        for name, value in node.items():
            path = f"{key}.{name}" if key else str(name)
            if name == argument:
                yield path, target
                if isinstance(value, dict) and "_target_" in value:
                    yield from ((f"{path}.{inner}", target) for inner in value if not str(inner).startswith("_"))
            else:
                yield from walk(value, path, target)

    return walk(_at(settings, place), place, "")


def _at(settings: Any, place: str) -> Any:
    """A section of the configuration; None where there is none."""
    for name in place.split(".") if place else []:
        settings = settings.get(name) if isinstance(settings, dict) else None
    return settings


def _misfits(key: str, section: Mapping[str, Any], others: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    name = section.get("_target_")
    if not isinstance(name, str) or not re.fullmatch(r"\w+(\.\w+)+", name):
        yield f"'{key}._target_' must be the dotted name of a class or a function but got {shown(name)}."
        return
    try:
        target = hydra.utils.get_object(name)
    except Exception as error:  # whatever a module's import may raise
        reason = str(error).strip().splitlines()
        yield f"'{key}._target_' names '{name}', which cannot be loaded: {(reason or [type(error).__name__])[-1]}"
        return
    if text := _misplaced(key, target, name) if inspect.isclass(target) else "":
        yield text
        return
    for item, value in section.items():
        for place, part in _parts(f"{key}.{item}", value):
            if part not in others:
                yield from _misfits(place, part, others)
            elif text := _out_of_place(place, part):
                yield text
    try:
        hints = typing.get_type_hints(target.__init__ if inspect.isclass(target) else target)
        parameters = inspect.signature(target).parameters
    except Exception:  # what has no types is for the call itself to complain about
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


def _out_of_place(key: str, section: Mapping[str, Any]) -> str:
    """What is wrong with another section's object in this place; "" where nothing is."""
    try:
        kind = hydra.utils.get_object(section["_target_"])
    except Exception:  # which is told of where it stands
        return ""
    return _misplaced(key, kind, section["_target_"]) if inspect.isclass(kind) else ""


def _parts(key: str, value: Any) -> Iterator[tuple[str, dict]]:
    """The sections that describe an object within a value."""
    if isinstance(value, dict) and "_target_" in value:
        yield key, value
    elif isinstance(value, list):
        for n, item in enumerate(value):
            yield from _parts(f"{key}[{n}]", item)


def _misplaced(key: str, kind: type, target: str) -> str:
    """What is wrong with objects of a type in a section of the configuration; "" where nothing is."""

    def called(*arguments: str, **more: str) -> bool:
        if not any("__call__" in vars(base) for base in kind.__mro__):
            return False
        try:
            inspect.signature(kind.__call__).bind("self", *arguments, **more)  # type: ignore[operator]
        except (AttributeError, TypeError, ValueError):
            return False
        return True

    def has(*names: str) -> bool:
        return all(hasattr(kind, name) for name in names)

    places: dict[str, tuple[str, Callable[[], bool]]] = {
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
    places["optimizer.learning_rate"] = places["schedule"]
    wanted, fits = places.get("logger" if key.startswith("logger.") else key, ("", lambda: True))
    return (
        ""
        if fits()
        else f"'{key}._target_' must name {wanted}, but '{target}' does not. See configs/{key.partition('.')[0]}."
    )


def _spelled(hint: Any) -> str:
    """A type hint as the reader of a configuration knows it."""
    text = re.sub(r"<class '([\w.]+)'>", r"\1", str(hint))
    text = re.sub(r"\b(?:\w+\.)+", "", text).replace("Sequence[", "list[").replace("List[", "list[")
    return text.replace("None", "null").replace("NoneType", "null")


def _floats(value: Any) -> Iterator[float]:
    if isinstance(value, float):
        yield value
    elif isinstance(value, list):
        for item in value:
            yield from _floats(item)


def _fits(value: Any, hint: Any) -> bool:
    """Whether a plain value may be what a type hint says; True wherever plain values do not tell."""
    origin, parts = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        return any(_fits(value, part) for part in parts)
    if hint is Any or (isinstance(value, dict) and "_target_" in value):
        return hint not in (float, int, bool, str, type(None))  # whatever it makes is for the call itself to check
    if hint is type(None):
        return value is None
    if hint is float:
        # MLX takes no longer whole numbers.
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
    return hint is object or not inspect.isclass(hint)  # a plain value is no object of a class
