"""Objects from the description in a checkpoint, without running a stranger's code.

A description is a mapping with the key `_target_`, the dotted name of a class, and the arguments of its constructor,
which may be descriptions themselves. Only classes that are defined in a trusted package are called: not whatever else
a trusted module happens to have imported.
"""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Sequence

TRUSTED = ("convlstm", "datasets", "mlx")


class UntrustedTargetError(ValueError):
    """A checkpoint names something that is not a class of a trusted package."""


def resolve(target: str, trusted: Sequence[str] = TRUSTED) -> type:
    """The class that a dotted name stands for; UntrustedTargetError where it is not a class of a trusted package."""
    package = str(target).partition(".")[0]
    if package not in trusted:
        raise UntrustedTargetError(
            f"'_target_: {target}' is outside the trusted packages ({', '.join(trusted)}), so it was not loaded. If "
            f"you know where this checkpoint comes from, name the package as trusted: trusted=[{package}]."
        )
    parts = target.split(".")
    found: object = importlib.import_module(package)
    for n, part in enumerate(parts[1:], start=2):
        if not hasattr(found, part):
            try:
                importlib.import_module(".".join(parts[:n]))
            except ImportError as error:
                raise UntrustedTargetError(f"'_target_: {target}' does not exist: there is no '{part}'.") from error
        found = getattr(found, part)
    home = getattr(found, "__module__", "").partition(".")[0]
    if not inspect.isclass(found) or home not in trusted:
        raise UntrustedTargetError(
            f"'_target_: {target}' is not a class defined in a trusted package ({', '.join(trusted)}), so it was not "
            "loaded."
        )
    return found


def build(description, trusted: Sequence[str] = TRUSTED):
    """The object that a description stands for; lists and plain values come back as they are.

    Raises:
        UntrustedTargetError: A `_target_` does not resolve to a class that a trusted package defines.
        ValueError: The constructor does not take these arguments.
    """
    if isinstance(description, list):
        return [build(item, trusted) for item in description]
    if not isinstance(description, dict):
        return description
    arguments = {key: build(value, trusted) for key, value in description.items() if key != "_target_"}
    if "_target_" not in description:
        return arguments
    cls = resolve(description["_target_"], trusted)
    try:
        inspect.signature(cls).bind(**arguments)
    except TypeError as error:
        raise ValueError(f"{description['_target_']}: {error}.") from error
    return cls(**arguments)
