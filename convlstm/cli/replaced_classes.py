"""Keys that a section keeps from another class, after `SECTION._target_=CLASS` has replaced its class."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from convlstm.cli.configuration import CONFIGS, config_folders, typed_changes

import hydra
import yaml
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, open_dict


def drop_former_keys(config: DictConfig, sections: Iterable[str]) -> None:
    """Removes the keys of the class that a choice of a group names if a section names another class, with a note.

    Keys that the class takes stay, and so do those of the command line, which are checked later.
    """
    typed = [change.key_or_group for change in typed_changes()]
    for section in sections:
        node = config.get(section)
        if not isinstance(node, DictConfig) or "_target_" not in node:
            continue
        target = str(node["_target_"])
        former = _keys_of_choice(section, HydraConfig.get().runtime.choices.get(section))
        taken = _arguments(target)
        if former.get("_target_", target) == target or taken is None:
            continue
        former_keys = [str(key) for key in node if key in former and not str(key).startswith("_") and key not in taken]
        dropped = [key for key in former_keys if not any(f"{t}.".startswith(f"{section}.{key}.") for t in typed)]
        with open_dict(config):
            for key in dropped:
                del node[key]
        if dropped:
            print(
                f"note        {section}._target_ is {target}, so keys of {former['_target_']} are left out: "
                f"{', '.join(dropped)}"
            )


def _keys_of_choice(group: str, choice: Any) -> dict[str, Any]:
    """Returns the keys and values of a choice of a group, with those of the choices that it starts from."""
    paths = (Path(folder) / group / f"{choice}.yaml" for folder in config_folders())
    if not isinstance(choice, str) or (path := next((p for p in paths if p.is_file()), None)) is None:
        return {}
    content = yaml.safe_load(path.read_text(encoding="utf-8"))
    content = content if isinstance(content, dict) else {}
    bases = [base for base in content.pop("defaults", []) if isinstance(base, str) and base not in ("_self_", choice)]
    return {key: value for base in bases for key, value in _keys_of_choice(group, base).items()} | content


def open_new_keys(config_name: str, arguments: Sequence[str]) -> list[str]:
    """Returns arguments with `++` before keys that a class of the command line takes and the group's choice lacks.

    So `loss._target_=my_parts.Huber loss.delta=0.1` sets a key that Hydra would not find.

    Args:
        config_name: The file in configs/ that chooses from the groups.
        arguments: The arguments of the command line.
    """
    choices: dict[str, Any] = {}
    for item in yaml.safe_load((CONFIGS / f"{config_name}.yaml").read_text(encoding="utf-8")).get("defaults", []):
        choices |= item if isinstance(item, dict) else {}
    choices |= dict(argument.split("=", 1) for argument in arguments if "=" in argument)
    pairs = (argument.lstrip("+").partition("._target_=") for argument in arguments)
    targets = {section: target for section, is_target, target in pairs if is_target}

    def opened(argument: str) -> str:
        section, _, rest = argument.partition(".")
        key, is_change, _ = rest.partition("=")
        if not (is_change and section in targets and key in (_parameters(targets[section]) or {})):
            return argument
        return argument if key in _keys_of_choice(section, choices.get(section)) else f"++{argument}"

    return [opened(argument) for argument in arguments]


def _arguments(target: str) -> list[str] | None:
    """Returns the arguments of a class or a function; None if it takes any, cannot be loaded, or is a builtin."""
    if target.partition(".")[0] in sys.stdlib_module_names:
        return None  # checked and refused later
    parameters = _parameters(target)
    if parameters is None or any(p.kind in (p.VAR_KEYWORD, p.VAR_POSITIONAL) for p in parameters.values()):
        return None
    return list(parameters)


def _parameters(target: str) -> Mapping[str, inspect.Parameter] | None:
    """Returns the arguments of a class or a function; None if it cannot be loaded, which later checks report."""
    try:
        return inspect.signature(hydra.utils.get_object(target)).parameters
    except Exception:  # a module's import may raise anything
        return None
