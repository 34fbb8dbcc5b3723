"""A ConvLSTM cell unrolled by the CPU's kernels: the check that they fit the cell, its filters, and the walk.

`convlstm.layers.ConvLSTM` has the same walk in plain MLX.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from convlstm.ops.algorithm import takes_winograd
from convlstm.ops.cell_activations import USUAL
from convlstm.ops.recurrence import Filters, prepare, unroll, unroll_prepared

import mlx.core as mx
import mlx.nn as nn


class CellFilters(NamedTuple):
    """The prepared kernels of a ConvLSTM cell.

    Attributes:
        x: Those of the input, or None if the walk does not convolve it.
        h: Those of the hidden state.
    """

    x: Filters | None
    h: Filters


def fits(cell: nn.Module, *states: mx.array) -> bool:
    """Returns True if the CPU's kernels can unroll a `ConvLSTMCell` from these states.

    Raises:
        ValueError: The cell asks for 'winograd', and its kernel size, its type or the device has none.
    """
    if cell.recurrent_padding != "same" or cell.output != "cell":
        return False
    if (cell.state_activation, cell.recurrent_activation) != USUAL:
        return False
    arrays = [cell.Wh, *states, *([cell.bias] if "bias" in cell else []), *(cell.peepholes or ())]
    others = [a.dtype for a in arrays if a.dtype != mx.float32]
    return takes_winograd("ConvLSTM", cell.algorithm, cell.recurrent_kernel_size, [*others, mx.float32][0])


def prepare_cell(cell: nn.Module, *, trains: bool, recompute: bool) -> CellFilters:
    """Returns a cell's kernels as the parts of a longer walk read them.

    Args:
        cell: A `ConvLSTMCell` that the kernels fit.
        trains: True if many gradients will be taken.
        recompute: True saves memory: the kernels are then transformed in every part.
    """
    options: dict[str, bool] = {"trains": trains, "sparing": recompute}
    return CellFilters(prepare(cell.Wx, **options) if _convolves(cell) else None, prepare(cell.Wh, **options))


def unroll_cell(
    cell: nn.Module,
    x: mx.array | None,
    h: mx.array,
    c: mx.array,
    filters: CellFilters | None = None,
    *,
    length: int,
    reverse: bool,
    recompute: bool,
) -> tuple[mx.array, mx.array, mx.array, CellFilters | None]:
    """Returns the hidden states (N, L, H', W', O), the last h and c, and the filters for the next part of the walk.

    Args:
        cell: A `ConvLSTMCell` that the kernels fit.
        x: Input (N, L, H, W, C), or None.
        h, c: States at the start, each (N, H', W', O).
        filters: Result of `prepare_cell`, or of the part before. Default: none, a walk in one part.
        length: Number L of steps.
        reverse: True walks from the last step to the first; not with filters.
        recompute: True computes the gates again in the gradient instead of keeping them.
    """
    x = None if x is None else x.astype(h.dtype)
    Wx = cell.Wx if x is not None and _convolves(cell) else None
    bias = cell.bias if "bias" in cell else mx.zeros(4 * cell.out_channels)
    if x is not None and Wx is None:
        x, bias = cell.project_sequence(x), mx.zeros(4 * cell.out_channels)
    options: dict[str, Any] = {"length": length, "recompute": recompute}
    if filters is None:
        return *unroll(x, h, c, Wx, cell.Wh, bias, cell.peepholes, reverse=reverse, **options), None
    options |= {"kernel_size": cell.recurrent_kernel_size[0]}
    outputs, h, c, *after = unroll_prepared(x, h, c, *filters, bias, cell.peepholes, **options)
    return outputs, h, c, CellFilters(*after)  # type: ignore[arg-type]


def _convolves(cell: nn.Module) -> bool:
    """Returns True if the walk's kernels can also compute the cell's convolution of the input."""
    return bool(cell.in_channels) and cell.keeps_grid and cell.kernel_size == cell.recurrent_kernel_size
