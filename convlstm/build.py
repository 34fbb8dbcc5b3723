"""Objects from the description in a checkpoint, without running a stranger's code.

A description is a mapping with the key `_target_`, the dotted name of a class, and the arguments of its constructor,
which may be descriptions themselves. Only classes that are defined in a trusted package are called: not whatever else
a trusted module happens to have imported. Of MLX only the layers and optimizers are trusted, since elsewhere in it are
classes that start programs.
"""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Sequence

TRUSTED = ("convlstm", "datasets", "mlx.nn", "mlx.optimizers")


class UntrustedTargetError(ValueError):
    """A checkpoint names something that is not a class of a trusted package."""


def _within(name: str, packages: Sequence[str]) -> bool:
    return any(name == package or name.startswith(f"{package}.") for package in packages)


def resolve(target: str, trusted: Sequence[str] = TRUSTED, kind: type = object) -> type:
    """The class that a dotted name stands for.

    Raises:
        UntrustedTargetError: It is not a class of a trusted package, or not one of the `kind` that is asked for.
    """
    target = str(target)
    package = target.partition(".")[0]
    if not _within(target, trusted):
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
    home = getattr(found, "__module__", None) or ""
    if not inspect.isclass(found) or not _within(home, trusted):
        raise UntrustedTargetError(
            f"'_target_: {target}' is not a class defined in a trusted package ({', '.join(trusted)}), so it was not "
            "loaded."
        )
    if not issubclass(found, kind):
        raise UntrustedTargetError(f"'_target_: {target}' is not a {kind.__name__}, so it was not loaded.")
    return found


def build(description, trusted: Sequence[str] = TRUSTED, kind: type = object):
    """The object that a description stands for, a `kind`; lists and plain values come back as they are.

    Raises:
        UntrustedTargetError: A `_target_` does not resolve to a class that a trusted package defines.
        ValueError: The constructor does not take these arguments.
    """
    if isinstance(description, list):
        return [build(item, trusted) for item in description]
    if not isinstance(description, dict):
        return description
    # The class comes before its arguments, so that nothing is built for what is refused.
    cls = resolve(description["_target_"], trusted, kind) if "_target_" in description else None
    arguments = {key: build(value, trusted) for key, value in description.items() if key != "_target_"}
    if cls is None:
        return arguments
    try:
        inspect.signature(cls).bind(**arguments)
    except TypeError as error:
        raise ValueError(f"{description['_target_']}: {error}.") from error
    return cls(**arguments)
