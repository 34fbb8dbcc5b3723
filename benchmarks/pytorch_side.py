"""PyTorch's side: the same work in its fastest plain form, eager or compiled."""

from __future__ import annotations

import inspect
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks import pytorch_models
from benchmarks.workload import Workload, load_problem

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import binary_cross_entropy, mse_loss

# Arguments of our models that affect only initial values or the way of computing.
INITIAL = ("forget_bias", "output_mean", "algorithm", "recompute")
# Arguments for which the transcription supports only this value; 0 and empty lists are allowed for all. None stands for
# a default, which is the same on both sides.
FIXED = {"concatenate": True, "out_channels": 1}
FEED_BACK = ("ConvLSTMStack", "PredRNN")
ADAMS: dict[str, dict[str, bool]] = {"default": {}, "foreach": {"foreach": True}, "fused": {"fused": True}}


def build(workload: Workload) -> torch.nn.Module:
    """Returns the transcription of a workload's model, or raises ValueError for an argument without a counterpart."""
    make = getattr(pytorch_models, workload.model)
    accepted = inspect.signature(make.__init__).parameters
    arguments = {}
    for name, value in workload.arguments.items():
        if name in accepted and value is not None:
            arguments[name] = value
        elif name not in INITIAL and value and FIXED.get(name) != value:
            raise ValueError(
                f"[benchmarks] {workload.model}'s '{name}' is {value!r}, which benchmarks/pytorch_models.py does not "
                "transcribe. Add it there."
            )
    return make(**arguments)


def to_torch(a: np.ndarray) -> Tensor:
    """Returns kernels OHWI as OIHW, sequences NTHWC as NTCHW, and other arrays unchanged."""
    if a.ndim in (4, 5):
        a = np.moveaxis(a, -1, -3)
    return torch.from_numpy(np.ascontiguousarray(a))


def to_ours(a: Tensor) -> np.ndarray:
    """Returns a tensor in our layout; the inverse of `to_torch`."""
    array = a.detach().float().cpu().numpy()
    return np.ascontiguousarray(np.moveaxis(array, -3, -1) if array.ndim in (4, 5) else array)


class Side:
    """One workload, ready to run.

    Args:
        workload: The work.
        problem: The .npz file of weights and data.
        options: `threads`; `channels_last` and `adam` ('default', 'foreach' or 'fused'), from `probe`; `compile` for
            torch.compile; `device`, PyTorch's name of it, default 'cpu'; `precision`, 'float32' or 'bfloat16', default
            'float32'. A training step keeps float32 weights, by autocast; all other work is done in the precision.
    """

    def __init__(self, workload: Workload, problem: Path, options: dict[str, Any]):
        if options.get("threads"):
            torch.set_num_threads(options["threads"])
        self.workload, self.options = workload, options
        self.device = torch.device(options.get("device") or "cpu")
        if self.device.type == "cuda":
            # TF32 for all products, as MLX does by default, and the fastest of cuDNN's convolutions.
            torch.set_float32_matmul_precision("high")
            torch.backends.cudnn.benchmark = True
        narrow = options.get("precision") == "bfloat16"
        self.autocast = narrow and workload.kind == "train"
        weights, data = load_problem(problem)
        self.model = build(workload).train(workload.kind == "train")
        state = {name: to_torch(a) for name, a in weights.items()}
        self.model.load_state_dict(state)
        if options.get("channels_last"):
            self.model.to(memory_format=torch.channels_last)
        self.model.to(self.device)
        self.batch = {name: to_torch(a).to(self.device) for name, a in data.items()}
        if narrow and not self.autocast:
            self.model.to(torch.bfloat16)
            self.batch = {name: a.to(torch.bfloat16) for name, a in self.batch.items()}
        self.parameters = [p for p in self.model.parameters() if p.requires_grad]
        if workload.kind == "backward":
            self.batch["inputs"].requires_grad_()
        self.optimizer = torch.optim.Adam(self.parameters, lr=1e-4, **ADAMS[options.get("adam", "default")])
        if options.get("compile"):
            # A process that has compiled several models would compile no more of them, without a message.
            torch.compiler.reset()
        compiled = torch.compile if options.get("compile") else lambda f: f
        self.objective: Callable[[], tuple[Tensor, Tensor]] = compiled(self._objective)
        self.forward: Callable[[], Tensor] = compiled(self._forward)

    def run(self) -> float | None:
        """Runs the work once and returns the loss, if there is one."""
        if self.workload.kind in ("forecast", "forward"):
            with torch.inference_mode():
                self.forward()
            self._synchronise()
            return None
        loss = self._gradients()
        if self.workload.kind == "train":
            self.optimizer.step()
        self._synchronise()
        return loss.item()

    def check(self) -> dict[str, np.ndarray]:
        """Returns the results of a run and the gradients of all parameters, by name."""
        kind = self.workload.kind
        result: dict[str, np.ndarray] = {}
        if kind in ("train", "backward"):
            result["loss"] = self._gradients().detach().float().cpu().numpy()
            for name, p in self.model.named_parameters():
                result[f"gradient of {name}"] = to_ours(p.grad)  # type: ignore[arg-type]
        if kind == "backward":
            result["gradient of inputs"] = to_ours(self.batch["inputs"].grad)  # type: ignore[arg-type]
        else:
            self.model.eval()
            with torch.inference_mode():
                result["outputs" if kind == "forward" else "forecast"] = to_ours(self._forward())
            self.model.train(kind == "train")
        return result

    def probe(self) -> dict[str, Any]:
        """Returns the faster memory layout and the fastest Adam, each by its best run after a first one."""
        seconds: dict[str, float] = {}
        for last in (False, True):
            self.model.to(memory_format=torch.channels_last if last else torch.contiguous_format)
            for p in self.parameters:
                p.grad = None
            seconds["channels_last" if last else "contiguous"] = fastest(self.run)
        best: dict[str, Any] = {"channels_last": seconds["channels_last"] < seconds["contiguous"]}
        if self.workload.kind == "train":
            self.model.to(memory_format=torch.channels_last if best["channels_last"] else torch.contiguous_format)
            self._gradients()
            for name, arguments in ADAMS.items():
                optimizer = torch.optim.Adam(self.parameters, lr=1e-4, **arguments)
                seconds[name] = fastest(partial(self._update, optimizer), runs=4)
            best["adam"] = min(ADAMS, key=seconds.__getitem__)
        return best | {"probed_seconds": seconds}

    def reset_peak(self) -> None:
        """Begins to measure the peak memory of the device anew, without what is kept for later tensors."""
        if self.device.type == "cuda":
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats()

    def device_bytes(self) -> int | None:
        """Returns the peak memory of tensors since `reset_peak`; on Metal all that PyTorch holds; None on a CPU."""
        if self.device.type == "cuda":
            return torch.cuda.max_memory_allocated()
        return torch.mps.driver_allocated_memory() if self.device.type == "mps" else None

    def _update(self, optimizer: torch.optim.Optimizer) -> None:
        optimizer.step()
        self._synchronise()

    def _synchronise(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.synchronize()
        elif self.device.type == "mps":
            torch.mps.synchronize()

    def _run_model(self, *arguments: Any) -> Any:
        """Returns the model's outputs, in float32 if it runs in bfloat16 by autocast."""
        if not self.autocast:
            return self.model(*arguments)
        with torch.autocast(self.device.type, torch.bfloat16):
            outputs = self.model(*arguments)
        wide = [None if a is None else a.float() for a in (outputs if isinstance(outputs, tuple) else (outputs,))]
        return tuple(wide) if isinstance(outputs, tuple) else wide[0]

    def _gradients(self) -> Tensor:
        self.optimizer.zero_grad(set_to_none=True)
        self.batch["inputs"].grad = None
        minimised, loss = self.objective()
        minimised.backward()
        if self.workload.max_grad_norm is not None:
            torch.nn.utils.clip_grad_norm_(self.parameters, self.workload.max_grad_norm, foreach=True)
        return loss

    def _loss(self, forecast: Tensor, target: Tensor) -> Tensor:
        if self.workload.loss == "mse":
            return mse_loss(forecast, target)
        e = self.workload.epsilon
        return binary_cross_entropy(e + (1 - 2 * e) * forecast, target)

    def _objective(self) -> tuple[Tensor, Tensor]:
        """Returns the value that training minimises, and the forecast's share of it, as our side does."""
        inputs, horizon = self.batch["inputs"], self.workload.horizon
        if self.workload.kind == "backward":
            loss = self._forward().square().sum()
            return loss, loss
        targets = self.batch["targets"]
        if self.workload.model in FEED_BACK:
            frames = self._run_model(inputs, horizon, targets, self.batch.get("mask"))
            loss = self._loss(frames, torch.cat([inputs[:, 1:], targets], dim=1))
            return loss, loss
        forecast, next_frames = self._run_model(inputs, horizon)
        loss = self._loss(forecast, targets)
        if next_frames is None:
            return loss, loss
        return loss + self.model.next_frame_weight * self._loss(next_frames, inputs[:, 1:]), loss

    def _forward(self) -> Tensor:
        inputs, horizon = self.batch["inputs"], self.workload.horizon
        if self.workload.model == "ConvLSTM":
            x = pytorch_models.time_first(inputs, self.model.cell.Wh)
            return pytorch_models.batch_first(self.model(x, inputs.shape[1])[0], inputs.shape[1])
        if self.workload.model in FEED_BACK:
            return self.model(inputs, horizon)[:, -horizon:]
        return self.model(inputs, horizon)[0]


def fastest(call: Callable[[], Any], runs: int = 2) -> float:
    """Returns the seconds of the fastest of several calls, after a first one."""
    times = []
    for _ in range(runs + 1):
        start = time.perf_counter()
        call()
        times.append(time.perf_counter() - start)
    return min(times[1:])
