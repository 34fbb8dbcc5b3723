"""The first part: values and gradients on the device beside those of plain MLX on the CPU."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.contest import Worker, WorkerError
from benchmarks.gpu.budget import Budget
from benchmarks.gpu.cases import Case, cases, draw_weights, drawn
from benchmarks.workload import Workload
from convlstm.architectures.model_facts import compiles
from convlstm.architectures.steps import STEPS
from convlstm.losses import MeanSquaredError
from convlstm.models import EncoderForecaster
from convlstm.ops.algorithm import without_kernels
from convlstm.training.optimizers import Muon
from convlstm.training.step import make_step

import mlx.core as mx
import mlx.nn as nn
import mlx.optimizers as optim
import numpy as np
from mlx.utils import tree_flatten

NOTHING = Workload("forward", "none", inputs=(1,)).as_json()
# Products of float32 with all their digits: on some GPUs MLX's default, TF32, keeps eleven bits of the factors.
EXACT = {"MLX_ENABLE_TF32": "0"}
LIMIT_SECONDS = 240.0


@dataclass(frozen=True)
class TrainingCase:
    """A few training steps, whose weights are compared.

    Attributes:
        name: Name for --cases.
        optimizer: Function that returns the optimizer.
        precision: Of the model.
        parts: Parts of a batch.
        limit: Largest difference of 99 % of the weights of an array, relative to its largest one. Adam turns a gradient
            that is nearly 0 into a step of full length in either direction.
    """

    name: str
    optimizer: Callable[[], optim.Optimizer]
    precision: str = "float32"
    parts: int = 1
    limit: float = 2e-3


TRAINING = (
    TrainingCase("training, Adam", lambda: optim.Adam(1e-3)),
    TrainingCase("training, AdamW in parts", lambda: optim.AdamW(1e-3), parts=2),
    TrainingCase("training, RMSprop", lambda: optim.RMSprop(1e-3)),
    TrainingCase("training, Muon", lambda: Muon(1e-3)),
    TrainingCase("training, bfloat16", lambda: optim.Adam(1e-3), "bfloat16", limit=5e-2),
)


def all_cases() -> list[Case | TrainingCase]:
    """Returns the cases of `benchmarks.gpu.cases` and those of training."""
    return [*cases(), *TRAINING]


def names() -> list[str]:
    """Returns the names of all cases."""
    return [case.name for case in all_cases()]


def case_of(name: str) -> Case | TrainingCase:
    """Returns the case of a name."""
    return next(case for case in all_cases() if case.name == name)


class Side:
    """A case on a device, as a worker runs it.

    Args:
        workload: Not used.
        problem: Not used.
        options: `case`, its name; `device`; `plain`, True for the reference, which runs MLX's own operations one by
            one, without kernels of ours and without compilation.
    """

    def __init__(self, workload: Workload, problem: Path, options: dict[str, Any]):
        mx.set_default_device(getattr(mx, options["device"]))
        self.case, self.plain = case_of(options["case"]), options["plain"]
        if self.plain:
            mx.disable_compile()

    def check(self) -> dict[str, np.ndarray]:
        """Returns the results of the case."""
        with without_kernels() if self.plain else nullcontext():
            results = trained(self.case) if isinstance(self.case, TrainingCase) else computed(self.case)
            mx.eval(results)
        return {name: np.array(a.astype(mx.float32)) for name, a in results.items()}


def computed(case: Case) -> dict[str, mx.array]:
    """Returns values and gradients of a case, by name."""
    function, inputs = case.make(), [mx.array(a) for a in drawn(case)]
    module = function if isinstance(function, nn.Module) else None
    if module is not None:
        draw_weights(module, case.name)
        module.eval()

    def outputs(parameters: Any, arrays: list[mx.array]) -> list[mx.array]:
        if module is not None:
            module.update(parameters)
        y = function(*arrays, *case.more)
        flat: Any = tree_flatten(y)
        return [a for _, a in flat]

    parameters: Any = {} if module is None else module.trainable_parameters()
    # As the programs do; and STEPS keeps filters of noise between its calls.
    compiled = mx.compile if compiles(module) and not isinstance(module, STEPS) else _as_it_is
    values = compiled(outputs)(parameters, inputs)
    mx.eval(values)
    results = {f"value {n}": a for n, a in enumerate(values)}
    if case.gradient:
        if module is not None and case.trains:
            module.train()
        trains = case.is_model and case.trains and hasattr(module, "training_loss")
        rng = np.random.default_rng(0)
        loss, targets = MeanSquaredError(), mx.clip(values[0] + 0.1, 0, 1)
        mx.eval(targets)
        weights = [mx.array(rng.standard_normal(a.shape).astype(np.float32)) for a in values]

        def objective(parameters: Any, arrays: list[mx.array]) -> mx.array:
            if trains:
                module.update(parameters)  # type: ignore[union-attr]
                return module.training_loss(loss, arrays[0], targets, None, mx.random.key(0))[0]  # type: ignore[union-attr]
            return sum((a * w).sum() for a, w in zip(outputs(parameters, arrays), weights, strict=True))  # type: ignore[return-value]

        arguments = [0] if case.gradient == "weights" else [0, 1]
        gradients: Any = compiled(mx.grad(objective, argnums=arguments))(parameters, inputs)
        gradients = gradients if len(arguments) > 1 else [gradients]
        flat: Any = tree_flatten(dict(zip(("weights", "inputs"), gradients, strict=False)))
        results |= {f"gradient of {name}": a for name, a in flat}
    return results


def _as_it_is(function: Callable[..., Any]) -> Callable[..., Any]:
    return function


def trained(case: TrainingCase) -> dict[str, mx.array]:
    """Returns the weights after three steps, and the losses."""
    model = EncoderForecaster(1, None, (8, 8), kernel_size=3, patch_size=4, concatenate=True, next_frame_weight=1.0)
    draw_weights(model, "training")
    optimizer = case.optimizer()
    optimizer.init(model.trainable_parameters())
    step = make_step(model, optimizer, MeanSquaredError(), 1.0, precision=case.precision, parts=case.parts)
    rng = np.random.default_rng(1)
    batch = {name: mx.array(rng.random((4, 3, 16, 16, 1), dtype=np.float32)) for name in ("inputs", "targets")}
    losses = [step(batch, mx.random.key(n))[0] for n in range(3)]
    flat: Any = tree_flatten(model.trainable_parameters())
    return {"value 0": mx.stack(losses), **{f"weights {name}": a for name, a in flat}}


def differences(case: Case | TrainingCase, ours: Path, reference: Path) -> dict[str, Any]:
    """Returns the largest differences of values and gradients, relative to the largest value of their array.

    An array of gradients whose largest value is less than 1e-4 of that of all gradients counts as if it had this one:
    a bias before a norm has a gradient of rounding errors alone.
    """
    share = case.share if isinstance(case, Case) else 0.99
    worst = {"value": 0.0, "gradient": 0.0}
    with np.load(ours) as a, np.load(reference) as b:
        if set(a.files) != set(b.files):
            raise WorkerError(f"the devices computed different things: {sorted(set(a.files) ^ set(b.files))}.")
        of_gradients = [float(np.abs(b[name]).max()) for name in b.files if name.startswith("gradient")]
        for name in b.files:
            kind = "gradient" if name.startswith("gradient") else "value"
            if a[name].shape != b[name].shape:
                raise WorkerError(f"the shapes of '{name}' differ: {a[name].shape} and {b[name].shape}.")
            largest = max(float(np.abs(b[name]).max()), 1e-4 * max(of_gradients, default=0.0), 1e-30)
            error = np.abs(a[name].astype(np.float64) - b[name])
            gap = float(np.quantile(error, share, method="higher")) / largest
            worst[kind] = max(worst[kind], gap) if np.isfinite(error).all() else float("inf")
    limits = case.limits if isinstance(case, Case) else (case.limit, case.limit)
    agrees = worst["value"] <= limits[0] and worst["gradient"] <= limits[1]
    has_gradient = isinstance(case, Case) and bool(case.gradient)
    return {
        "value": worst["value"],
        "gradient": worst["gradient"] if has_gradient else None,
        "limits": list(limits[: 1 + has_gradient]),
        "share": share,
        "agrees": agrees,
    }


class Pair:
    """Two workers, the device's and the reference's. They are started again if one has ended."""

    def __init__(self, device: str):
        self._sides = {"ours": {"device": device, "plain": False}, "reference": {"device": "cpu", "plain": True}}
        self._stack = ExitStack()
        self._workers: dict[str, Worker] = {}

    def compare(self, name: str, folder: Path, limit: float) -> dict[str, Any]:
        """Returns `differences` of a case, or the error as `failed`."""
        files = {side: folder / f"{side}.npz" for side in self._sides}
        try:
            for side, options in self._sides.items():
                worker = self._workers.get(side) or self._start(side)
                build = {"workload": NOTHING, "problem": "", "options": options | {"case": name}}
                worker.ask("build", limit, **build)
                worker.ask("check", limit, out=str(files[side]))
            return differences(case_of(name), files["ours"], files["reference"])
        except WorkerError as error:
            self.close()
            return {"failed": str(error), "agrees": False}

    def close(self) -> None:
        """Ends the workers."""
        self._workers.clear()
        self._stack.close()

    def _start(self, side: str) -> Worker:
        worker = self._workers[side] = Worker("cases of the device", environment=EXACT)
        self._stack.callback(worker.close)
        return worker


def run(results: dict[str, Any], device: str, wanted: list[str], folder: Path, budget: Budget) -> None:
    """Adds the cases that the results lack, until the time is over. `budget.save` writes them one by one."""
    todo = [name for name in wanted if name not in results]
    pair = Pair(device)
    try:
        for name in todo:
            if budget.over():
                return
            results[name] = pair.compare(name, folder, min(LIMIT_SECONDS, budget.command_left()))
            budget.save()
    finally:
        pair.close()
