"""Which convolution is taken: the one place where device, type and shape decide it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from convlstm.ops.cpu.library import UnavailableError, available, library

import mlx.core as mx

# auto: 'winograd' where it fits, on a CPU; native: MLX's own; winograd: convlstm/ops/cpu.
ALGORITHMS = ("auto", "native", "winograd")
WINOGRAD_KERNELS = (3, 5)


_plain = False


@contextmanager
def without_kernels() -> Iterator[None]:
    """Meanwhile MLX's own operations compute everything, whatever algorithm a layer has."""
    global _plain
    before, _plain = _plain, True
    try:
        yield
    finally:
        _plain = before


def on_cpu() -> bool:
    """Whether arrays are computed on the CPU."""
    return mx.default_device() == mx.Device(mx.cpu)


def check_algorithm(owner: str, algorithm: str) -> str:
    """The algorithm; ValueError where there is none of that name."""
    if algorithm not in ALGORITHMS:
        raise ValueError(f"[{owner}] 'algorithm' must be one of {', '.join(ALGORITHMS)} but got {algorithm!r}.")
    return algorithm


def takes_winograd(owner: str, algorithm: str, kernel_size: tuple[int, int], dtype: mx.Dtype) -> bool:
    """Whether a convolution with stride 1, 'same' padding and no dilation is Winograd's.

    Args:
        owner: Who asks, for the errors.
        algorithm: One of `ALGORITHMS`.
        kernel_size: Rows and columns of the kernel.
        dtype: Of the input.

    Raises:
        ValueError: 'winograd' is asked for and cannot be had for this kernel, type or device.
        UnavailableError: The kernels of the CPU cannot be built here.
    """
    if _plain:
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
    """Whether an operation other than a convolution has its kernel of `convlstm.ops.cpu` compute it.

    Only 'native' does without them. Where they do not fit, as on GPUs and for other types than float32, MLX computes it
    whichever algorithm was asked for.
    """
    return (
        algorithm != "native"
        and not _plain
        and on_cpu()
        and all(a.dtype == mx.float32 for a in arrays)
        and available() is not None
    )
