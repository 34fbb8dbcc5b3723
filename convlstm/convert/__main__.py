"""Weights that were trained elsewhere, as a checkpoint of ours, or a checkpoint of ours as a state_dict."""

from __future__ import annotations

import argparse
import hashlib
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

import convlstm
from convlstm import checkpoints
from convlstm.convert import keras
from convlstm.convert.families import Conversion, below, convert, to_state_dict
from convlstm.convert.sources import ConversionError, read_state_dict, write_state_dict
from convlstm.runs.progress import Progress
from convlstm.summary import parameters

import mlx.optimizers as optim

LEGACY = "its cells give o . g instead of o . tanh(c'), as OpenSTL's first releases did (weights of v0.3)"


def main(argv: Sequence[str] | None = None) -> int:
    """Converts; returns the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m convlstm.convert",
        description="A file of weights of OpenSTL, predrnn-pytorch, ndrplz or Keras becomes a run's folder with a "
        "checkpoint; a checkpoint, or a run's folder, becomes a state_dict with their names.",
    )
    parser.add_argument(
        "source", help="a file (.ckpt, .pth, .pt, .bin, .safetensors, .npz, .h5, .keras), or a checkpoint's folder"
    )
    parser.add_argument("out", type=Path, help="the run's folder to make, or the file")
    parser.add_argument("--patch-size", type=int, default=4, help="side of the patches the frames were cut into (4)")
    parser.add_argument(
        "--padding", choices=("valid", "same"), default="valid", help="of Keras's layers in a .weights.h5 (valid)"
    )
    parser.add_argument("--prefix", default="", help="take the arrays whose names begin so: a part of a larger model")
    parser.add_argument("--legacy", action="store_true", help=LEGACY)
    arguments = parser.parse_args(argv)
    try:
        if Path(arguments.source).expanduser().is_dir():
            folder = checkpoints.find(arguments.source)
            description = checkpoints.read_config(folder)["model"]
            converted = to_state_dict(checkpoints.load(folder), description)
            write_state_dict(arguments.out, converted)
            print(f"{arguments.out}: {len(converted)} arrays of '{folder}'")
            if description.get("output") == "candidate":
                print(f"legacy: {LEGACY}")
            return 0
        source = Path(arguments.source).expanduser()
        left: list[str] = []
        if source.suffix in keras.ENDINGS:
            arrays, layers, left = keras.read(source, padding=arguments.padding)
            found = convert(arrays, layers=layers)
        else:
            arrays = below(read_state_dict(source), arguments.prefix)
            found = convert(arrays, patch_size=arguments.patch_size, legacy=arguments.legacy)
        place = save(found, source, arguments.out)
    except (ConversionError, checkpoints.CheckpointError, OSError) as error:
        between = "\n" if "\n" in str(error) else " "
        print(f"convert: {error}{between}Nothing was written.", file=sys.stderr)
        return 1
    model = found.description["_target_"].rpartition(".")[2]
    print(f"{place}: {model}, {parameters(found.model):,} parameters")
    if found.dead:
        names = ", ".join(found.dead[:4]) + (", ..." if len(found.dead) > 4 else "")
        print(f"left out, since nothing depends on them: {len(found.dead)} arrays ({names})")
    if left:
        print(f"left out, since they are no ConvLSTM2D: {', '.join(left)}")
    if found.family in ("ndrplz", "keras"):
        print(f"Layers, to be used in a model of your own:  outputs, states = convlstm.load('{arguments.out}')(frames)")
        return 0
    if arguments.legacy:
        print(f"legacy: {LEGACY}")
    elif found.family == "openstl_convlstm":
        print(f"If its forecasts are noise, the weights may be older: --legacy, then {LEGACY}.")
    print(f"Next:  python evaluate.py ckpt={arguments.out} data=moving_mnist")
    return 0


def save(found: Conversion, source: Path, out: Path) -> Path:
    """Writes a converted model as the best checkpoint of a run's folder, and returns its place.

    Raises:
        ConversionError: There is something at that place.
    """
    place = out.expanduser() / checkpoints.FOLDER / "best"
    if out.expanduser().exists():
        raise ConversionError(f"'{out}' exists already. Choose another folder.")
    with source.open("rb") as file:
        digest = hashlib.sha256(file.read()).hexdigest()
    origin = {"file": source.name, "sha256": digest, "family": found.family, "by": f"convlstm {convlstm.__version__}"}
    optimizer = optim.Adam(1e-3)
    optimizer.init(found.model.trainable_parameters())
    config = {"model": found.description, "converted": origin}
    try:
        checkpoints.save(place, found.model, optimizer, vars(Progress(status="converted")), config)
    except BaseException:
        shutil.rmtree(out.expanduser(), ignore_errors=True)
        raise
    return place


if __name__ == "__main__":
    sys.exit(main())
