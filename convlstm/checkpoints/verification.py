"""Whether a checkpoint's files are those that were written, all of them, and its own."""

from __future__ import annotations

import hashlib
import json
import os
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from convlstm.backend import files
from convlstm.checkpoints import tensors
from convlstm.checkpoints.old_names import updated

import yaml

MODEL, OPTIMIZER, STATE, CONFIG = FILES = ("model.safetensors", "optimizer.safetensors", "state.json", "config.yaml")
EMA, CHECKSUMS = "ema.safetensors", "checksums.json"
# In `state.json` since checkpoints have checksums; those before have neither.
FORMAT = 2
LONGEST = {CONFIG: 1 << 18, STATE: 1 << 24, CHECKSUMS: 1 << 16}
DEEPEST = 50


class CheckpointError(ValueError):
    """A checkpoint is not there, is incomplete or damaged, or does not fit."""


def damaged(path: Path, what: object) -> CheckpointError:
    """The error that says what is wrong with a file."""
    return CheckpointError(f"'{path}' is damaged: {what}. Use another checkpoint.")


def verify(folder: Path) -> None:
    """CheckpointError that names the file and the fault, unless every file is the one that was written.

    Sizes and SHA-256 of all files are compared with `checksums.json`. A checkpoint from before there were any is held
    to what its files say of themselves.
    """
    known = checksums(folder)
    for name in FILES if known is None else known:
        path = own(folder, name)
        if known is not None:
            compare(path, known[name], files.record(path))
        if name.endswith(".safetensors"):
            try:
                tensors.check(path)
            except (OSError, tensors.TensorFileError) as error:
                raise damaged(path, error) from error
    read_state(folder)
    _config(folder)


def checksums(folder: Path) -> dict[str, dict[str, Any]] | None:
    """Name to size and SHA-256 of a checkpoint's files; None for one that was written before there were checksums."""
    path = folder / CHECKSUMS
    if not os.path.lexists(path):
        state = _json(folder / STATE, _bytes(folder, STATE))
        if isinstance(state, dict) and "format" in state:
            raise CheckpointError(f"the checkpoint '{folder}' is incomplete, without {CHECKSUMS}. Use another one.")
        return None
    content = _bytes(folder, CHECKSUMS)
    parsed = _json(path, content)
    known = parsed.get("files") if isinstance(parsed, dict) else None
    if not isinstance(known, dict) or content != sealed(known).encode():
        raise damaged(path, "it does not agree with itself")
    described = all(isinstance(r, dict) and [type(v) for v in r.values()] == [int, str] for r in known.values())
    if not described or {*known, EMA} != {*FILES, EMA}:
        raise damaged(path, f"it is not about {', '.join(FILES)}")
    if EMA not in known and os.path.lexists(folder / EMA):
        raise damaged(folder / EMA, f"it was not written with this checkpoint: {CHECKSUMS} does not list it")
    return known


def seal(folder: str | Path) -> None:
    """Takes a checkpoint's files for what they should be, from now on: after one of them was edited on purpose."""
    folder = Path(folder)
    names = [*FILES, *([EMA] if (folder / EMA).exists() else [])]
    files.replace(folder / CHECKSUMS, sealed({name: files.record(own(folder, name)) for name in names}))


def sealed(known: Mapping[str, Mapping[str, Any]]) -> str:
    """The text of `checksums.json`, which covers itself as well."""
    return json.dumps({"files": known, "sha256": _digest(known)}, indent=2) + "\n"


def _digest(known: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(known, sort_keys=True).encode()).hexdigest()


def compare(path: Path, expected: Mapping[str, Any], found: Mapping[str, Any]) -> None:
    """CheckpointError where a file is not the one that was written."""
    if found["bytes"] != expected["bytes"]:
        raise damaged(path, f"it has {found['bytes']:,} bytes and not the {expected['bytes']:,} that were written")
    if found["sha256"] != expected["sha256"]:
        raise damaged(path, f"its contents are not those that were written (SHA-256 differs from {CHECKSUMS})")


def own(folder: Path, name: str) -> Path:
    """The path of a checkpoint's file; CheckpointError where it is no file, or a link to somewhere else."""
    path = folder / name
    try:
        kind = path.lstat().st_mode
    except FileNotFoundError as error:
        raise CheckpointError(f"the checkpoint '{folder}' is incomplete, without {name}. Use another one.") from error
    except OSError as error:
        raise damaged(path, error) from error
    if stat.S_ISLNK(kind):
        raise CheckpointError(
            f"'{path}' is a link to somewhere else, so it was not read. Use a copy of the checkpoint that holds the "
            "files themselves (cp -rL)."
        )
    if not stat.S_ISREG(kind):
        raise CheckpointError(f"'{path}' is not a file, so it was not read. Use another checkpoint.")
    return path


def read_config(folder: Path) -> dict[str, Any]:
    """The configuration of a checkpoint; CheckpointError where it is damaged or describes no model."""
    config = updated(_config(folder))
    if not isinstance(config.get("model"), dict):
        raise CheckpointError(f"'{folder / CONFIG}' has no section 'model', so it describes no model.")
    return config


def _config(folder: Path) -> dict[str, Any]:
    path, text = folder / CONFIG, _text(folder, CONFIG)
    try:
        _check_yaml(text)
        config = yaml.safe_load(text)
    except Exception as error:  # of many kinds: PyYAML lets pass what its constructors stumble on
        raise damaged(path, str(error) or type(error).__name__) from error
    if not isinstance(config, dict):
        raise damaged(path, "it holds no sections")
    return config


def _check_yaml(text: str) -> None:
    """ValueError where reading a text would take more time or memory than its length lets expect."""
    depth = 0
    for event in yaml.parse(text):
        if isinstance(event, yaml.AliasEvent):
            raise ValueError("it holds references (*name)")
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if depth > DEEPEST:
            raise ValueError(f"it nests more than {DEEPEST} levels deep")


def read_state(folder: Path) -> dict[str, Any]:
    """The training state of a checkpoint."""
    path = folder / STATE
    state = _json(path, _text(folder, STATE).encode())
    step = state.get("step") if isinstance(state, dict) else None
    if type(step) is not int or step < 0:
        raise damaged(path, "it names no step")
    if (number := state.pop("format", FORMAT)) != FORMAT:
        raise CheckpointError(
            f"'{path}' is of format {number!r}, and this version reads {FORMAT}. Use the version that wrote it."
        )
    return state


def _json(path: Path, content: bytes) -> Any:
    try:
        return json.loads(content)
    except (ValueError, RecursionError) as error:
        raise damaged(path, error) from error


def _text(folder: Path, name: str) -> str:
    """A text file, which must be the one that was written."""
    content, known = _bytes(folder, name), checksums(folder)
    if known is not None:
        compare(folder / name, known[name], {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()})
    try:
        return content.decode()
    except UnicodeDecodeError as error:
        raise damaged(folder / name, error) from error


def _bytes(folder: Path, name: str) -> bytes:
    path = own(folder, name)
    try:
        with path.open("rb") as file:
            content = file.read(LONGEST[name] + 1)
    except OSError as error:
        raise damaged(path, error) from error
    if len(content) > LONGEST[name]:
        raise damaged(path, f"it is longer than {LONGEST[name]:,} bytes")
    return content
