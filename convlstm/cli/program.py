"""What the doors share: composing a configuration, building its objects, telling what is wrong.

`train.py`, `evaluate.py`, `forecast.py` and `summary.py` are the doors; the files here are parts of them.
"""

from __future__ import annotations

import io
import os
import re
import shlex
import signal
import sys
import typing
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import convlstm
from convlstm.backend.jit import drop_damaged
from convlstm.cli.checks import check_kind as check_kind
from convlstm.cli.checks import check_types as check_types
from convlstm.cli.checks import keys_of_path, meant, no_such_key
from convlstm.cli.checks import named as named
from convlstm.cli.checks import shown as shown
from convlstm.runs.sweeps import MESSAGE, TABLE, Sweep

import hydra
import yaml
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException, InstantiationException
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import MissingMandatoryValue, OmegaConfBaseException

CONFIGS = str(Path(convlstm.__file__).parent / "configs")
# What a user can mend. Anything else is a fault of ours and keeps its traceback.
MISTAKES = (ValueError, OSError, RuntimeError, HydraException, OmegaConfBaseException)


def run(
    config_name: str,
    main: Callable[[DictConfig], None],
    *,
    open_sections: tuple[str, ...] = (),
    sweeps: bool = False,
) -> None:
    """Calls `main` with the configuration that the command line composes.

    A mistake ends the program with one message and exit status 1, Ctrl-C with a word and 130.

    Args:
        config_name: The file in configs/.
        main: What to call.
        open_sections: Sections that take any key, as Hydra's `++` does.
        sweeps: Whether each job of `-m` is a process of its own, of which `output` and `name` say the folder.
    """
    os.environ["HYDRA_FULL_ERROR"] = "1"  # lets exceptions through to us
    sys.argv = [f"++{a}" if a.startswith(tuple(f"{name}." for name in open_sections)) else a for a in sys.argv]
    sys.argv[1:] = [quoted(a) for a in sys.argv[1:]]
    # Hydra refuses `a=1 -m b=1,2`: what follows an option that stands between two changes.
    sys.argv[1:] = sorted(sys.argv[1:], key=lambda a: a not in ("-m", "--multirun"))
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(line_buffering=True)  # what a pipe has read is where the program is

    sweep: Sweep | None = None

    def guarded(config: DictConfig) -> None:
        nonlocal sweep
        if sweeps and HydraConfig.get().mode == RunMode.MULTIRUN:
            sweep = Sweep(Path(HydraConfig.get().sweep.dir)) if sweep is None else sweep
            return run_job(sweep, config_name)
        try:
            drop_damaged()
            return main(config)
        except MISTAKES as error:
            fail(message(error, OmegaConf.to_container(config)))
        except Exception as error:
            leave_message(f"{type(error).__name__}: {error}")
            raise

    guarded.__name__ = config_name
    try:
        _check_groups()
        with warnings.catch_warnings():
            warnings.showwarning = lambda text, *place, **more: print(f"warning     {text}", file=sys.stderr)
            hydra.main(version_base="1.3", config_path=CONFIGS, config_name=config_name)(guarded)()
    except MISTAKES as error:
        fail(unknown(config_name, str(error)) or message(error))
    except KeyboardInterrupt:
        print(f"\n{Path(sys.argv[0]).name}: interrupted.", file=sys.stderr)
        sys.exit(130)
    if sweep is not None and not finish(sweep, config_name):
        sys.exit(sweep.code)


def run_job(sweep: Sweep, config_name: str) -> None:
    """Runs the sweep's job that Hydra is at: the same door with the job's own changes, in a folder of its own."""
    job, given = HydraConfig.get(), set(sys.argv)
    changes = [change for change in job.overrides.task if change.split("=")[0].lstrip("+") not in ("output", "name")]
    folder = sweep.folder / job.sweep.subdir
    line = [sys.executable, *_invocation(), *changes]
    line += [assignment("output", folder.parent), assignment("name", folder.name)]
    own = [change.lstrip("+").partition("=") for change in job.overrides.task if change not in given]
    sweep.run(str(job.sweep.subdir), line, {key: value for key, _, value in own})


def finish(sweep: Sweep, config_name: str) -> bool:
    """Prints what has become of a sweep, and says whether every job has come to its end."""
    if sweep.stopped == signal.SIGHUP:
        return False  # the terminal is gone
    print(f"\n{sweep.report()}\n\nThe same as a table:  {sweep.folder / TABLE}")
    if sweep.code:
        # Those that have come to their end only say so then.
        given = [a for a in sys.argv[1:] if not a.startswith(("resume=", "hydra.sweep.dir="))]
        again = command(config_name, *given, resume="auto", **{"hydra.sweep.dir": sweep.folder})
        print(f"To go on with those that have not come to their end:  {again}")
    return sweep.code == 0


def fail(text: str) -> typing.NoReturn:
    """Ends the program with a message and exit status 1."""
    leave_message(text)
    sys.exit(f"{Path(sys.argv[0]).name}: {text}")


def leave_message(text: str) -> None:
    """Keeps a program's last words for the sweep that it is a job of, if it is one."""
    if MESSAGE in os.environ:
        Path(os.environ[MESSAGE]).write_text(text, encoding="utf-8")


def assignment(key: str, value: Any) -> str:
    """A change of the configuration, its value quoted for Hydra."""
    text = str(value)
    plain_text = re.fullmatch(r"[\w./~:@%+-]+", text) is not None
    return f"{key}={text}" if plain_text else f'{key}="' + text.replace('"', '\\"') + '"'


def quoted(argument: str) -> str:
    """A change of the configuration, its value quoted where it is a path or a word that Hydra cannot read as it is."""
    key, equals, value = argument.partition("=")
    is_text = (os.sep in value or not value.isascii()) and value[:1] not in "[{'\""
    if not equals or argument.startswith("-") or not is_text:
        return argument
    try:
        OverridesParser.create().parse_override(argument)
    except HydraException:
        return f'{key}="' + value.replace('"', '\\"') + '"'
    return argument


def command(verb: str, /, *arguments: str, **values: Any) -> str:
    """Returns a line for the shell that runs a command, its values quoted for Hydra and all of it for the shell."""
    changes = [assignment(key, value) for key, value in values.items()]
    program = ["python", f"{verb}.py"] if len(_invocation()) == 1 else ["convlstm", verb]
    return shlex.join([*program, *arguments, *changes])


def _invocation() -> list[str]:
    """Returns the file that Python was started with, and the command's name where that file is not its own."""
    file, _, name = sys.argv[0].rpartition(" ")
    return [file, name] if file.endswith(("convlstm", "__main__.py")) else [sys.argv[0]]


def message(error: BaseException, settings: Any = None) -> str:
    """What is wrong, without the machinery's wrapping, and with the keys of the configuration that it is about.

    Args:
        error: What was raised.
        settings: The configuration, as dicts and lists; None where there is none yet.
    """
    found = re.search(r"full_key: (\S+)", str(error))
    key = found[1] if found else ""
    if isinstance(error, InstantiationException) and error.__cause__ is not None:
        return _not_built(error.__cause__, key, settings)
    if isinstance(error, MissingMandatoryValue):
        return f"'{key}' has no value. Give it one: {key}=VALUE." if key else str(error)
    if isinstance(error, OSError) and error.filename:
        lead = ", ".join(keys_of_path(settings, str(error.filename)))
        path = f"'{error.filename}': {error.strerror}. Choose another path, or change what is there."
        return f"{lead}: {path}" if lead else path
    text = re.sub(r"\n\s*(full_key|object_type)[:=].*", "", str(error)).strip()
    text = text or (message(error.__cause__) if error.__cause__ else type(error).__name__)
    if isinstance(error, OmegaConfBaseException):
        return f"{key}: {text}" if key else text
    return named(text, settings)


def _not_built(error: BaseException, key: str, settings: Any) -> str:
    """What is wrong with a section of the configuration of which nothing could be built."""
    section = settings or {}
    for name in key.split("."):
        section = section.get(name) if isinstance(section, dict) else None
    section = section if isinstance(section, dict) else {}
    target = f" ({key}._target_: {section.get('_target_')})"
    if not isinstance(error, TypeError):
        return named(message(error), settings, key)
    if str(error).startswith("["):  # from a class of ours
        return named(str(error), settings, key) + target
    if found := re.search(r"unexpected keyword argument '(\w+)'", str(error)):
        return no_such_key(f"{key}.{found[1]}", [name for name in section if name != found[1]]) + target
    # It rarely says which value it is about.
    given = [a for a in sys.argv[1:] if a.lstrip("+").startswith(f"{key.partition('.')[0]}.")]
    return f"{key}: {error}{target}" + (f" Given: {' '.join(given)}" if given else "")


def unknown(config_name: str, text: str) -> str:
    """What to say about a key or a choice that does not exist: those that do; "" where the error is another one."""
    if found := re.search(
        r"Could not find '([\w/]+)/([^'/]*)'\s+Available options in '[\w/]+':\s([\s\w-]*?)\n\S", text
    ):
        group, wrong, names = found[1], found[2], found[3].split()
        return f"{group} has no choice '{wrong}'.{meant(wrong, names)}\nChoices of {group}: {', '.join(names)}"
    if found := re.search(r"In '([\w/.-]+)': [\s\S]*Cannot merge", text):
        return f"in '{found[1]}', {_misshapen(config_name, found[1])}"
    found = re.search(r"Could not override '([\w.@/]+)'", text) or re.search(r"Key '([\w.]+)' is not in", text)
    if not found:
        return ""
    try:
        node: Any = _defaults(config_name)
        for name in found[1].split(".")[:-1]:
            node = node[name]
        return no_such_key(found[1], map(str, node))
    except (HydraException, OmegaConfBaseException, KeyError, TypeError, AttributeError):
        return no_such_key(found[1], [])


def _misshapen(config_name: str, name: str) -> str:
    """Which keys of a file are lists where they must be sections, or the other way round."""

    def walk(given: Any, there: Any, place: str) -> list[str]:
        if isinstance(given, dict) and isinstance(there, dict):
            return [k for key in given if key in there for k in walk(given[key], there[key], f"{place}.{key}")]
        there = {} if isinstance(there, str) and there.startswith("${") else there
        wrong = isinstance(given, dict | list) and isinstance(there, dict | list) and type(given) is not type(there)
        return [f"{place[1:]} must be a {'section' if isinstance(there, dict) else 'list'}"] if wrong else []

    arguments = [argument.partition("=") for argument in sys.argv]
    folders = [*(arguments[n + 1][0] for n, a in enumerate(arguments[:-1]) if a[0] == "--config-dir"), CONFIGS]
    found: list[str] = []
    for path in (Path(folder) / f"{name}.yaml" for folder in folders):
        if path.is_file() and not found:
            given = yaml.safe_load(path.read_text(encoding="utf-8"))
            found = walk(given, OmegaConf.to_container(_defaults(config_name)), "")
    return "; ".join(found) or "a list stands where a section must be, or the other way round"


def _defaults(config_name: str) -> DictConfig:
    """The configuration with the groups that the command line chooses, and none of its other changes."""
    groups = [f"{key}={value}" for key, value in _groups() if isinstance(value, str) and key != "experiment"]
    GlobalHydra.instance().clear()
    with hydra.initialize_config_dir(CONFIGS, version_base="1.3"):
        return hydra.compose(config_name, groups)


def _groups() -> list[tuple[str, Any]]:
    """The groups that the command line chooses from, and its choices."""
    parser = OverridesParser.create()
    overrides = [parser.parse_override(a) for a in sys.argv[1:] if "=" in a and not a.startswith("-")]
    return [
        (o.key_or_group, o.value())
        for o in overrides
        if (Path(CONFIGS) / o.key_or_group).is_dir() and not o.is_sweep_override()
    ]


def _check_groups() -> None:
    """ValueError where a choice of a group is none: Hydra does not say which one, or falls over it."""
    for group, choice in _groups():
        names = choice if isinstance(choice, list) else [choice]
        if not all(isinstance(name, str) and re.fullmatch(r"[\w./-]+", name) for name in names):
            raise ValueError(
                f"'{group}' must be the name of a file in configs/{group} but got {shown(choice)}. For one of its "
                f"keys: {group}.KEY=VALUE."
            )


def plain(config: DictConfig) -> dict[str, Any]:
    """The configuration as dicts and lists, interpolations resolved."""
    return OmegaConf.to_container(config, resolve=True, throw_on_missing=True)  # type: ignore[return-value]


def check_keys(config_name: str, settings: Mapping[str, Any]) -> None:
    """ValueError where a key of the configuration is missing, or is none that its file knows."""
    own = yaml.safe_load((Path(CONFIGS) / f"{config_name}.yaml").read_text(encoding="utf-8"))
    known = [key for key in own if key not in ("defaults", "hydra")]
    for key in known:
        if key not in settings:
            raise ValueError(f"'{key}' has no value. Give it one: {key}=VALUE.")
    known += sorted(path.name for path in Path(CONFIGS).iterdir() if path.is_dir() and path.name != "experiment")
    if wrong := [no_such_key(key, known) for key in settings if key not in known]:
        raise ValueError("\n".join(wrong))


def check_path(key: str, value: Any) -> None:
    """ValueError where a value is no path."""
    if value is None or isinstance(value, bool | list | dict) or not str(value).strip() or "\0" in str(value):
        raise ValueError(f"'{key}' must name a folder but got {shown(value)}.")


@contextmanager
def fitting(settings: Mapping[str, Any], *sections: str) -> Iterator[None]:
    """Where something in these sections does not fit the others, the error names the keys of sizes that decide it.

    Args:
        settings: The configuration.
        *sections: Names of sections, and of single keys, such as `trainer.batch_size`.
    """
    try:
        yield
    except ValueError as error:
        described = {section: settings.get(section) or {} for section in sections}
        keys = [f"{name}.{k}" for name, section in described.items() for k in section if _is_size(k, section[k])]
        keys += [section for section in sections if "." in section]
        raise ValueError(f"{error}\nWhat decides it: {', '.join(keys)}.") from error


def _is_size(key: str, value: Any) -> bool:
    number = type(value) is int or (isinstance(value, list) and all(type(item) in (int, list, dict) for item in value))
    return number and key not in ("prefetch", "threads", "cache_bytes", "validation_sequences", "test_sequences")


def instantiate(config: DictConfig, key: str) -> Any:
    """The object that a section of the configuration describes.

    Raises:
        InstantiationException: What it names does not take the values.
        ValueError: What it names cannot take the section's place.
    """
    made = hydra.utils.instantiate(config[key], _convert_="all")
    check_kind(key, made, str(config[key]["_target_"]))
    return made


def make_folder(folder: Path) -> None:
    """Makes a folder before anything is computed for it; OSError where it cannot be made or written to."""
    folder.mkdir(parents=True, exist_ok=True)
    if not os.access(folder, os.W_OK):
        raise PermissionError(13, "Permission denied", str(folder))
