"""Messages of errors: the reason without Hydra's wrapping, and the keys of the configuration that it is about."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

from convlstm.backend import files
from convlstm.backend.full_disk import FULL
from convlstm.backend.private_folder import temporary_folder
from convlstm.cli.configuration import composed_defaults, config_folders
from convlstm.cli.error_wording import keys_of_path, led_by_keys, no_such_key, suggestion, value_at

import yaml
from hydra.errors import HydraException, InstantiationException
from omegaconf import OmegaConf
from omegaconf.errors import MissingMandatoryValue, OmegaConfBaseException

USER_ERRORS = (ValueError, OSError, RuntimeError, HydraException, OmegaConfBaseException)
"""Errors that the user can correct. All others are bugs of the program and keep their traceback."""


def message(error: BaseException, settings: Any = None) -> str:
    """Returns the message of an error, with the keys of the configuration that it is about.

    Args:
        error: The error.
        settings: The configuration, as dicts and lists. Default: None, it does not exist yet.
    """
    match = re.search(r"full_key: (\S+)", str(error))
    key = match[1] if match else ""
    if isinstance(error, InstantiationException) and error.__cause__ is not None:
        return _not_built(error.__cause__, key, settings)
    if isinstance(error, MissingMandatoryValue):
        return f"'{key}' has no value. Give it one: {key}=VALUE." if key else str(error)
    if isinstance(error, OSError) and error.filename:
        lead = ", ".join(keys_of_path(settings, str(error.filename)))
        remedy = "Choose another path, or change what is there."
        if error.errno in FULL:
            free = files.free_bytes(Path(error.filename))
            room = "" if free is None else f", where {files.amount(free)} are free"
            remedy = f"Make room on that disk{room}, or write to another one."
        path = f"'{error.filename}': {error.strerror}. {remedy}"
        return f"{lead}: {path}" if lead else path
    if str(error).startswith("[Compile::eval_cpu]"):
        reason = str(error).splitlines()[0].rstrip(".")
        return (
            f"MLX could not compile a function: {reason}. Check that g++ works and that "
            f"'{temporary_folder()}' has free space, or set TMPDIR to another folder. MLX_DISABLE_COMPILE=1 does "
            "without compiled functions."
        )
    text = re.sub(r"\n\s*(full_key|object_type)[:=].*", "", str(error)).strip()
    text = text or (message(error.__cause__) if error.__cause__ else type(error).__name__)
    if isinstance(error, OmegaConfBaseException):
        return f"{key}: {text}" if key else text
    return led_by_keys(text, settings)


def _not_built(error: BaseException, key: str, settings: Any) -> str:
    """Returns the message about a section of the configuration whose object could not be built."""
    section = value_at(settings, key)
    section = section if isinstance(section, dict) else {}
    target = f" ({key}._target_: {section.get('_target_')})"
    if not isinstance(error, TypeError):
        return led_by_keys(message(error), settings, key)
    if str(error).startswith("["):  # the message of one of our classes
        return led_by_keys(str(error), settings, key) + target
    if match := re.search(r"unexpected keyword argument '(\w+)'", str(error)):
        return no_such_key(f"{key}.{match[1]}", [name for name in section if name != match[1]]) + target
    # Python's message rarely says which value it is about.
    arguments = [a for a in sys.argv[1:] if a.lstrip("+").startswith(f"{key.partition('.')[0]}.")]
    return f"{key}: {error}{target}" + (f" Given: {' '.join(arguments)}" if arguments else "")


def unknown_name(config_name: str, text: str) -> str:
    """Returns the message about a key or a choice that does not exist, or "" if Hydra's text is about another error."""
    if match := re.search(
        r"Could not find '([\w/]+)/([^'/]*)'\s+Available options in '[\w/]+':\s([\s\w-]*?)\n\S", text
    ):
        group, wrong, names = match[1], match[2], match[3].split()
        return f"{group} has no choice '{wrong}'.{suggestion(wrong, names)}\nChoices of {group}: {', '.join(names)}"
    if match := re.search(r"In '([\w/.-]+)': [\s\S]*Cannot merge", text):
        return f"in '{match[1]}', {_misshapen(config_name, match[1])}"
    match = re.search(r"Could not override '([\w.@/]+)'", text) or re.search(r"Key '([\w.]+)' is not in", text)
    if not match:
        return ""
    try:
        node: Any = composed_defaults(config_name)
        for name in match[1].split(".")[:-1]:
            node = node[name]
        return no_such_key(match[1], map(str, node))
    except (HydraException, OmegaConfBaseException, KeyError, TypeError, AttributeError):
        return no_such_key(match[1], [])


def _misshapen(config_name: str, name: str) -> str:
    """Returns the message about the keys of a file that are lists but must be sections, or the reverse."""

    def walk(given: Any, default: Any, key: str) -> list[str]:
        if isinstance(given, dict) and isinstance(default, dict):
            return [k for n in given if n in default for k in walk(given[n], default[n], f"{key}.{n}")]
        default = {} if isinstance(default, str) and default.startswith("${") else default
        both = isinstance(given, dict | list) and isinstance(default, dict | list)
        wrong = both and type(given) is not type(default)
        return [f"{key[1:]} must be a {'section' if isinstance(default, dict) else 'list'}"] if wrong else []

    path = next((p for folder in config_folders() if (p := folder / f"{name}.yaml").is_file()), None)
    content = yaml.safe_load(path.read_text(encoding="utf-8")) if path else None
    wrong = walk(content, OmegaConf.to_container(composed_defaults(config_name)), "")
    return "; ".join(wrong) or "a key has a list instead of a section, or the reverse"
