"""A training step: the gradient of a batch, at once or in parts, and the update if everything is finite."""

from __future__ import annotations

import inspect
import itertools
import math
from collections.abc import Callable
from typing import Any

from convlstm.architectures.input_frames import as_unit
from convlstm.architectures.model_facts import FACTS, compiles, told
from convlstm.distributed.ranks import ALONE, Ranks
from convlstm.losses import Loss
from convlstm.ops import compilation
from convlstm.ops.squares import sum_of_squares
from convlstm.training.optimizers import take_kernels
from convlstm.training.precision import check_precision, in_float32, to_bfloat16, weights_in_bfloat16
from convlstm.training.sampling import Sampling

import mlx.core as mx
import mlx.nn as nn
import mlx.optimizers as optim
import numpy as np
from mlx.utils import tree_flatten, tree_map

Batch = dict[str, mx.array]
Step = Callable[..., tuple[mx.array, mx.array]]


def to_device(batch: dict[str, np.ndarray]) -> Batch:
    """Returns a batch as MLX arrays: frames as float32 in [0, 1], masks and facts about the data unchanged."""
    arrays = {name: as_unit(np.asarray(batch[name])) for name in ("inputs", "targets")}
    others = {name: batch[name] for name in ("mask", "input_mask", *FACTS) if batch.get(name) is not None}
    return arrays | {name: mx.array(np.asarray(other)) for name, other in others.items()}


def number(scalar: mx.array) -> float:
    """Returns the value of a scalar as a float. The declared type of `item` is a union."""
    return scalar.item()  # type: ignore[return-value]


def make_step(
    model: nn.Module,
    optimizer: optim.Optimizer,
    loss: Loss,
    max_grad_norm: float | None = None,
    *,
    precision: str = "float32",
    parts: int = 1,
    ranks: Ranks = ALONE,
    sampling: Sampling | None = None,
) -> Step:
    """Returns a function `step(batch, key, steps=0) -> (loss of the forecast, norm of the gradient)`.

    The function updates model and optimizer, unless the loss or the norm is not finite.

    In bfloat16 the model runs forward and backward on bfloat16 copies of its trainable weights and of the inputs. The
    weights themselves, their gradients, the optimizer and the loss are float32, and so are arrays that the model does
    not train (frozen weights, running statistics).

    With several parts or ranks, the loss and its gradient are still those of the whole batch, even if the parts have
    different numbers of known pixels: each call of `loss` is weighted by the number of values in its mean.

    Args:
        model: Called as `model(inputs, horizon, key=key)`, and with the facts about the data that it names in `told`,
            see `convlstm.architectures.model_facts`. If it has a method `training_loss`, that is called instead,
            as `model.training_loss(loss, inputs, targets, mask, key) -> (loss to minimise, loss of the forecast)`. The
            targets stay float32: a model that reads them beside the inputs casts them to the inputs' type. If it has
            an argument `input_mask`, it gets that of the batch, nonzero for known inputs: losses of predicted inputs
            must leave out the others.
        optimizer: An optimizer whose state was initialised with the model's parameters.
        loss: Called as `loss(forecast, targets, mask)`; a mean over all values, or over those where the mask is not 0.
        max_grad_norm: Norm over all parameters above which gradients are scaled down. Default: None, no limit.
        precision: 'float32' or 'bfloat16'. Default: 'float32'.
        parts: Number of equal parts of a batch that go through the model one after the other. Default: 1.
        ranks: The processes that share every batch. Default: only this one.
        sampling: Function that returns the `truth_share` for `model.training_loss`, given the number of `steps` before
            this one. Default: None, which leaves that argument out.

    Raises:
        ValueError: `precision` is unknown, or a batch cannot be cut into the parts.
    """
    narrow = check_precision("make_step", precision) == "bfloat16"
    loss = in_float32(loss) if narrow else loss
    predicts_inputs = "input_mask" in inspect.signature(getattr(model, "training_loss", nn.Module)).parameters

    def objective(loss: Loss, batch: Batch, key: mx.array, share: mx.array | None) -> tuple[mx.array, mx.array]:
        inputs, targets, mask = batch["inputs"], batch["targets"], batch.get("mask")
        facts = told(model, batch)
        if hasattr(model, "training_loss"):
            options = facts if share is None else facts | {"truth_share": share}
            if predicts_inputs and "input_mask" in batch:
                options["input_mask"] = batch["input_mask"]
            return model.training_loss(loss, inputs, targets, mask, key, **options)
        value = loss(model(inputs, targets.shape[1], key=key, **facts), targets, mask)
        return value, value

    def in_precision(loss: Loss, batch: Batch, key: mx.array, share: mx.array | None) -> tuple[mx.array, mx.array]:
        if not narrow:
            return objective(loss, batch, key, share)
        with weights_in_bfloat16(model):
            return objective(loss, batch | {"inputs": to_bfloat16(batch["inputs"])}, key, share)

    def clipped_update(gradients: Any) -> mx.array:
        gradients, norm = clipped(gradients, max_grad_norm)
        optimizer.update(model, gradients)
        return norm

    take_kernels(optimizer)
    state = [model.state, optimizer.state]
    if parts == 1 and ranks.size == 1:
        value_and_grad = nn.value_and_grad(model, lambda *arguments: in_precision(loss, *arguments))

        def whole(batch: Batch, key: mx.array, share: mx.array | None) -> tuple[mx.array, mx.array]:
            (_, value), gradients = value_and_grad(batch, key, share)
            return value, clipped_update(gradients)

        advance = compilation.whole(whole, state, state) if compiles(model) else whole
    else:
        gradient = gradient_in_parts(model, in_precision, loss, parts, ranks)
        update = compilation.whole(clipped_update, state, state)

        def advance(batch: Batch, key: mx.array, share: mx.array | None) -> tuple[mx.array, mx.array]:
            value, gradients = gradient(batch, key, share)
            return value, update(gradients)

    def step(batch: Batch, key: mx.array, steps: int = 0) -> tuple[mx.array, mx.array]:
        before = tree_map(lambda array: array, state)
        value, norm = advance(batch, key, None if sampling is None else sampling(mx.array(steps)))
        # The norm needs all gradients and none of the update. The update is evaluated afterwards, array by array, which
        # frees each old array at once. Evaluated together, the new weights and state would lie in memory beside the old
        # ones and the arrays of the backward pass. An update that is not finite is never evaluated.
        mx.eval(value)
        mx.eval(norm)
        if not (math.isfinite(number(value)) and math.isfinite(number(norm))):
            put_back(state, before)
            return value, norm
        del before
        weights: Any = tree_flatten(model.trainable_parameters())
        for _, array in weights:
            mx.eval(array)
        mx.eval(state)
        return value, norm

    return step


def clipped(gradients: Any, largest: float | None) -> tuple[Any, mx.array]:
    """Returns gradients, scaled down if their norm is above the largest one, and the norm that they had.

    Args:
        gradients: A tree of arrays. The norm is that of all their values.
        largest: The largest norm, or None for no limit.
    """
    arrays: Any = tree_flatten(gradients)
    norm = mx.sqrt(sum((sum_of_squares(g) for _, g in arrays), mx.array(0.0)))
    if largest is None:
        return gradients, norm
    share = mx.minimum(largest / (norm + 1e-6), 1)
    return tree_map(lambda g: (share * g).astype(g.dtype), gradients), norm


def gradient_in_parts(
    model: nn.Module, objective: Callable[..., tuple[mx.array, mx.array]], loss: Loss, parts: int, ranks: Ranks
) -> Callable[[Batch, mx.array, mx.array | None], tuple[mx.array, Any]]:
    """Returns a function `gradient(batch, key, share) -> (loss, gradients)` for this rank's share of a batch.

    Both are means over parts and ranks. In a part, the n-th call of the loss is the mean over c_n values. Its weight is
    c_n / (mean of c_n over parts and ranks). Terms that the model adds to the losses have weight 1.
    """
    size, rank, state = ranks.size, ranks.rank, model.state

    def count_values(batch: Batch, key: mx.array, share: mx.array | None) -> mx.array:
        """Returns the number of values in the mean of each call of the loss. No forecast is computed for it."""
        counts: list[mx.array] = []

        def counting(forecast: mx.array, target: mx.array, mask: mx.array | None = None) -> mx.array:
            size = mx.array(target.size) if mask is None else (mx.broadcast_to(mask, target.shape) != 0).sum()
            counts.append(size.astype(mx.float32))
            return mx.zeros(())

        before = tree_map(lambda array: array, state)
        objective(counting, batch, key, share)
        put_back(state, before)  # the model may keep statistics of its inputs
        return mx.stack(counts)

    def weighted(weights: mx.array, batch: Batch, key: mx.array, share: mx.array | None) -> tuple[mx.array, mx.array]:
        calls = itertools.count()
        minimised, value = objective(lambda *arguments: weights[next(calls)] * loss(*arguments), batch, key, share)
        return minimised / parts, value / parts

    value_and_grad = nn.value_and_grad(model, weighted)

    def part_gradient(weights: mx.array, batch: Batch, key: mx.array, share: mx.array | None) -> tuple[mx.array, Any]:
        (_, value), gradients = value_and_grad(weights, batch, key, share)
        return value, gradients

    compiled_count, compiled_gradient = count_values, part_gradient
    if compiles(model):
        compiled_count = compilation.whole(count_values, state)
        compiled_gradient = compilation.whole(part_gradient, state, state)

    def gradient(batch: Batch, key: mx.array, share: mx.array | None) -> tuple[mx.array, Any]:
        length, rest = divmod(len(batch["inputs"]), parts)
        if rest:
            raise ValueError(
                f"[make_step] a batch of {len(batch['inputs'])} sequences cannot be cut into {parts} equal 'parts'. "
                "Use another size or number."
            )
        batch_parts = [{name: a[p * length : (p + 1) * length] for name, a in batch.items()} for p in range(parts)]
        keys = mx.random.split(key, parts * size)[rank * parts : (rank + 1) * parts] if parts * size > 1 else [key]
        counts = mx.stack([compiled_count(part, k, share) for part, k in zip(batch_parts, keys, strict=True)])
        weights = counts / mx.maximum(ranks.mean(counts.mean(axis=0)), 1)
        total: Any = None
        for part, k, part_weights in zip(batch_parts, keys, weights, strict=True):
            result = compiled_gradient(part_weights, part, k, share)
            total = result if total is None else tree_map(mx.add, total, result)
            mx.eval(total)  # frees everything of the part but its gradient
        return ranks.mean(total)

    return gradient


def put_back(tree: Any, arrays: Any) -> None:
    """Puts the arrays of a copy of a tree of dicts and lists back into the tree; the containers stay the same."""
    for key in tree if isinstance(tree, dict) else range(len(tree)):
        if isinstance(tree[key], mx.array):
            tree[key] = arrays[key]
        elif isinstance(tree[key], dict | list | tuple):
            put_back(tree[key], arrays[key])
