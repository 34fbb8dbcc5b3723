"""Objects from the description in a checkpoint, without running a stranger's code.

A description is a mapping with the key `_target_`, the dotted name of a class, and the arguments of its constructor,
which may be descriptions themselves. Only classes that are defined in a trusted package are called: not whatever else
a trusted module happens to have imported. They must be of the kind that is asked for, too, at the top and inside of
it, since trusted packages also have classes that load libraries, write files or open connections.
"""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Sequence
from types import ModuleType
from typing import Any, NoReturn

from convlstm.checkpoints.old_names import current

# What a checkpoint's model may be made of.
TRUSTED = ("convlstm", "mlx.nn")
# Packages of the project and of MLX. Any other one is named by a person, who vouches for all that is in it.
OURS = ("convlstm", "convlstm.datasets", "mlx")


class UntrustedTargetError(ValueError):
    """A checkpoint names something that is not a class of a trusted package."""


# Installed inside of `convlstm`, but trusted only where it is named: no model is made of data sets.
DATA = "convlstm.datasets"


def _inside(name: str, package: str) -> bool:
    return name == package or name.startswith(f"{package}.")


def _within(name: str, packages: Sequence[str]) -> bool:
    return any(_inside(name, package) and (_inside(package, DATA) or not _inside(name, DATA)) for package in packages)


def resolve(target: Any, trusted: Sequence[str] = TRUSTED, kind: type = object) -> type:
    """The class that a dotted name stands for.

    Args:
        target: The name.
        trusted: Packages that may define it. Default: convlstm and mlx.nn.
        kind: What it must be a subclass of, or a protocol whose methods it must have; whoever names a package that is
            not one of ours vouches for all its classes. Default: anything.

    Raises:
        UntrustedTargetError: It is not a class of a trusted package, or not one of the `kind` that is asked for.
    """
    if not _within(target := current(str(target)), trusted):
        raise UntrustedTargetError(
            f"'_target_: {target}' is outside the trusted packages ({', '.join(trusted)}), so it was not loaded. If "
            "you know where this checkpoint comes from, name the package as trusted: "
            f"trusted=[{target.partition('.')[0]}]."
        )
    parts = target.split(".")
    found: Any = importlib.import_module(parts[0])
    for n, part in enumerate(parts[1:], start=2):
        # What a module from elsewhere holds is not even looked at: looking may import it.
        if isinstance(found, ModuleType) and not _leads_to(found.__name__, trusted):
            _refuse(target, trusted)
        if not hasattr(found, part):
            try:
                importlib.import_module(".".join(parts[:n]))
            except ImportError as error:
                raise UntrustedTargetError(f"'_target_: {target}' does not exist: there is no '{part}'.") from error
        found = getattr(found, part)
    if not inspect.isclass(found) or not _within(str(found.__module__), trusted):
        _refuse(target, trusted)
    vouched = [package for package in trusted if not _within(package, OURS)]
    if not _within(found.__module__, vouched) and not issubclass(found, kind):
        raise UntrustedTargetError(f"'_target_: {target}' is not a {kind.__name__}, so it was not loaded.")
    return found


def _leads_to(module: str, trusted: Sequence[str]) -> bool:
    return _within(module, trusted) or any(_inside(package, module) for package in trusted)


def _refuse(target: str, trusted: Sequence[str]) -> NoReturn:
    raise UntrustedTargetError(
        f"'_target_: {target}' is not a class defined in a trusted package ({', '.join(trusted)}), so it was not "
        "loaded."
    )


def check_targets(
    description: Any, trusted: Sequence[str] = TRUSTED, kind: type = object, *, inside: type | None = None
) -> None:
    """UntrustedTargetError unless every class that a description names may be called; the arguments are `build`'s."""
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
    """The object that a description stands for; lists and plain values come back as they are.

    Args:
        description: A mapping with `_target_` and arguments, or a plain value.
        trusted: Packages whose classes it may name. Default: convlstm and mlx.nn.
        kind: What the object must be, as in `resolve`. Default: anything.
        inside: What the objects among its arguments must be. Default: `kind`.

    Raises:
        UntrustedTargetError: A `_target_` does not resolve to a class that a trusted package defines, or not to one of
            the kind; nothing has been built.
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
