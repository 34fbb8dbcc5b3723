"""The configuration: the folders of its files, the changes that the command line makes, and its plain form."""

from __future__ import annotations

import argparse
import importlib.util
import os
import re
import shlex
import sys
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import convlstm
from convlstm.checkpoints.old_names import current
from convlstm.cli.command_line import typed
from convlstm.cli.error_wording import shown

import hydra
from hydra.core.config_search_path import ConfigSearchPath
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.core.plugins import Plugins
from hydra.errors import HydraException
from hydra.plugins.search_path_plugin import SearchPathPlugin
from omegaconf import DictConfig, OmegaConf

CONFIGS = Path(convlstm.__file__).parent / "configs"
# Help texts name commands in the form that the user has typed: `convlstm train` or `python train.py`.
OmegaConf.register_new_resolver("command", lambda verb: shlex.join(typed(verb)), replace=True)


class Note(UserWarning):
    """A remark for the user. Nothing is wrong."""


class OwnConfigurations(SearchPathPlugin):
    """A Hydra plugin that adds `configs` in the working folder, if it exists, to the search path, after our configs."""

    def manipulate_search_path(self, search_path: ConfigSearchPath) -> None:
        if folder := own_configs():
            search_path.append("working folder", f"file://{folder}")


def own_configs() -> Path | None:
    """Returns the folder `configs` in the working folder, or None if it does not exist or is the project's own."""
    folder = Path.cwd() / "configs"
    return folder if folder.is_dir() and not folder.samefile(CONFIGS) else None


def add_working_folder() -> None:
    """Adds the working folder to the search paths of Hydra and Python, after what they search already."""
    Plugins.instance().register(OwnConfigurations)
    folder = str(Path.cwd())
    if folder not in sys.path and "" not in sys.path:
        sys.path.append(folder)  # at the end, so that no file of the folder hides a library


def config_dir() -> list[str]:
    """Returns the command line's option `--config-dir` as arguments, or an empty list."""
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument("--config-dir", "-cd")
    folder = parser.parse_known_args(sys.argv[1:])[0].config_dir
    return [] if folder is None else ["--config-dir", folder]


def config_folders() -> list[Path]:
    """Returns the folders that choices of groups are searched in, in Hydra's order."""
    return [CONFIGS, *filter(None, [own_configs()]), *map(Path, config_dir()[1:])]


def typed_changes() -> list[Override]:
    """Returns the changes of the configuration that the command line makes."""
    return OverridesParser.create().parse_overrides(list(HydraConfig.get().overrides.task))


def given_arguments(*left_out: str) -> list[str]:
    """Returns the arguments of this command line that decide its configuration, without those that set these keys."""
    overrides = HydraConfig.get().overrides
    search_path = [change for change in overrides.hydra if change.startswith("hydra.searchpath=")]
    changes = [change for change in overrides.task if change.partition("=")[0].lstrip("+") not in left_out]
    return [*config_dir(), *search_path, *changes]


def options_first(arguments: Sequence[str]) -> list[str]:
    """Returns the arguments with options and their values first, since Hydra refuses `a=1 -m b=1,2`."""
    options, changes = list[str](), list[str]()
    for before, argument in zip(["", *arguments], arguments, strict=False):
        is_value = before.startswith("-") and "=" not in before + argument and not argument.startswith("~")
        (options if argument.startswith("-") or is_value else changes).append(argument)
    return [*options, *changes]


def quoted(argument: str) -> str:
    """Returns an argument with its value quoted if it is a path or a word that Hydra cannot read as it is."""
    key, equals, value = argument.partition("=")
    is_text = (os.sep in value or "=" in value or not value.isascii()) and value[:1] not in "[{'\""
    if not equals or argument.startswith("-") or not is_text:
        return argument
    try:
        OverridesParser.create().parse_override(argument)
    except HydraException:
        return f'{key}="' + value.replace('"', '\\"') + '"'
    return argument


def plain(config: DictConfig) -> dict[str, Any]:
    """Returns the configuration as dicts and lists, with interpolations resolved."""
    return OmegaConf.to_container(config, resolve=True, throw_on_missing=True)  # type: ignore[return-value]


def update_names(config: DictConfig) -> None:
    """Replaces old names of classes in a configuration by their present ones, with a note."""
    for key, target in _targets(OmegaConf.to_container(config)):
        present = current(target)
        # A package of the user may have one of our old names; its classes are not renamed.
        if present != target and _exists(present.rpartition(".")[0]):
            OmegaConf.update(config, key, present)
            warnings.warn(f"{key}: '{target}' is called '{present}' now.", Note, stacklevel=2)


def _targets(node: Any, key: str = "") -> Iterator[tuple[str, str]]:
    """Yields the keys and values of every `_target_` in a configuration."""
    items = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
    for name, value in items:
        path = f"{key}.{name}" if key else str(name)
        if name == "_target_" and isinstance(value, str):
            yield path, value
        yield from _targets(value, path)


def _exists(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except (ImportError, ValueError):
        return False


def chosen_groups() -> list[tuple[str, Any]]:
    """Returns the groups that the command line chooses from, with its choices."""
    parser = OverridesParser.create()
    overrides = [parser.parse_override(a) for a in sys.argv[1:] if "=" in a and not a.startswith("-")]
    return [
        (o.key_or_group, o.value())
        for o in overrides
        if (CONFIGS / o.key_or_group).is_dir() and not o.is_sweep_override()
    ]


def check_groups() -> None:
    """Raises ValueError if the choice of a group is not a name. Hydra's own errors do not say which group it is."""
    for group, choice in chosen_groups():
        names = choice if isinstance(choice, list) else [choice]
        if not all(isinstance(name, str) and re.fullmatch(r"[\w./-]+", name) for name in names):
            raise ValueError(
                f"'{group}' must be the name of a file in configs/{group} but got {shown(choice)}. To set one of its "
                f"keys: {group}.KEY=VALUE."
            )


def composed_defaults(config_name: str) -> DictConfig:
    """Returns the configuration with the groups that the command line chooses, and none of its other changes."""
    groups = [f"{key}={value}" for key, value in chosen_groups() if isinstance(value, str) and key != "experiment"]
    GlobalHydra.instance().clear()
    with hydra.initialize_config_dir(str(CONFIGS), version_base="1.3"):
        return hydra.compose(config_name, groups)
