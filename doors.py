"""What the doors `train.py` and `evaluate.py` share: composing a configuration, building from it, telling what is wrong."""

from __future__ import annotations

import difflib
import os
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import convlstm  # noqa: F401  (loads a fast BLAS, which must come before mlx)

import hydra
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException, InstantiationException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

CONFIGS = str(Path(__file__).resolve().parent / "configs")
# What a user can mend. Anything else is a fault of ours and keeps its traceback.
MISTAKES = (ValueError, OSError, RuntimeError, HydraException, OmegaConfBaseException)


def run(config_name: str, main: Callable[[DictConfig], None]) -> None:
    """Calls `main` with the configuration that the command line composes; a mistake ends with one message, exit 1."""
    os.environ["HYDRA_FULL_ERROR"] = "1"  # lets exceptions through to us

    def guarded(config: DictConfig) -> None:
        try:
            main(config)
        except MISTAKES as error:
            fail(message(error))

    guarded.__name__ = config_name
    try:
        hydra.main(version_base="1.3", config_path=CONFIGS, config_name=config_name)(guarded)()
    except (HydraException, OmegaConfBaseException) as error:
        fail(message(error) + choices(config_name, str(error)))


def fail(text: str) -> None:
    """Ends the program with a message and exit status 1."""
    sys.exit(f"{Path(sys.argv[0]).name}: {text}")


def message(error: BaseException) -> str:
    """What is wrong, without the machinery's wrapping."""
    if isinstance(error, InstantiationException) and error.__cause__ is not None:
        found = re.search(r"full_key: (\S+)", str(error))
        return (f"{found[1]}: " if found else "") + message(error.__cause__)
    if isinstance(error, FileNotFoundError | PermissionError | NotADirectoryError) and error.filename:
        return f"'{error.filename}': {error.strerror}. Choose another path, or change its permissions."
    return str(error).strip() or type(error).__name__


def choices(config_name: str, text: str) -> str:
    """The keys that exist, where an error is about one that does not."""
    found = re.search(r"Could not (?:override|append[^']*) '([\w.@/]+)'", text) or re.search(r"Key '([\w.]+)' is not", text)
    if not found:
        return ""
    overrides = [o for o in sys.argv[1:] if "=" in o and not o.startswith("-")]
    parser = OverridesParser.create()
    try:
        groups = [o for o in overrides if (Path(CONFIGS) / parser.parse_override(o).key_or_group).is_dir()]
        GlobalHydra.instance().clear()
        with hydra.initialize_config_dir(CONFIGS, version_base="1.3"):
            node: Any = hydra.compose(config_name, groups)
        *parents, wrong = found[1].split(".")
        for name in parents:
            node = node[name]
        keys = [str(key) for key in node if not str(key).startswith("_")]
    except (HydraException, OmegaConfBaseException, KeyError, TypeError):
        return ""
    close = difflib.get_close_matches(wrong, keys, n=1)
    meant = f" Did you mean '{'.'.join([*parents, close[0]])}'?" if close else ""
    return f"\n{meant}\nKeys{' of ' + '.'.join(parents) if parents else ''}: {', '.join(keys)}".replace("\n\n", "\n")


def instantiate(config: DictConfig, key: str, **arguments: Any) -> Any:
    """The object that a section of the configuration describes; its class's own arguments are named where one is wrong."""
    return hydra.utils.instantiate(config[key], _convert_="all", **arguments)


def plain(config: DictConfig) -> dict[str, Any]:
    """The configuration as dicts and lists, interpolations resolved."""
    return OmegaConf.to_container(config, resolve=True, throw_on_missing=True)  # type: ignore[return-value]
