"""The work that is measured, equal for both sides: a model, shapes of its inputs, and a kind of work."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

KINDS = ("train", "forecast", "forward", "backward", "generate")


@dataclass(frozen=True)
class Workload:
    """Work as values that are sent as JSON to the processes.

    Attributes:
        kind: 'train' (a step with Adam), 'forecast', 'forward' and 'backward' (of a single layer; the gradient of the
            sum of the squared outputs), or 'generate' (batches of Moving-MNIST).
        model: Name of the class: 'EncoderForecaster', 'ConvLSTMStack', 'PredRNN', 'SimVP' or 'ConvLSTM'.
        arguments: Arguments of its constructor. Default: none.
        inputs: Shape of the inputs, (N, T_in, H, W, C).
        horizon: Number of frames to forecast. Default: 0.
        loss: 'mse' or 'bce'. Default: 'mse'.
        epsilon: Epsilon of the binary cross-entropy. Default: 1e-6.
        max_grad_norm: Norm to clip gradients to. Default: None, no clipping.
        sampled: Training feeds true frames after the inputs, by a random mask. Default: False.
        one_thread: Limit MKL to one thread on our side, as training with deterministic=true does. Default: False.
    """

    kind: str
    model: str
    arguments: dict[str, Any] = field(default_factory=dict)
    inputs: tuple[int, ...] = ()
    horizon: int = 0
    loss: str = "mse"
    epsilon: float = 1e-6
    max_grad_norm: float | None = None
    sampled: bool = False
    one_thread: bool = False

    def __post_init__(self):
        if self.kind not in KINDS:
            raise ValueError(f"[Workload] 'kind' must be one of {', '.join(KINDS)} but got {self.kind!r}.")
        if self.loss not in ("mse", "bce"):
            raise ValueError(f"[Workload] 'loss' must be 'mse' or 'bce' but got {self.loss!r}.")

    @property
    def sequences(self) -> int:
        """Number of sequences in one run."""
        return self.inputs[0]

    def as_json(self) -> dict[str, Any]:
        """Returns the workload as a dict for JSON."""
        return asdict(self)

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> Workload:
        """Returns the workload of a dict; the inverse of `as_json`."""
        return cls(**values | {"inputs": tuple(values["inputs"])})


def save_problem(workload: Workload, shapes: dict[str, tuple[int, ...]], path: Path, seed: int = 0) -> None:
    """Draws weights and data and writes them to an .npz file; names of weights begin with `weights/`.

    Args:
        workload: The workload.
        shapes: Shapes of the parameters, in our layout (O, kh, kw, I).
        path: The file.
        seed: Seed of the draw. Default: 0.
    """
    rng = np.random.default_rng(seed)
    arrays: dict[str, np.ndarray] = {}
    for name, shape in shapes.items():
        bound = float(np.prod(shape[1:])) ** -0.5 if len(shape) > 1 else 0.1
        drawn = rng.uniform(-bound, bound, shape)
        if name.endswith("running_var"):
            drawn = 1 + drawn
        arrays[f"weights/{name}"] = drawn.astype(np.float32)
    arrays["inputs"] = rng.random(workload.inputs, dtype=np.float32)
    if workload.horizon:
        N, _, *frame = workload.inputs
        arrays["targets"] = rng.random((N, workload.horizon, *frame), dtype=np.float32)
        if workload.sampled:
            arrays["mask"] = rng.integers(0, 2, (N, workload.horizon - 1)).astype(np.float32)
    np.savez(path, **arrays)  # type: ignore[arg-type]


def load_problem(path: Path) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """Returns the weights by name, and the data: `inputs`, and `targets` and `mask` if there are any."""
    with np.load(path) as file:
        arrays = {name: file[name] for name in file.files}
    weights = {name.removeprefix("weights/"): a for name, a in arrays.items() if name.startswith("weights/")}
    return weights, {name: a for name, a in arrays.items() if not name.startswith("weights/")}
