"""What the doors `train.py` and `evaluate.py` share: composing a configuration, checking it, telling what is wrong."""

from __future__ import annotations

import difflib
import inspect
import io
import os
import pydoc
import re
import shlex
import sys
import types
import typing
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import convlstm  # noqa: F401  (loads a fast BLAS, which must come before mlx)

import hydra
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException, InstantiationException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import MissingMandatoryValue, OmegaConfBaseException

CONFIGS = str(Path(__file__).resolve().parent / "configs")
# What a user can mend. Anything else is a fault of ours and keeps its traceback.
MISTAKES = (ValueError, OSError, RuntimeError, HydraException, OmegaConfBaseException)


def run(config_name: str, main: Callable[[DictConfig], None], *, open_sections: tuple[str, ...] = ()) -> None:
    """Calls `main` with the configuration that the command line composes.

    A mistake ends the program with one message and exit status 1, Ctrl-C with a word and 130.

    Args:
        config_name: The file in configs/.
        main: What to call.
        open_sections: Sections that take any key, as Hydra's `++` does.
    """
    os.environ["HYDRA_FULL_ERROR"] = "1"  # lets exceptions through to us
    sys.argv = [f"++{a}" if a.startswith(tuple(f"{name}." for name in open_sections)) else a for a in sys.argv]
    # Hydra refuses `a=1 -m b=1,2`: what follows an option that stands between two changes.
    sys.argv[1:] = sorted(sys.argv[1:], key=lambda a: a not in ("-m", "--multirun"))
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(line_buffering=True)  # what a pipe has read is where the program is

    def guarded(config: DictConfig) -> None:
        try:
            main(config)
        except MISTAKES as error:
            fail(message(error))

    guarded.__name__ = config_name
    try:
        with warnings.catch_warnings():
            warnings.showwarning = lambda text, *place, **more: print(f"warning     {text}", file=sys.stderr)
            hydra.main(version_base="1.3", config_path=CONFIGS, config_name=config_name)(guarded)()
    except MISTAKES as error:
        fail(unknown(config_name, str(error)) or message(error))
    except KeyboardInterrupt:
        print(f"\n{Path(sys.argv[0]).name}: interrupted.", file=sys.stderr)
        sys.exit(130)


def fail(text: str) -> typing.NoReturn:
    """Ends the program with a message and exit status 1."""
    sys.exit(f"{Path(sys.argv[0]).name}: {text}")


def command(door: str, *arguments: str, **values: Any) -> str:
    """A line for the shell that calls a door, its values quoted for Hydra and all of it for the shell."""
    for key, value in values.items():
        text = str(value)
        plain_text = re.fullmatch(r"[\w./~:@%+-]+", text) is not None
        arguments = (*arguments, f"{key}={text}" if plain_text else f'{key}="' + text.replace('"', '\\"') + '"')
    return shlex.join(["python", door, *arguments])


def message(error: BaseException) -> str:
    """What is wrong, without the machinery's wrapping."""
    if isinstance(error, InstantiationException) and error.__cause__ is not None:
        found = re.search(r"full_key: (\S+)", str(error))
        key = found[1] if found else ""
        given = [a for a in sys.argv[1:] if a.lstrip("+").startswith(f"{key.partition('.')[0]}.")]
        # A TypeError rarely says which value it is about.
        note = f" Given: {' '.join(given)}" if given and isinstance(error.__cause__, TypeError) else ""
        return (f"{key}: " if key else "") + message(error.__cause__) + note
    if isinstance(error, MissingMandatoryValue):
        found = re.search(r"full_key: (\S+)", str(error))
        return f"'{found[1]}' has no value. Give it one: {found[1]}=VALUE." if found else str(error)
    if isinstance(error, OSError) and error.filename:
        return f"'{error.filename}': {error.strerror}. Choose another path, or change what is there."
    return re.sub(r"\n\s*(full_key|object_type)[:=].*", "", str(error)).strip() or type(error).__name__


def unknown(config_name: str, text: str) -> str:
    """What to say about a key or a choice that does not exist: those that do; "" where the error is another one."""
    if found := re.search(
        r"Could not find '([\w/]+)/([^'/]*)'\s+Available options in '[\w/]+':\s([\s\w-]*?)\n\S", text
    ):
        group, wrong, names = found[1], found[2], found[3].split()
        return f"{group} has no choice '{wrong}'.{_meant(wrong, names)}\nChoices of {group}: {', '.join(names)}"
    found = re.search(r"Could not override '([\w.@/]+)'", text) or re.search(r"Key '([\w.]+)' is not in", text)
    if not found:
        return ""
    *parents, wrong = found[1].split(".")
    try:
        node: Any = _defaults(config_name)
        for name in parents:
            node = node[name]
        keys = [str(key) for key in node if not str(key).startswith("_")]
    except (HydraException, OmegaConfBaseException, KeyError, TypeError, AttributeError):
        keys = []
    place = ".".join(parents)
    known = f"\nKeys{' of ' + place if place else ''}: {', '.join(keys)}" if keys else ""
    return f"there is no key '{found[1]}'.{_meant(wrong, keys, place)}{known}"


def _defaults(config_name: str) -> DictConfig:
    """The configuration with the groups that the command line chooses, and none of its other changes."""
    parser = OverridesParser.create()
    overrides = [a for a in sys.argv[1:] if "=" in a and not a.startswith("-")]
    groups = [o for o in overrides if (Path(CONFIGS) / parser.parse_override(o).key_or_group).is_dir()]
    GlobalHydra.instance().clear()
    with hydra.initialize_config_dir(CONFIGS, version_base="1.3"):
        return hydra.compose(config_name, groups)


def _meant(wrong: str, names: list[str], place: str = "") -> str:
    """A question that names what is spelled nearly like `wrong`, or has a word that is."""

    def likeness(name: str) -> float:
        return max(difflib.SequenceMatcher(None, wrong, part).ratio() for part in (name, *name.split("_")))

    best = max(names, key=likeness, default=None)
    if best is None or wrong in names or likeness(best) < 0.7:
        return ""
    return f" Did you mean '{f'{place}.' if place else ''}{best}'?"


def plain(config: DictConfig) -> dict[str, Any]:
    """The configuration as dicts and lists, interpolations resolved."""
    return OmegaConf.to_container(config, resolve=True, throw_on_missing=True)  # type: ignore[return-value]


def instantiate(config: DictConfig, key: str) -> Any:
    """The object that a section of the configuration describes."""
    return hydra.utils.instantiate(config[key], _convert_="all")


def make_folder(folder: Path) -> None:
    """Makes a folder before anything is computed for it; OSError where it cannot be made or written to."""
    folder.mkdir(parents=True, exist_ok=True)
    if not os.access(folder, os.W_OK):
        raise PermissionError(13, "Permission denied", str(folder))


def check_types(settings: Mapping[str, Any]) -> None:
    """ValueError that names every value whose type is not what the section's class or function declares."""
    wrong = [text for key, section in settings.items() if isinstance(section, dict) for text in _misfits(key, section)]
    if wrong:
        raise ValueError("\n".join(wrong))


def _misfits(key: str, section: Mapping[str, Any]) -> Iterator[str]:
    try:
        target = pydoc.locate(section["_target_"])
        hints = typing.get_type_hints(target.__init__ if inspect.isclass(target) else target)
    except Exception:  # what cannot be found or has no types is for the call itself to complain about
        return
    for name, value in section.items():
        if name in hints and not _fits(value, hints[name]):
            kind = re.sub(r"<class '(\w+)'>", r"\1", str(hints[name]))
            kind = (
                re.sub(r"\b(?:\w+\.)+", "", kind)
                .replace("Sequence[", "list[")
                .replace("List[", "list[")
                .replace("None", "null")
            )
            yield f"'{key}.{name}' must be {kind} but got {value!r}."


def _fits(value: Any, hint: Any) -> bool:
    """Whether a plain value may be what a type hint says; True wherever plain values do not tell."""
    if isinstance(value, dict) and "_target_" in value:
        return True  # whatever it makes is for the call itself to check
    origin = typing.get_origin(hint)
    if origin in (typing.Union, types.UnionType):
        return any(_fits(value, part) for part in typing.get_args(hint))
    if hint is type(None):
        return value is None
    if hint is float:
        return isinstance(value, int | float) and not isinstance(value, bool)
    if hint is int:
        return isinstance(value, int) and not isinstance(value, bool)
    if hint in (bool, str):
        return isinstance(value, hint)
    if origin is Callable:
        return isinstance(value, dict)
    if inspect.isclass(origin) and issubclass(origin, Mapping):
        return isinstance(value, dict)
    if inspect.isclass(origin) and issubclass(origin, Iterable):
        parts = typing.get_args(hint)[:1]
        return isinstance(value, list) and all(_fits(item, part) for item in value for part in parts)
    return True
