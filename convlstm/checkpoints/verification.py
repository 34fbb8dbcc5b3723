"""Verification of checkpoints: they must be complete, and their files must be the ones that were written."""

from __future__ import annotations

import hashlib
import json
import os
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from convlstm.backend import files
from convlstm.backend.plain_files import RefusedFileError, parse_json, parse_yaml, read_bytes
from convlstm.checkpoints import tensors
from convlstm.checkpoints.hub_cache import blob_of
from convlstm.checkpoints.old_names import updated
from convlstm.checkpoints.replaced import CheckpointError, again_if_replaced

MODEL, OPTIMIZER, STATE, CONFIG = FILES = ("model.safetensors", "optimizer.safetensors", "state.json", "config.yaml")
EMA, MAPS, CHECKSUMS = "ema.safetensors", "maps.safetensors", "checksums.json"
# Files that not all checkpoints have: averaged weights, and the data's fixed fields and climatology.
FURTHER = (EMA, MAPS)
# The number of the format, kept in `state.json`. Older checkpoints have neither this number nor checksums.
FORMAT = 2
# The largest size of each text, in bytes.
LONGEST = {CONFIG: 1 << 18, STATE: 1 << 24, CHECKSUMS: 1 << 16}


def damaged(path: Path, reason: object) -> CheckpointError:
    """Returns the error for a damaged file."""
    return CheckpointError(f"'{path}' is damaged: {reason}. Use another checkpoint.")


@again_if_replaced
def verify(folder: Path) -> None:
    """Raises CheckpointError, which names file and fault, unless every file is the one that was written.

    The size and SHA-256 of all files are compared with `checksums.json`. In an older checkpoint without that file,
    only the structure of the files is checked.
    """
    checksums = read_checksums(folder)
    for name in FILES if checksums is None else checksums:
        path = regular_file(folder, name)
        if checksums is not None:
            compare(path, checksums[name], files.record(path))
        if name.endswith(".safetensors"):
            try:
                tensors.check(path)
            except (OSError, tensors.TensorFileError) as error:
                raise damaged(path, error) from error
    read_state(folder)
    _config(folder)


@again_if_replaced
def read_checksums(folder: Path) -> dict[str, dict[str, Any]] | None:
    """Returns the size and SHA-256 of a checkpoint's files by name, or None for an older one without checksums.

    Raises:
        CheckpointError: The checksums are missing or damaged, or do not list the checkpoint's files.
    """
    path = folder / CHECKSUMS
    if not os.path.lexists(path):
        state = _json(folder / STATE, _bytes(folder, STATE))
        if isinstance(state, dict) and "format" in state:
            raise CheckpointError(f"the checkpoint '{folder}' is incomplete, without {CHECKSUMS}. Use another one.")
        return None
    content = _bytes(folder, CHECKSUMS)
    parsed = _json(path, content)
    checksums = parsed.get("files") if isinstance(parsed, dict) else None
    if not isinstance(checksums, dict) or content != sealed(checksums).encode():
        raise damaged(path, "it does not match its own checksum")
    described = all(isinstance(r, dict) and [type(v) for v in r.values()] == [int, str] for r in checksums.values())
    if not described or {*checksums, *FURTHER} != {*FILES, *FURTHER}:
        raise damaged(path, f"it does not list {', '.join(FILES)}")
    for name in FURTHER:
        if name not in checksums and os.path.lexists(folder / name):
            raise damaged(folder / name, f"it was not written with this checkpoint: {CHECKSUMS} does not list it")
    return checksums


def seal(folder: str | Path) -> None:
    """Writes new checksums for a checkpoint's files, after one of them was edited on purpose."""
    folder = Path(folder)
    names = [*FILES, *(name for name in FURTHER if (folder / name).exists())]
    files.replace(folder / CHECKSUMS, sealed({name: files.record(regular_file(folder, name)) for name in names}))


def sealed(checksums: Mapping[str, Mapping[str, Any]]) -> str:
    """Returns the text of `checksums.json`, which has a checksum of its own as well."""
    digest = hashlib.sha256(json.dumps(checksums, sort_keys=True).encode()).hexdigest()
    return json.dumps({"files": checksums, "sha256": digest}, indent=2) + "\n"


def compare(path: Path, expected: Mapping[str, Any], actual: Mapping[str, Any]) -> None:
    """Raises CheckpointError if a file's size or SHA-256 differs from the expected one."""
    if actual["bytes"] != expected["bytes"]:
        raise damaged(path, f"it has {actual['bytes']:,} bytes and not the {expected['bytes']:,} that were written")
    if actual["sha256"] != expected["sha256"]:
        raise damaged(path, f"its contents are not those that were written (SHA-256 differs from {CHECKSUMS})")


def regular_file(folder: Path, name: str) -> Path:
    """Returns the path of a checkpoint's file, or raises CheckpointError if it is missing or not a regular file.

    A link is refused, unless it is one of the hub's cache.
    """
    path = folder / name
    try:
        kind = path.lstat().st_mode
    except FileNotFoundError as error:
        raise CheckpointError(f"the checkpoint '{folder}' is incomplete, without {name}. Use another one.") from error
    except OSError as error:
        raise damaged(path, error) from error
    if stat.S_ISLNK(kind):
        if blob_of(path) is not None:
            return path
        raise CheckpointError(
            f"'{path}' is a link to somewhere else, so it was not read. Use a copy of the checkpoint that holds the "
            "files themselves (cp -rL)."
        )
    if not stat.S_ISREG(kind):
        raise CheckpointError(f"'{path}' is not a file, so it was not read. Use another checkpoint.")
    return path


@again_if_replaced
def read_config(folder: Path) -> dict[str, Any]:
    """Returns the configuration of a checkpoint, with the present names of all classes.

    Raises:
        CheckpointError: The configuration is damaged or describes no model.
    """
    config = updated(_config(folder))
    if not isinstance(config.get("model"), dict):
        raise CheckpointError(f"'{folder / CONFIG}' has no section 'model', so it describes no model.")
    return config


def _config(folder: Path) -> dict[str, Any]:
    path, text = folder / CONFIG, _text(folder, CONFIG)
    try:
        config = parse_yaml(text)
    except ValueError as error:
        raise damaged(path, error) from error
    if not isinstance(config, dict):
        raise damaged(path, "it holds no sections")
    return config


@again_if_replaced
def read_state(folder: Path) -> dict[str, Any]:
    """Returns the training state of a checkpoint.

    Raises:
        CheckpointError: The state is missing, damaged or of another format.
    """
    path = folder / STATE
    state = _json(path, _text(folder, STATE).encode())
    step = state.get("step") if isinstance(state, dict) else None
    if type(step) is not int or step < 0:
        raise damaged(path, "it has no valid step")
    if (number := state.pop("format", FORMAT)) != FORMAT:
        raise CheckpointError(
            f"'{path}' is of format {number!r}, and this version reads {FORMAT}. Use the version that wrote it."
        )
    return state


def _json(path: Path, content: bytes) -> Any:
    try:
        return parse_json(content)
    except ValueError as error:
        raise damaged(path, error) from error


def _text(folder: Path, name: str) -> str:
    """Returns the content of a text file after comparing it with its checksum."""
    content, checksums = _bytes(folder, name), read_checksums(folder)
    if checksums is not None:
        compare(folder / name, checksums[name], {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()})
    try:
        return content.decode()
    except UnicodeDecodeError as error:
        raise damaged(folder / name, error) from error


def _bytes(folder: Path, name: str) -> bytes:
    path = regular_file(folder, name)
    try:
        return read_bytes(blob_of(path) or path, LONGEST[name])
    except (OSError, RefusedFileError) as error:
        raise damaged(path, error) from error
