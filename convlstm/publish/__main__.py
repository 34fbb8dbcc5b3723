"""Publishes a run's best checkpoint on the Hugging Face hub: `convlstm push runs/NAME owner/name`."""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from convlstm.backend.files import amount
from convlstm.backend.program_frame import framed
from convlstm.checkpoints import CheckpointError
from convlstm.checkpoints.hub import LIBRARY, PREFIX, library, parsed, reason_of
from convlstm.publish.content import NAMES, write
from convlstm.publish.model_card import CARD


@framed("convlstm push")
def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command, and returns its exit status: 0, or 1 if nothing was published."""
    parser = argparse.ArgumentParser(prog="convlstm push", description=__doc__)
    parser.add_argument("run", help="a run's folder, of which the best checkpoint is taken, or a checkpoint's folder")
    parser.add_argument("repository", help="owner/name, or owner/name@branch; created if it does not exist")
    parser.add_argument("--license", metavar="ID", help="licence of the weights, such as cc-by-4.0 (not stated)")
    parser.add_argument("--private", action="store_true", help="create a private repository")
    parser.add_argument("--card", action="store_true", help=f"replace a {CARD} that is there already")
    parser.add_argument("--message", default="Push a checkpoint of convlstm", help="message of the commit")
    parser.add_argument("--to", type=Path, metavar="FOLDER", help="write the files to this folder and publish nothing")
    arguments = parser.parse_args(argv)
    try:
        name = parsed(arguments.repository.removeprefix(PREFIX))
        with tempfile.TemporaryDirectory() as temporary:
            folder = arguments.to or Path(temporary) / "files"
            notes = write(arguments.run, folder, name.repository, arguments.license)
            for file in sorted(folder.iterdir()):
                print(f"file        {file.name}, {amount(file.stat().st_size)}")
            for note in notes:
                print(f"note        {note}")
            if arguments.to is not None:
                print(f"written     {folder}; nothing was published")
                return 0
            print(f"pushed      {PREFIX}{_upload(folder, name.repository, name.revision, arguments)}")
    except (ValueError, OSError) as error:
        print(f"{parser.prog}: {error} Nothing was published.", file=sys.stderr)
        return 1
    return 0


def _upload(folder: Path, repository: str, branch: str | None, arguments: argparse.Namespace) -> str:
    """Uploads the files in one commit, and returns "owner/name@commit"."""
    hub = library()
    api = hub.HfApi(library_name=LIBRARY)
    try:
        api.create_repo(repository, private=arguments.private or None, exist_ok=True)
        if branch is not None:
            api.create_branch(repository, branch=branch, exist_ok=True)
        if not arguments.card and api.file_exists(repository, CARD, revision=branch):
            print(f"kept        the {CARD} that is there; --card replaces it")
            (folder / CARD).unlink()
        commit = api.upload_folder(
            repo_id=repository,
            folder_path=folder,
            revision=branch,
            commit_message=arguments.message,
            allow_patterns=list(NAMES),
            # Files of an earlier checkpoint that this one lacks would not belong to it.
            delete_patterns=[name for name in NAMES if name != CARD],
        )
    except Exception as error:  # those of the HTTP library have changed from version to version
        status = getattr(getattr(error, "response", None), "status_code", None)
        login = " Log in with a token that may write: hf auth login." if status in (401, 403) else ""
        reason = reason_of(error)
        raise CheckpointError(f"the hub refused '{repository}': {reason}.{login}") from error
    return f"{repository}@{commit.oid}"


if __name__ == "__main__":
    sys.exit(main())
