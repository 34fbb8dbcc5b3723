"""Our side: the project's own parts, combined as in `train.py`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.workload import Workload, load_problem, save_problem
from convlstm import ConvLSTM, EncoderForecaster
from convlstm.architectures.convlstm_stack import ConvLSTMStack
from convlstm.architectures.feedback import FeedbackForecaster
from convlstm.architectures.predrnn import PredRNN
from convlstm.architectures.simvp import SimVP
from convlstm.backend.blas import hold_to_one_thread
from convlstm.losses import BinaryCrossEntropy, Loss, MeanSquaredError
from convlstm.ops import compilation
from convlstm.ops.cpu.library import library
from convlstm.training.precision import to_bfloat16
from convlstm.training.step import make_step, number

import mlx.core as mx
import mlx.nn as nn
import mlx.optimizers as optim
import numpy as np
from mlx.utils import tree_flatten, tree_map, tree_unflatten

MODELS: dict[str, Callable[..., nn.Module]] = {
    "EncoderForecaster": EncoderForecaster,
    "ConvLSTMStack": ConvLSTMStack,
    "PredRNN": PredRNN,
    "SimVP": SimVP,
    "ConvLSTM": ConvLSTM,
}


class GivenFrames(nn.Module):
    """A model whose training is fed the frames of the batch's mask, instead of a random choice."""

    def __init__(self, stack: FeedbackForecaster):
        super().__init__()
        self.stack = stack

    def training_loss(self, loss: Loss, inputs: mx.array, targets: mx.array, mask: mx.array | None, key: mx.array):
        """Returns the loss as the model does; a nonzero `mask` (N, T_out - 1) feeds the true frame."""
        frames = self.stack.unroll_frames(inputs, targets.shape[1], truth=targets, mask=mask)
        value = loss(frames, mx.concatenate([inputs[:, 1:], targets], axis=1))
        return value, value


class KeepGradients(optim.Optimizer):
    """An optimizer that stores the gradients and does not change the parameters."""

    def init_single(self, parameter: mx.array, state: dict) -> None:
        state["gradient"] = mx.zeros_like(parameter)

    def apply_single(self, gradient: mx.array, parameter: mx.array, state: dict) -> mx.array:
        state["gradient"] = gradient
        return parameter


class Side:
    """One workload, ready to run.

    Args:
        workload: The work.
        problem: The .npz file of weights and data, which is written first if it is missing.
        options: `device`, 'cpu' or 'gpu', default 'cpu'; `precision`, 'float32' or 'bfloat16', default 'float32'. A
            training step keeps float32 weights; all other work is done in the precision.
    """

    def __init__(self, workload: Workload, problem: Path, options: dict[str, Any]):
        mx.set_default_device(getattr(mx, options.get("device", "cpu")))
        self.precision = options.get("precision", "float32")
        if workload.one_thread:
            hold_to_one_thread()
        self.workload = workload
        self.model = MODELS[workload.model](**workload.arguments)
        if not problem.exists():
            save_problem(workload, {name: a.shape for name, a in self._flat(self.model.parameters()).items()}, problem)
        weights, data = load_problem(problem)
        self.model.update(tree_unflatten([(name, mx.array(a)) for name, a in weights.items()]))
        self.batch = {name: mx.array(a) for name, a in data.items()}
        if self.precision == "bfloat16" and workload.kind != "train":
            self.model.update(tree_map(to_bfloat16, self.model.parameters()))
            self.batch = {name: to_bfloat16(a) for name, a in self.batch.items()}
        mx.eval(self.model.parameters(), self.batch)
        self.model.train(workload.kind in ("train", "backward"))
        self._make = {
            "train": lambda: self._training(optim.Adam(1e-4)),
            "forecast": self._forecasting,
            "forward": self._forward,
            "backward": self._backward,
        }[workload.kind]
        self.call: Callable[[], dict[str, mx.array]] | None = None

    @classmethod
    def initial_weights(cls, workload: Workload) -> dict[str, np.ndarray]:
        """Returns the weights that a new model begins with, by name."""
        parameters = MODELS[workload.model](**workload.arguments).parameters()
        return {name: np.array(a) for name, a in cls._flat(parameters).items()}

    @staticmethod
    def _flat(tree: Any) -> dict[str, mx.array]:
        return dict(tree_flatten(tree))  # type: ignore[arg-type]

    def run(self) -> float | None:
        """Runs the work once and returns the loss, if there is one."""
        if self.call is None:
            self.call = self._make()
        result = self.call()
        mx.synchronize()
        return number(result["loss"]) if "loss" in result else None

    def check(self) -> dict[str, np.ndarray]:
        """Returns the results of a run and the gradients of all parameters, by name."""
        if self.workload.kind == "train":
            keep = KeepGradients()
            result = dict(self._training(keep)())
            gradients = self._flat(keep.state)
            for name, a in gradients.items():
                parameter, _, leaf = name.rpartition(".")
                if leaf == "gradient":
                    result[f"gradient of {parameter.removeprefix('stack.')}"] = a
            self.model.eval()
            result["forecast"] = self._forecasting()()["forecast"]
            self.model.train()
        else:
            result = self._make()()
        return {name: np.array(a.astype(mx.float32)) for name, a in result.items()}

    def multiplications(self) -> int:
        """Returns the multiplications of all products of matrices of the CPU's kernels so far."""
        return library().multiplications

    def reset_peak(self) -> None:
        """Begins to measure the peak memory of the device anew, without what is kept for later arrays."""
        mx.clear_cache()
        mx.reset_peak_memory()

    def device_bytes(self) -> int | None:
        """Returns the peak memory of MLX's arrays since `reset_peak`; None on a CPU, where kernels have memory, too."""
        return None if mx.default_device() == mx.Device(mx.cpu) else mx.get_peak_memory()

    def _training(self, optimizer: optim.Optimizer) -> Callable[[], dict[str, mx.array]]:
        w = self.workload
        model = GivenFrames(self.model) if w.sampled else self.model  # type: ignore[arg-type]
        loss: Loss = MeanSquaredError() if w.loss == "mse" else BinaryCrossEntropy(w.epsilon)
        optimizer.init(model.trainable_parameters())
        step = make_step(model, optimizer, loss, w.max_grad_norm, precision=self.precision)
        key = mx.random.key(0)

        def run() -> dict[str, mx.array]:
            return {"loss": step(self.batch, key)[0]}

        return run

    def _forecasting(self) -> Callable[[], dict[str, mx.array]]:
        model, inputs, horizon = self.model, self.batch["inputs"], self.workload.horizon
        forecast = compilation.whole(lambda x, horizon: model(x, horizon), model.state)

        def run() -> dict[str, mx.array]:
            y = forecast(inputs, horizon)
            mx.eval(y)
            return {"forecast": y}

        return run

    def _forward(self) -> Callable[[], dict[str, mx.array]]:
        model, inputs = self.model, self.batch["inputs"]
        forward = mx.compile(lambda x: model(x)[0], inputs=model.state)

        def run() -> dict[str, mx.array]:
            y = forward(inputs)
            mx.eval(y)
            return {"outputs": y}

        return run

    def _backward(self) -> Callable[[], dict[str, mx.array]]:
        model, inputs = self.model, self.batch["inputs"]

        def objective(parameters: dict, x: mx.array) -> mx.array:
            model.update(parameters)
            # In two stages, since MLX's sum of millions of values on a CPU is off by half a percent.
            return mx.square(model(x)[0]).sum(axis=(2, 3, 4)).sum()

        gradient = mx.compile(mx.value_and_grad(objective, argnums=(0, 1)))
        parameters = model.trainable_parameters()

        def run() -> dict[str, mx.array]:
            value, (weights, x) = gradient(parameters, inputs)
            model.update(parameters)  # tracing has left its own arrays in the model
            mx.eval(value, weights, x)
            named = {f"gradient of {name}": a for name, a in self._flat(weights).items()}
            return {"loss": value, "gradient of inputs": x, **named}

        return run
