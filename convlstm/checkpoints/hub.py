"""Checkpoints of the Hugging Face hub: `owner/name`, `owner/name@revision`, or with `hf://` before it.

`huggingface_hub` downloads them to its cache. Only the files of a checkpoint are downloaded, none of them a pickle or
code, and only after a look at their sizes. They are then verified and loaded as those of any stranger.
"""

from __future__ import annotations

import importlib.util
import re
import sys
import warnings
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from convlstm.checkpoints.replaced import CheckpointError
from convlstm.checkpoints.verification import CHECKSUMS, FILES, FURTHER, LONGEST

PREFIX = "hf://"
LIBRARY = "convlstm"
MOST_BYTES = 4 << 30
"""Largest size of a file of arrays."""

_WANTED = (*FILES, *FURTHER, CHECKSUMS)
_NAME = re.compile(r"([a-z0-9_][\w.-]*/[a-z0-9_][\w.-]*)(?:@([a-z0-9][\w./-]*))?", re.ASCII | re.IGNORECASE)
_COMMIT = re.compile(r"[0-9a-f]{40}")
# The folder of runs that `train` writes to: a wrong name in it shall not be looked for elsewhere.
_RUNS = "runs"
_SECONDS = 30.0


@dataclass(frozen=True)
class HubName:
    """A repository of models on the hub.

    Attributes:
        repository: "owner/name".
        revision: A branch, a tag or a commit; None for the newest commit.
    """

    repository: str
    revision: str | None = None

    def __str__(self) -> str:
        return self.repository + ("" if self.revision is None else f"@{self.revision}")


def hub_name(path: object) -> HubName | None:
    """Returns the repository that a text names, or None if the text is a path.

    `hf://owner/name` is always a repository. `owner/name` is one unless there is a folder `owner` here, or `owner` is
    `runs`: so a path that is spelt wrongly is not sent to the hub.

    Raises:
        CheckpointError: A text with `hf://` names no repository.
    """
    if not isinstance(path, str):
        return None
    text = path.removeprefix(PREFIX)
    if path == text and (_owner(path) == _RUNS or Path(_owner(path)).exists()):
        return None
    return parsed(text) if path != text or is_name(text) else None


def parsed(text: str) -> HubName:
    """Returns the repository that "owner/name" or "owner/name@revision" names.

    Raises:
        CheckpointError: The text has another form.
    """
    match = _NAME.fullmatch(text)
    if match is None or not is_name(text):
        raise CheckpointError(f"'{text}' names no repository of the hub. Use owner/name or owner/name@revision.")
    return HubName(match[1], match[2])


def from_hub(name: str) -> bool:
    """Returns True if a checkpoint's name in records, see `convlstm.checkpoints.name_of`, is one of the hub."""
    return name.startswith(PREFIX)


def is_name(text: str) -> bool:
    """Returns True if a text has the form of a repository's name, with a revision or without."""
    return _NAME.fullmatch(text) is not None and ".." not in text and "--" not in text


def _owner(path: str) -> str:
    return path.partition("/")[0]


def fetch(name: HubName) -> Path:
    """Returns the folder of a repository's checkpoint in the hub's cache, downloaded if it is not there yet.

    A commit that is in the cache needs no network. If the hub cannot be reached, the newest copy in the cache is taken,
    with a warning.

    Raises:
        CheckpointError: The repository or its revision does not exist, it holds no checkpoint, a file is too large, or
            the hub cannot be reached and the cache has no copy.
    """
    hub = library()
    pinned = name.revision is not None and _COMMIT.fullmatch(name.revision)
    if pinned and (folder := _cached(hub, name)) is not None:
        return folder
    api = hub.HfApi(library_name=LIBRARY)
    try:
        found = api.model_info(name.repository, revision=name.revision, files_metadata=True, timeout=_SECONDS)
        _check_files(name, {file.rfilename: file.size for file in found.siblings or ()})
        # Without `revision=found.sha`, so that the cache knows the name of the revision when there is no network.
        return Path(
            hub.snapshot_download(
                name.repository, revision=name.revision, allow_patterns=list(_WANTED), library_name=LIBRARY
            )
        )
    except CheckpointError:
        raise
    except hub.errors.RepositoryNotFoundError as error:
        raise CheckpointError(
            f"there is no '{name.repository}' on the hub that you may read. Check the name; for a private repository "
            "log in: hf auth login."
        ) from error
    except hub.errors.RevisionNotFoundError as error:
        raise CheckpointError(f"'{name.repository}' has no revision '{name.revision}'. Check the name.") from error
    except Exception as error:  # those of the HTTP library have changed from version to version
        reason = reason_of(error)
        if (folder := _cached(hub, name)) is None:
            raise CheckpointError(
                f"'{name}' cannot be downloaded ({reason}), and there is no copy of it in the cache. Try again with a "
                "connection."
            ) from error
        warnings.warn(
            f"the hub cannot be reached ({reason}), so the copy of '{name}' in the cache is used, commit "
            f"{folder.name[:10]}.",
            stacklevel=4,
        )
        return folder


def reason_of(error: BaseException) -> str:
    """Returns an error's text and that of its cause as one line of limited length, without a full stop."""
    text = " ".join(str(error).split()) or type(error).__name__
    cause = f": {reason_of(error.__cause__)}" if error.__cause__ is not None else ""
    return (text.rstrip(".") + cause)[:400]


def library() -> ModuleType:
    """Returns the module `huggingface_hub`.

    Raises:
        CheckpointError: It is not installed.
    """
    try:
        import huggingface_hub
        import huggingface_hub.errors
        import huggingface_hub.utils
    except ImportError as error:
        raise CheckpointError(
            "checkpoints of the hub need huggingface_hub. Install it: pip install 'convlstm[hub]'."
        ) from error
    if not (sys.stderr and sys.stderr.isatty()):  # bars would fill the log
        huggingface_hub.utils.disable_progress_bars()
    return huggingface_hub


def in_cache(text: str) -> bool:
    """Returns True if the hub's cache has the repository that a path happens to name."""
    if not is_name(text) or _owner(text) == _RUNS or importlib.util.find_spec("huggingface_hub") is None:
        return False
    from huggingface_hub import constants

    return (Path(constants.HF_HUB_CACHE) / f"models--{text.partition('@')[0].replace('/', '--')}").is_dir()


def _cached(hub: Any, name: HubName) -> Path | None:
    """Returns the complete copy of a revision in the cache, or None."""
    try:
        folder = hub.snapshot_download(
            name.repository, revision=name.revision, allow_patterns=list(_WANTED), local_files_only=True
        )
    except hub.errors.LocalEntryNotFoundError:
        return None
    return Path(folder) if all((Path(folder) / file).exists() for file in FILES) else None


def _check_files(name: HubName, sizes: dict[str, int | None]) -> None:
    """Raises CheckpointError if files of a checkpoint are missing or too large."""
    missing = [file for file in FILES if file not in sizes]
    if missing:
        raise CheckpointError(
            f"'{name}' on the hub holds no checkpoint of this project: it lacks {', '.join(missing)}. Nothing was "
            "downloaded."
        )
    for file in _WANTED:
        size, most = sizes.get(file, 0), LONGEST.get(file, MOST_BYTES)
        if size is None or size > most:
            raise CheckpointError(
                f"'{file}' of '{name}' on the hub has {'an unknown number of' if size is None else f'{size:,}'} bytes, "
                f"more than {most:,}. Nothing was downloaded."
            )
