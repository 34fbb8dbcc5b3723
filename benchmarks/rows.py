"""The rows of the table."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

from benchmarks.workload import Workload
from convlstm.cli.configuration import CONFIGS, plain

import hydra


@dataclass(frozen=True)
class Row:
    """One row of the table.

    Attributes:
        name: Name for --rows.
        workload: The work of both sides.
        seconds: Approximate time of the measurement on two cores, for the estimate of the remaining time.
        tolerance: Largest difference between the two sides that counts as equal, relative to the largest value.
            Default: 1e-3.
        recompute: Also measure the memory with recomputation. Default: False.
        end_to_end: Compare all of `train.py` with our own bare training step. Default: False.
    """

    name: str
    workload: Workload
    seconds: float
    tolerance: float = 1e-3
    recompute: bool = False
    end_to_end: bool = False

    @property
    def other(self) -> str:
        """Name of the other side."""
        if self.end_to_end:
            return "our bare step"
        return "numpy" if self.workload.kind == "generate" else "PyTorch"


def encoder_forecaster(
    inputs: tuple[int, ...], horizon: int, hidden: int, kernel_size: int, patch_size: int = 1
) -> Workload:
    """Returns a training step of two layers of `hidden` channels, without peepholes, with the mean squared error."""
    arguments = {
        "in_channels": inputs[-1],
        "hidden_channels": [hidden, hidden],
        "kernel_size": kernel_size,
        "patch_size": patch_size,
        "concatenate": True,
        "activation": "linear",
        "peepholes": False,
    }
    return Workload("train", "EncoderForecaster", arguments, inputs, horizon)


def first(batch: int = 4, length: int = 10, height: int = 16, width: int = 16) -> Workload:
    """Returns the workload of the first row in any size, with `length` frames in and as many out."""
    return encoder_forecaster((batch, length, height, width, 16), length, hidden=128, kernel_size=5)


OVERRIDES = ("data.digits=builtin",)


@cache
def default() -> Workload:
    """Returns a training step of the model that `train.py` trains without arguments."""
    with hydra.initialize_config_dir(str(CONFIGS), version_base="1.3"):
        settings = plain(hydra.compose("train", [*OVERRIDES, "name=benchmark"]))
    model, data, loss, trainer = (settings[name] for name in ("model", "data", "loss", "trainer"))
    if not loss["_target_"].endswith(".BinaryCrossEntropy"):
        raise ValueError(f"[benchmarks] the default loss must be BinaryCrossEntropy but got {loss['_target_']}.")
    if trainer.get("precision", "float32") != "float32":
        raise ValueError(f"[benchmarks] the default precision must be float32 but got {trainer['precision']}.")
    side = data["frame_size"]
    height, width = (side, side) if isinstance(side, int) else side
    return Workload(
        "train",
        model["_target_"].rpartition(".")[2],
        {name: value for name, value in model.items() if name != "_target_"},
        (trainer["batch_size"], data["input_frames"], height, width, 1),
        data["target_frames"],
        loss="bce",
        epsilon=loss["epsilon"],
        max_grad_norm=trainer["max_grad_norm"],
        one_thread=settings["deterministic"],
    )


def rows() -> list[Row]:
    """Returns all rows, in the table's order."""
    stack = {
        "in_channels": 1,
        "hidden_channels": [128] * 4,
        "kernel_size": 5,
        "patch_size": 4,
        "bias": False,
        "peepholes": False,
        "forget_bias": 0.0,
    }
    stack_train = Workload("train", "ConvLSTMStack", stack, (4, 10, 64, 64, 1), 10, sampled=True)
    stack_forecast = Workload("forecast", "ConvLSTMStack", stack, (4, 10, 64, 64, 1), 10)
    predrnn = {"in_channels": 1, "hidden_channels": [128] * 4, "kernel_size": 5, "patch_size": 4, "forget_bias": 1.0}
    predrnn_train = Workload("train", "PredRNN", predrnn, (4, 10, 64, 64, 1), 10, sampled=True)
    predrnn_forecast = Workload("forecast", "PredRNN", predrnn, (4, 10, 64, 64, 1), 10)
    simvp = {"in_channels": 1, "frames": 10, "hidden_channels": 64, "translator_channels": 512, "blocks": 8}
    simvp_train, incepu_train = (
        Workload("train", "SimVP", simvp | {"translator": translator}, (4, 10, 64, 64, 1), 10)
        for translator in ("gsta", "incepu")
    )
    gru = first().arguments | {"peepholes": None, "cell": "convgru"}
    convgru_train = Workload("train", "EncoderForecaster", gru, (4, 10, 16, 16, 16), 10)
    trajgru = gru | {"cell": "trajgru", "hidden_channels": [64, 64], "kernel_size": 3, "links": 13}
    trajgru_train = Workload("train", "EncoderForecaster", trajgru, (4, 10, 16, 16, 16), 10)
    layer = {"in_channels": 64, "out_channels": 64, "kernel_size": 5}
    frames = (4, 10, 64, 64, 1)
    own = default()
    free = Workload.from_json(own.as_json() | {"one_thread": False})
    return [
        Row("convlstm-128-5x5", first(), 90, recompute=True),
        Row("convlstm-s train", stack_train, 420, recompute=True),
        Row("convlstm-s forecast", stack_forecast, 130),
        Row("predrnn train", predrnn_train, 850, recompute=True),
        Row("predrnn forecast", predrnn_forecast, 260),
        Row("simvp train", simvp_train, 350),
        Row("simvp_incepu train", incepu_train, 450),
        Row("convgru-128-5x5", convgru_train, 90),
        Row("trajgru-64 train", trajgru_train, 120),
        Row("convlstm-64-5x5 64x64", encoder_forecaster(frames, 10, 64, 5), 600, recompute=True),
        Row("convlstm-64-3x3 64x64", encoder_forecaster(frames, 10, 64, 3), 330, recompute=True),
        Row("default", free, 110, recompute=True),
        Row("convlstm-32-3x3 8x8", encoder_forecaster((8, 10, 8, 8, 16), 10, 32, 3), 30),
        Row("layer forward", Workload("forward", "ConvLSTM", layer, (8, 10, 32, 32, 64)), 90),
        Row("layer backward", Workload("backward", "ConvLSTM", layer, (8, 10, 32, 32, 64)), 200),
        Row("generator", Workload("generate", "MovingMNIST", {}, (512, 20, 64, 64, 1)), 20, tolerance=0.05),
        Row("train.py", own, 120, end_to_end=True),
    ]


def select(names: str | None) -> list[Row]:
    """Returns the rows with some names, which are separated by commas, or all rows for None."""
    by_name = {row.name: row for row in rows()}
    if names is None:
        return list(by_name.values())
    wanted = [name.strip() for name in names.split(",")]
    unknown = [name for name in wanted if name not in by_name]
    if unknown:
        raise ValueError(f"--rows has no {', '.join(map(repr, unknown))}. Choose from: {', '.join(by_name)}")
    return [by_name[name] for name in wanted]
