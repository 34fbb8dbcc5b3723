"""A private list of the runs that this user has trained with classes of other packages, which loading then trusts.

An entry lies outside the run, in this user's folder of states, and holds the run's folder, digests of the
configurations that were trained there, and the files that their classes came from. So nothing that comes with a run,
and no copy of a run, makes its classes trusted. The digest is of the configuration that is then built.
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
import os
import sys
import time
import warnings
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from convlstm.backend import files
from convlstm.backend.plain_files import RefusedFileError, open_plain, parse_json
from convlstm.backend.private_folder import check_own, create_own, create_state, is_own, state_folders
from convlstm.checkpoints.old_names import current, updated

_FOLDER = "trained"
# Sections of a configuration whose objects are built again from a checkpoint.
_BUILT = ("model", "data", "loss")
_MOST_CONFIGURATIONS = 64
_MOST_BYTES = 1 << 20
_YEAR = 365 * 24 * 3600


def packages_of(config: Mapping[str, Any]) -> list[str]:
    """Returns the packages other than convlstm and MLX whose classes a configuration's model, data and loss name."""
    targets = (target for section in _BUILT for target in _targets(config.get(section)))
    return sorted({current(target).partition(".")[0] for target in targets} - {"convlstm", "mlx"})


def remember(run: Path, config: Mapping[str, Any]) -> None:
    """Adds a configuration to the list as one that this user has trained in a run's folder.

    Nothing is written if its classes are all of convlstm and MLX. Packages of Python itself, and those that were not
    imported from files of this user or of root, are left out.

    Raises:
        OSError: The list cannot be written.
        RuntimeError: The user has no home folder.
    """
    config = updated(dict(config))
    places = {package: found for package in packages_of(config) if (found := _places(package))}
    if not places:
        return
    path = create_own(create_state() / _FOLDER) / _name(run)
    _drop_old(path.parent)
    digests = [digest for digest in (_read(path) or {}).get("configurations", []) if digest != _digest(config)]
    entry = {
        "run": str(run.resolve()),
        "configurations": [*digests[1 - _MOST_CONFIGURATIONS :], _digest(config)],
        "packages": (_read(path) or {}).get("packages", {}) | places,
    }
    with files.replacing(path) as temporary:
        with files.DurableFile(temporary) as file:
            file.write((json.dumps(entry, indent=2) + "\n").encode())
        temporary.chmod(0o600)


def trusted_packages(run: Path, config: Mapping[str, Any]) -> tuple[str, ...]:
    """Returns the packages that a configuration may name because this user has trained it in this run's folder.

    Args:
        run: The run's folder, of which all links are followed.
        config: The configuration as it was read from a checkpoint of the run.

    Returns:
        The packages that the configuration names and that would be imported from the same files as in training; none
        if this user has not trained this very configuration in this folder.
    """
    config = updated(dict(config))
    if not (packages := packages_of(config)):
        return ()
    for state in _folders():
        try:
            check_own(state)
            check_own(state / _FOLDER)
            entry = _read(state / _FOLDER / _name(run))
        except PermissionError as error:
            warnings.warn(f"The list of runs that you have trained is not used: {error}.", stacklevel=2)
            continue
        except OSError:  # there is none
            continue
        if entry and entry["run"] == str(run.resolve()) and _digest(config) in entry["configurations"]:
            known = entry["packages"]
            return tuple(name for name in packages if name in known and _places(name) == known[name])
    return ()


def _drop_old(folder: Path) -> None:
    """Removes entries of runs that are gone, if they have not changed for a year: a disk may be absent for a while."""
    for path in folder.glob("*.json"):
        with suppress(OSError):
            entry = _read(path) if time.time() - path.lstat().st_mtime > _YEAR else None
            if entry and not Path(entry["run"]).exists():
                path.unlink()


def _folders() -> list[Path]:
    with suppress(RuntimeError):  # there is no home folder
        return state_folders()
    return []


def _name(run: Path) -> str:
    return f"{hashlib.sha256(str(run.resolve()).encode(errors='surrogateescape')).hexdigest()}.json"


def _digest(config: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(config, sort_keys=True, default=str).encode()).hexdigest()


def _read(path: Path) -> dict[str, Any] | None:
    """Returns an entry of the list, or None if it is missing, or not as `remember` writes it.

    Raises:
        OSError: It cannot be read, or another user may have written it.
    """
    try:
        with open_plain(path) as file:
            if not is_own(os.fstat(file.fileno())):
                raise PermissionError(f"'{path}' may have been written by another user")
            entry = parse_json(file.read(_MOST_BYTES))
    except FileNotFoundError:
        return None
    except RefusedFileError as error:
        raise PermissionError(f"'{path}': {error}") from error
    except ValueError:
        return None
    kinds = {"run": str, "configurations": list, "packages": dict}
    fits = isinstance(entry, dict) and all(isinstance(entry.get(key), kind) for key, kind in kinds.items())
    return entry if fits else None


def _targets(node: Any) -> Iterator[str]:
    """Yields the names of all classes in a description."""
    if isinstance(node, Mapping):
        if "_target_" in node:
            yield str(node["_target_"])
        node = list(node.values())
    if isinstance(node, list):
        for item in node:
            yield from _targets(item)


def _places(package: str) -> list[str]:
    """Returns the file or the folders that a package is imported from; none if it is Python's or another user's."""
    if package in sys.stdlib_module_names or package == "__main__":
        return []
    try:
        spec = importlib.util.find_spec(package)
    except (ImportError, ValueError):
        return []
    if spec is None:
        return []
    found = [spec.origin] if spec.has_location and spec.origin else list(spec.submodule_search_locations or [])
    with suppress(OSError):
        if all(is_own(Path(place).stat()) for place in found):
            return [str(Path(place).resolve()) for place in found]
    return []
