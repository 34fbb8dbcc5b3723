"""Objects built from the descriptions in a checkpoint, without running untrusted code.

A description is a mapping with the key `_target_`, the dotted name of a class, and the arguments of its constructor.
These may be descriptions themselves. Two rules protect whoever loads a stranger's checkpoint:

- Only classes that a trusted package defines are called, never what its modules import from elsewhere.
- Each class must be of the kind that the caller asks for, at the top of the description and inside it, since trusted
  packages also have classes that load libraries, write files or open connections.
"""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Sequence
from types import ModuleType
from typing import Any, NoReturn

from convlstm.checkpoints.old_names import current

TRUSTED = ("convlstm", "mlx.nn")
"""Packages whose classes a checkpoint's model may use."""

OURS = ("convlstm", "convlstm.datasets", "mlx")
"""Packages of the project and of MLX, whose classes are checked for their kind.

Someone who trusts another package vouches for all that it contains.
"""

DATA = "convlstm.datasets"
"""A package inside `convlstm` that is trusted only if it is named, since no model is made of data sets."""


class UntrustedTargetError(ValueError):
    """A checkpoint names something other than a class of a trusted package."""


def _inside(name: str, package: str) -> bool:
    """Returns True if a dotted name is a package or lies in it."""
    return name == package or name.startswith(f"{package}.")


def _within(name: str, packages: Sequence[str]) -> bool:
    """Returns True if a dotted name lies in one of the packages; names in `DATA` need a package in `DATA`."""
    return any(_inside(name, package) and (_inside(package, DATA) or not _inside(name, DATA)) for package in packages)


def resolve(target: Any, trusted: Sequence[str] = TRUSTED, kind: type = object) -> type:
    """Returns the class that a dotted name refers to.

    Args:
        target: The name. Names of version 0.1 are understood.
        trusted: Packages that may define the class. Default: convlstm and mlx.nn.
        kind: Class that it must inherit from, or protocol whose methods it must have. Only classes in `OURS` are
            checked. Default: any.

    Raises:
        UntrustedTargetError: It is not a class of a trusted package, or not one of the `kind`.
    """
    if not _within(target := current(str(target)), trusted):
        raise UntrustedTargetError(
            f"'_target_: {target}' is outside the trusted packages ({', '.join(trusted)}), so it was not loaded. If "
            "you know where this checkpoint comes from, name the package as trusted: "
            f"trusted=[{target.partition('.')[0]}]. What you have trained yourself is trusted where it was trained, "
            "unless its configuration was edited."
        )
    parts = target.split(".")
    value: Any = importlib.import_module(parts[0])
    for n, part in enumerate(parts[1:], start=2):
        # Attributes of other packages' modules are not even read: reading one may import it.
        if isinstance(value, ModuleType) and not _leads_to(value.__name__, trusted):
            _refuse(target, trusted)
        if not hasattr(value, part):
            try:
                importlib.import_module(".".join(parts[:n]))
            except ImportError as error:
                raise UntrustedTargetError(f"'_target_: {target}' does not exist: there is no '{part}'.") from error
        value = getattr(value, part)
    if not inspect.isclass(value) or not _within(str(value.__module__), trusted):
        _refuse(target, trusted)
    others = [package for package in trusted if not _within(package, OURS)]
    if not _within(value.__module__, others) and not issubclass(value, kind):
        raise UntrustedTargetError(f"'_target_: {target}' is not a {kind.__name__}, so it was not loaded.")
    return value


def _leads_to(module: str, trusted: Sequence[str]) -> bool:
    """Returns True if a module lies in a trusted package or contains one."""
    return _within(module, trusted) or any(_inside(package, module) for package in trusted)


def _refuse(target: str, trusted: Sequence[str]) -> NoReturn:
    raise UntrustedTargetError(
        f"'_target_: {target}' is not a class defined in a trusted package ({', '.join(trusted)}), so it was not "
        "loaded."
    )


def check_targets(
    description: Any, trusted: Sequence[str] = TRUSTED, kind: type = object, *, inside: type | None = None
) -> None:
    """Raises UntrustedTargetError unless every class in a description may be called.

    The arguments are those of `build`.
    """
    inside = kind if inside is None else inside
    if isinstance(description, list):
        for item in description:
            check_targets(item, trusted, kind, inside=inside)
    elif isinstance(description, dict):
        if "_target_" in description:
            resolve(description["_target_"], trusted, kind)
        for value in description.values():
            check_targets(value, trusted, inside)


def build(
    description: Any, trusted: Sequence[str] = TRUSTED, kind: type = object, *, inside: type | None = None
) -> Any:
    """Returns the object that a description stands for. Lists and plain values are returned unchanged.

    Args:
        description: A mapping with `_target_` and arguments, or a plain value.
        trusted: Packages whose classes the description may name. Default: convlstm and mlx.nn.
        kind: Class that the object must inherit from, as in `resolve`. Default: any.
        inside: Class that the objects among its arguments must inherit from. Default: `kind`.

    Raises:
        UntrustedTargetError: A `_target_` is not a class of a trusted package, or not one of the kind. Nothing has
            been built.
        ValueError: The constructor does not take these arguments.
    """
    check_targets(description, trusted, kind, inside=inside)
    return _built(description, trusted)


def _built(description: Any, trusted: Sequence[str]) -> Any:
    if isinstance(description, list):
        return [_built(item, trusted) for item in description]
    if not isinstance(description, dict):
        return description
    arguments = {key: _built(value, trusted) for key, value in description.items() if key != "_target_"}
    if "_target_" not in description:
        return arguments
    cls = resolve(description["_target_"], trusted)
    try:
        inspect.signature(cls).bind(**arguments)
    except TypeError as error:
        raise ValueError(f"{description['_target_']}: {error}.") from error
    return cls(**arguments)
