"""The choice of an algorithm by device, type and shape. No other module makes this choice."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from convlstm.ops.cpu.library import UnavailableError, available, library

import mlx.core as mx

# native is MLX's own operation, winograd the kernels of convlstm/ops/cpu; auto takes these on a CPU if they fit.
ALGORITHMS = ("auto", "native", "winograd")
WINOGRAD_KERNELS = (3, 5)

# True inside `without_kernels`.
_kernels_off = False


@contextmanager
def without_kernels() -> Iterator[None]:
    """Makes every layer use MLX's own operations inside the context, whatever its `algorithm` is."""
    global _kernels_off
    before, _kernels_off = _kernels_off, True
    try:
        yield
    finally:
        _kernels_off = before


def on_cpu() -> bool:
    """Returns True if MLX computes on the CPU by default."""
    return mx.default_device() == mx.Device(mx.cpu)


def check_algorithm(owner: str, algorithm: str) -> str:
    """Returns the algorithm; raises ValueError if none has this name."""
    if algorithm not in ALGORITHMS:
        raise ValueError(f"[{owner}] 'algorithm' must be one of {', '.join(ALGORITHMS)} but got {algorithm!r}.")
    return algorithm


def takes_winograd(owner: str, algorithm: str, kernel_size: tuple[int, int], dtype: mx.Dtype) -> bool:
    """Returns True if a convolution with stride 1, 'same' padding and no dilation uses Winograd's algorithm.

    Args:
        owner: Class or function that convolves, for the messages.
        algorithm: One of `ALGORITHMS`.
        kernel_size: Rows and columns of the kernel.
        dtype: Type of the input.

    Raises:
        ValueError: The algorithm is 'winograd', but this kernel size, type or device has none.
        UnavailableError: The algorithm is 'winograd', but the CPU's kernels cannot be built on this machine.
    """
    if _kernels_off:
        return False
    fits = kernel_size[0] == kernel_size[1] and kernel_size[0] in WINOGRAD_KERNELS
    if algorithm == "auto":
        return fits and on_cpu() and dtype == mx.float32 and available() is not None
    if algorithm == "native":
        return False
    reason = None
    if not fits:
        reason = f"a kernel of 3x3 or 5x5 but got {kernel_size[0]}x{kernel_size[1]}"
    elif dtype != mx.float32:
        reason = f"float32 but got {str(dtype).rpartition('.')[2]}"
    elif not on_cpu():
        reason = f"the CPU but MLX's device is {mx.default_device()}"
    if reason is not None:
        raise ValueError(f"[{owner}] algorithm='winograd' needs {reason}. Use algorithm='auto'.")
    try:
        library()
    except UnavailableError as error:
        raise UnavailableError(f"[{owner}] algorithm='winograd' has no kernels here: {error}") from None
    return True


def takes_kernels(algorithm: str, *arrays: mx.array) -> bool:
    """Returns True if an operation other than a convolution uses its kernel of `convlstm.ops.cpu`.

    Every algorithm except 'native' uses it on a CPU, in float32. In all other cases MLX computes the operation.
    """
    return (
        algorithm != "native"
        and not _kernels_off
        and on_cpu()
        and all(a.dtype == mx.float32 for a in arrays)
        and available() is not None
    )
