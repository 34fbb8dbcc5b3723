"""Converts weights that were trained elsewhere to a checkpoint, or a checkpoint to a state_dict."""

from __future__ import annotations

import argparse
import hashlib
import sys
from collections.abc import Sequence
from pathlib import Path

import convlstm
from convlstm import checkpoints
from convlstm.backend import files
from convlstm.backend.program_frame import framed
from convlstm.convert import keras, keras_process
from convlstm.convert.families import Conversion, below, convert, to_state_dict
from convlstm.convert.sources import ConversionError, read_state_dict, write_state_dict
from convlstm.ops.cell_activations import CELL_ACTIVATIONS
from convlstm.runs.progress import Progress
from convlstm.summary import parameters

import mlx.optimizers as optim

LEGACY = "its cells output o . g instead of o . tanh(c'), as in OpenSTL's first releases (weights of v0.3)"


@framed("convlstm convert")
def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command, and returns its exit status: 0, or 1 if nothing was written."""
    parser = argparse.ArgumentParser(
        prog="convlstm convert",
        description="Converts a file of weights of OpenSTL, predrnn-pytorch, ndrplz or Keras to a run's folder with a "
        "checkpoint, or a checkpoint or run's folder to a state_dict with the names of those programs.",
    )
    parser.add_argument(
        "source", help="a file (.ckpt, .pth, .pt, .bin, .safetensors, .npz, .h5, .keras), or a checkpoint's folder"
    )
    parser.add_argument("out", type=Path, help="the run's folder or the file to write; it must not exist")
    parser.add_argument("--patch-size", type=int, default=4, help="side of the patches that frames were cut into (4)")
    parser.add_argument(
        "--padding",
        choices=("valid", "same"),
        default="valid",
        help="padding of Keras's layers in .weights.h5 (valid)",
    )
    for key, words in (("activation", "activation"), ("recurrent-activation", "activation of the gates")):
        parser.add_argument(
            f"--{key}",
            choices=CELL_ACTIVATIONS,
            metavar="NAME",
            help=f"{words} of Keras's layers in files that do not say it: {', '.join(CELL_ACTIVATIONS)}",
        )
    parser.add_argument("--prefix", default="", help="take only arrays with this prefix: a part of a larger model")
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
        other_layers: list[str] = []
        if source.suffix in keras.ENDINGS:
            settings = {key: getattr(arguments, key) for key in ("padding", "activation", "recurrent_activation")}
            arrays, layers, other_layers = keras_process.read(source, **settings)
            conversion = convert(arrays, layers=layers)
        else:
            arrays = below(read_state_dict(source), arguments.prefix)
            conversion = convert(arrays, patch_size=arguments.patch_size, legacy=arguments.legacy)
        folder = save(conversion, source, arguments.out)
    except (ConversionError, checkpoints.CheckpointError, OSError) as error:
        text = str(error)
        named = text if Path(arguments.source).name in text else f"'{arguments.source}': {text}"
        between = "\n" if "\n" in text else " "
        print(f"convert: {named}{between}Nothing was written.", file=sys.stderr)
        return 1
    model = conversion.description["_target_"].rpartition(".")[2]
    print(f"{folder}: {model}, {parameters(conversion.model):,} parameters")
    if conversion.dead:
        names = ", ".join(conversion.dead[:4]) + (", ..." if len(conversion.dead) > 4 else "")
        print(f"left out, since no output depends on them: {len(conversion.dead)} arrays ({names})")
    if other_layers:
        print(f"left out, since they are no ConvLSTM2D: {', '.join(other_layers)}")
    if keras.reversed_at_the_end(conversion.description.get("layers", [])):
        print("Outputs are in the order of the input's time. Those of Keras run backwards (go_backwards=True).")
    if conversion.family in ("ndrplz", "keras"):
        print(f"Use these layers in a model of your own:  outputs, states = convlstm.load('{arguments.out}')(frames)")
        return 0
    if arguments.legacy:
        print(f"legacy: {LEGACY}")
    elif conversion.family == "openstl_convlstm":
        print(f"If its forecasts are noise, the weights may be older: --legacy, then {LEGACY}.")
    print(f"Next:  convlstm evaluate ckpt={arguments.out} data=moving_mnist")
    return 0


def save(conversion: Conversion, source: Path, out: Path) -> Path:
    """Writes a converted model as the best checkpoint of a run's folder, and returns the checkpoint's folder.

    Raises:
        ConversionError: `out` exists already.
    """
    run = out.expanduser()
    if run.exists():
        raise ConversionError(f"'{out}' exists already. Choose another folder.")
    with source.open("rb") as file:
        digest = hashlib.sha256(file.read()).hexdigest()
    version = f"convlstm {convlstm.__version__}"
    origin = {"file": source.name, "sha256": digest, "family": conversion.family, "by": version}
    optimizer = optim.Adam(1e-3)
    optimizer.init(conversion.model.trainable_parameters())
    config = {"model": conversion.description, "converted": origin}
    with files.replacing(run) as temporary:
        folder = temporary / checkpoints.FOLDER / "best"
        checkpoints.save(folder, conversion.model, optimizer, vars(Progress(status="converted")), config)
    files.sync_folder(run.parent)
    return run / checkpoints.FOLDER / "best"


if __name__ == "__main__":
    sys.exit(main())
