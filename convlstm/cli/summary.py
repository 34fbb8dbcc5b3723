"""Prints the layers, parameters, multiplications and memory of a model: `convlstm summary model=simvp`."""

from __future__ import annotations

import math
from typing import Any

from convlstm import checkpoints
from convlstm.architectures.model_facts import compiles
from convlstm.architectures.steps import STEPS
from convlstm.checkpoints.build import TRUSTED
from convlstm.cli.configuration import plain
from convlstm.cli.instantiation import check_types, instantiate
from convlstm.cli.key_checks import FLAG, PACKAGES, PATH, Values, check, optional, whole
from convlstm.cli.program import fail, run
from convlstm.summary import layers, macs, memory, parameters

import mlx.core as mx
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig


def _is_frame_size(value: Any) -> bool:
    sides = value if isinstance(value, list) else [value, value]
    whole_numbers = len(sides) == 2 and all(type(side) is int and side >= 1 for side in sides)
    return whole_numbers and math.prod(sides) <= 1 << 26


KEYS: dict[str, Values] = {
    "ckpt": optional(PATH),
    "input_frames": whole(1),
    "horizon": whole(1),
    "batch_size": whole(1),
    "frame_size": Values("the side of a frame, or [height, width], of at most 8192x8192 pixels", _is_frame_size),
    "memory": FLAG,
    "trusted": PACKAGES,
}


def execute(config: DictConfig) -> None:
    """Prints a summary of the model that a configuration describes."""
    settings = plain(config)
    check("summary", KEYS, settings)
    if (settings["ckpt"] is None) == (settings.get("model") is None):
        fail("name either a model (model=simvp) or a run's folder (ckpt=runs/NAME).")
    if settings["ckpt"] is None:
        check_types({"model": settings["model"]})
        model, name = instantiate(config, "model"), HydraConfig.get().runtime.choices["model"]
        if isinstance(model, STEPS):
            fail("model=steps has no layers, and its members cannot be counted ahead: see model=sprog, which each is.")
    else:
        folder = checkpoints.find(str(settings["ckpt"]))
        model, name = checkpoints.load(folder, trusted=(*TRUSTED, *settings["trusted"])), str(folder)
    frames, horizon, size = settings["input_frames"], settings["horizon"], settings["frame_size"]
    H, W = (size, size) if isinstance(size, int) else size
    shape = (1, frames, H, W, getattr(model, "in_channels", 1))
    if hasattr(model, "check_input"):
        try:
            model.check_input(placeholder(shape), horizon)
        except ValueError as error:
            fail(f"the model does not take these frames: {error} (input_frames, frame_size, horizon)")

    parts = layers(model)
    widths = [
        max([*(len(text) for text in column), 5]) for column in zip(*((x.name, x.kind) for x in parts), strict=True)
    ]
    for layer in parts:
        shapes = ", ".join(f"{key} {'x'.join(map(str, s)) or '1'}" for key, s in layer.shapes.items())
        print(f"{layer.name:{widths[0]}}  {layer.kind:{widths[1]}}  {layer.parameters:>12,}  {shapes}")
    print(f"\nmodel        {name}: {type(model).__name__}")
    print(f"parameters   {parameters(model):,}")
    print(f"a sequence   {frames} frames of {H}x{W}x{shape[-1]} in, {horizon} out")
    if not compiles(model):
        print("MACs         not counted, and memory not measured: the model compiles parts of itself")
        return
    print(f"MACs         {macs(model, shape, horizon) / 1e9:,.2f} G a sequence, of convolutions and products")
    if settings["memory"] and parameters(model):
        measured, batch = memory(model, shape, horizon), settings["batch_size"]
        one, many = amount(measured.training), amount(measured.of_batch(batch))
        print(f"memory       {amount(measured.forecast)} to forecast a sequence")
        print(f"             {one} to train on one, about {many} on {batch}")


def placeholder(shape: tuple[int, ...]) -> mx.array:
    """Returns lazy zeros of a shape, which are never computed."""
    return mx.zeros(shape)


def amount(size: int) -> str:
    """Returns a number of bytes in MB or GB."""
    return f"{size / 1e6:,.0f} MB" if size < 2e9 else f"{size / 1e9:,.1f} GB"


def main() -> None:
    """Runs the command: `convlstm summary`, or `python summary.py` in a checkout."""
    run("summary", execute)
