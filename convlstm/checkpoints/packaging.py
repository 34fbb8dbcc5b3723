"""Makes a run's weights those of the package: `python -m convlstm.checkpoints.packaging runs/NAME`, in a checkout.

The folder `convlstm/nowcast` is then a checkpoint like others, of the averaged weights if the run has any, as
`convlstm.load` takes them. Of the run's configuration and record it has the model, the loss and what forecasts need,
and no paths. Its optimizer has not trained anything, so a training starts from it by `init` and cannot be resumed.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from convlstm.checkpoints.finite import check_finite
from convlstm.checkpoints.loading import load_all
from convlstm.checkpoints.replaced import CheckpointError
from convlstm.checkpoints.saving import save
from convlstm.checkpoints.search import packaged

import mlx.optimizers as optim

MOST_BYTES = 4_000_000
"""Largest size of all files together."""

# What forecasts and scores need to know of the data.
_FACTS = ("name", "units", "transform", "thresholds", "input_frames", "target_frames", "frame_interval", "pixel_km")


def package(run: str | Path, target: Path | None = None) -> Path:
    """Writes the checkpoint of the package from a run, in place of the present one, and returns its folder.

    Args:
        run: A run's folder, of which the best checkpoint is taken, or a checkpoint's folder.
        target: Folder to write. Default: that of the package.

    Raises:
        CheckpointError: There is no checkpoint, it is damaged, it has weights that are not finite, its model takes a
            single step and pixel size, or its files are too large.
    """
    target = packaged() if target is None else target
    loaded = load_all(run)
    check_finite(loaded.model, loaded.folder)
    if not {"minutes", "pixel_km"} <= set(getattr(loaded.model, "told", ())):
        raise CheckpointError(
            f"'{loaded.folder}' holds a {type(loaded.model).__name__}, but the package's model must take any step and "
            "pixel size, as model=learned_steps does."
        )
    config: dict[str, Any] = {key: loaded.config[key] for key in ("model", "loss") if key in loaded.config}
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary) / target.name
        save(folder, loaded.model, optim.SGD(0.1), _state(loaded.state), config)
        if (size := sum(file.stat().st_size for file in folder.iterdir())) > MOST_BYTES:
            raise CheckpointError(
                f"the weights of '{loaded.folder}' take {size:,} bytes, more than the {MOST_BYTES:,} of the package. "
                "Train a smaller model."
            )
        shutil.rmtree(target, ignore_errors=True)
        shutil.copytree(folder, target)
    return target


def _state(state: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the step and the record of the data without names of files."""
    data = state.get("data")
    data = data if isinstance(data, dict) else {}
    parts = data.get("parts")
    shares = {name: part.get("weight") for name, part in parts.items()} if isinstance(parts, dict) else {}
    facts = {key: data.get(key) for key in _FACTS}
    return {"step": state["step"], "status": "packaged", "data": facts | ({"weights": shares} if shares else {})}


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command and returns its exit status."""
    parser = argparse.ArgumentParser(prog="python -m convlstm.checkpoints.packaging", description=__doc__)
    parser.add_argument("run", help="a run's folder, of which the best checkpoint is taken, or a checkpoint's folder")
    try:
        folder = package(parser.parse_args(argv).run)
    except (ValueError, OSError) as error:
        print(f"packaging: {error} Nothing was written.", file=sys.stderr)
        return 1
    for file in sorted(folder.iterdir()):
        print(f"{file.stat().st_size:>10,}  {file}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
