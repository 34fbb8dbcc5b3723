"""Parts of error messages: the keys of the configuration that an error is about, and the names probably meant."""

from __future__ import annotations

import difflib
import inspect
import re
import reprlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import hydra


def shown(value: Any) -> str:
    """Returns a value for an error message, at most a line long."""
    short = reprlib.Repr()
    short.maxstring = short.maxother = 80
    return short.repr(value)


def suggestion(wrong: str, names: Iterable[str], section: str = "") -> str:
    """Returns the question "Did you mean ...?" with the name most like `wrong`, or "" if no name is like it."""

    def likeness(name: str) -> float:
        return max(difflib.SequenceMatcher(None, wrong, part).ratio() for part in (name, *name.split("_")))

    names = list(names)
    best = max(names, key=likeness, default=None)
    if best is None or wrong in names or likeness(best) < 0.7:
        return ""
    return f" Did you mean '{f'{section}.' if section else ''}{best}'?"


def no_such_key(key: str, names: Iterable[str], target: str = "") -> str:
    """Returns the message about a key that does not exist, with the keys of its section.

    Args:
        key: The key, dotted.
        names: Keys of its section.
        target: The class that the keys belong to. Default: none.
    """
    section, _, wrong = key.rpartition(".")
    keys = [name for name in names if not name.startswith("_")]
    existing = f"\nKeys{' of ' + section if section else ''}: {', '.join(keys)}" if keys else ""
    owner = f"\nThey belong to {section}._target_, {target}." if target else ""
    return f"there is no key '{key}'.{suggestion(wrong, keys, section)}{existing}{owner}{_that_go_round(key, keys)}"


def _that_go_round(key: str, keys: Iterable[str]) -> str:
    """Returns the models whose columns can go round the earth if a key asks for it of another one, else ""."""
    if key == "model.padding" and "border" in keys:
        return "\nColumns that go round the earth: model.border=circular."
    if key == "model.border" and "padding" in keys:
        return "\nColumns that go round the earth: model.padding=circular."
    if key not in ("model.padding", "model.border"):
        return ""
    return (
        "\nColumns that go round the earth: model.padding=circular, which all networks but learned_steps have, or "
        "model.border=circular of extrapolation, sprog and steps. persistence needs neither."
    )


def led_by_keys(text: str, settings: Any, section: str = "") -> str:
    """Returns an error's text, preceded by the keys of the configuration that its quoted arguments come from.

    `[ConvLSTMStack] 'kernel_size' must ...` becomes `model.kernel_size: [ConvLSTMStack] 'kernel_size' must ...`.

    Args:
        text: The message of a class or a function.
        settings: The configuration, as dicts and lists.
        section: The section that the keys belong to. Default: any.
    """
    owner = re.match(r"\[(\w+)\]", text)
    matching: list[str] = []
    # MLX's messages say beta1 and epsilon; the keys are betas and eps.
    mlx_words = {"beta": "betas", "epsilon": "eps", "alpha": "alpha"} if section == "optimizer" else {}
    arguments = [*re.findall(r"'(\w+)'", text), *(name for word, name in mlx_words.items() if word in text)]
    for argument in dict.fromkeys(arguments):
        keys = list(_keys_named(settings, argument, section)) or _default_argument(settings, argument, section)
        owned = [key for key, target in keys if owner and target.rpartition(".")[2] == owner[1]]
        matching += owned or [key for key, _ in keys if len(keys) == 1 or section]
    if not matching and section:
        matching = keys_of_path(value_at(settings, section), text, section)
        matching = [key for key in matching if not key.endswith("._target_")]
    matching = [key for key in dict.fromkeys(matching) if not re.search(rf"(?<![\w.]){re.escape(key)}(?!\w)", text)]
    lead = ", ".join(matching) or ("" if section in text else section)
    return f"{lead}: {text}" if lead else text


def keys_of_path(settings: Any, text: str, section: str = "") -> list[str]:
    """Returns the keys whose values, paths or other strings, occur in a text."""
    if isinstance(settings, str) and len(settings.strip()) > 1:
        spellings = {settings, str(Path(settings.replace("\0", "")).expanduser())}
        occurs = any(re.search(rf"(?<!\w){re.escape(spelling)}(?!\w)", text) for spelling in spellings)
        return [section] if occurs else []
    if isinstance(settings, list):
        return [section] if any(keys_of_path(item, text, section) for item in settings) else []
    items = settings.items() if isinstance(settings, dict) else []
    return [
        key for name, value in items for key in keys_of_path(value, text, f"{section}.{name}" if section else str(name))
    ]


def value_at(settings: Any, key: str) -> Any:
    """Returns the value of a dotted key, or None if it does not exist."""
    for name in key.split(".") if key else []:
        settings = settings.get(name) if isinstance(settings, dict) else None
    return settings


def _default_argument(settings: Any, argument: str, section: str) -> list[tuple[str, str]]:
    """Returns the key and the class of an argument if the section's class takes it and the section leaves it out."""
    described = value_at(settings, section) if section else None
    target = described.get("_target_") if isinstance(described, dict) else None
    try:
        parameters = inspect.signature(hydra.utils.get_object(target)).parameters if target else {}
    except Exception:  # a class that cannot be loaded has its own message
        return []
    return [(f"{section}.{argument}", str(target))] if argument in parameters else []


def _keys_named(settings: Any, argument: str, section: str) -> Iterator[tuple[str, str]]:
    """Yields the keys named `argument` in a section and the sections inside it, each with the `_target_` around it."""

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

    return walk(value_at(settings, section), section, "")


def with_sections(config_name: str, text: str) -> str:
    """Returns a message whose keys of readers and scales are those of a command's configuration.

    Args:
        config_name: Name of the configuration: only that of `forecast` has them at its top, the others in `data`.
        text: The message, such as "Name its units: reader.units=mm/h".
    """
    keys = r"(?<![\w.])((reader|static)\.\w+=|most_clipped=)"
    return text if config_name == "forecast" else re.sub(keys, r"data.\1", text)
