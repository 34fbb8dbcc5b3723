"""What is measured: a model, the shapes that it is given, and what is done with it. The same for both sides."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

KINDS = ("train", "forecast", "forward", "backward", "generate")


@dataclass(frozen=True)
class Workload:
    """One kind of work, as values that travel as JSON to the processes that do it.

    Attributes:
        kind: 'train' (a step with Adam), 'forecast', 'forward' and 'backward' (of a single layer; the gradient of the
            sum of the squared outputs), or 'generate' (batches of Moving-MNIST).
        model: Name of the class: 'EncoderForecaster', 'ConvLSTMStack', 'PredRNN', 'SimVP' or 'ConvLSTM'.
        arguments: Of its constructor.
        inputs: Shape of the inputs, (N, T_in, H, W, C).
        horizon: Frames to forecast.
        loss: 'mse' or 'bce'.
        epsilon: Of the binary cross entropy.
        max_grad_norm: Norm that gradients are clipped to; None: never.
        sampled: Whether a random mask says where training feeds the true frame after the inputs.
        one_thread: Whether MKL is held to one thread on our side, as training with deterministic=true does.
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
        """Sequences in one run of it."""
        return self.inputs[0]

    def as_json(self) -> dict[str, Any]:
        """The workload as a dict for JSON."""
        return asdict(self)

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> Workload:
        """The inverse of `as_json`."""
        return cls(**values | {"inputs": tuple(values["inputs"])})


def save_problem(workload: Workload, shapes: dict[str, tuple[int, ...]], path: Path, seed: int = 0) -> None:
    """Draws the weights, under their names with `weights/` before them, and the data, and writes them to an .npz file.

    Args:
        workload: What the data is for.
        shapes: Shapes of the parameters, in our layout (O, kh, kw, I).
        path: The file.
        seed: Of the draw. Default: 0.
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
    """The weights by name, and the data: `inputs`, and `targets` and `mask` where there are any."""
    with np.load(path) as file:
        arrays = {name: file[name] for name in file.files}
    weights = {name.removeprefix("weights/"): a for name, a in arrays.items() if name.startswith("weights/")}
    return weights, {name: a for name, a in arrays.items() if not name.startswith("weights/")}
