"""A check that the libraries of kernels work with this process's MLX."""

from __future__ import annotations

import sys
from pathlib import Path

from convlstm.ops.cpu.library import Library

import mlx.core as mx


def main(kernels: str, bridge: str) -> None:
    """Ends the process with a message if the libraries do not work."""
    with mx.stream(mx.cpu):
        library = Library(Path(kernels), Path(bridge))
        for shape in ((3,), (2, 5, 7), (2, 6, 5, 3)):
            if not library.finds(mx.zeros(shape)):
                sys.exit("an array was not found in its Python object.")
        for size in (3, 5):
            _convolution(library, size)


def _convolution(library: Library, size: int) -> None:
    """Ends the process with a message if a convolution or its gradient differs from MLX's."""
    keys = mx.random.split(mx.random.key(0), 3)
    shapes = ((2, 6, 5, 3), (4, size, size, 3), (2, 6, 5, 4))
    x, w, dy = (mx.random.normal(shape, key=key) for shape, key in zip(shapes, keys, strict=True))
    numbers = [2, 6, 5, 3, 4, size, 0]

    def native(x: mx.array, w: mx.array) -> mx.array:
        return mx.conv2d(x, w, padding=size // 2)

    (y,), gradients = mx.vjp(native, [x, w], [dy])
    results = library.call("convlstm_convolution", [x, w], [dy.shape], numbers)
    results += library.call("convlstm_convolution_backward", [x, w, dy], [x.shape, w.shape], numbers)
    for name, a, b in zip(("value", "input's gradient", "kernel's gradient"), results, (y, *gradients), strict=True):
        if not mx.allclose(a, b, rtol=1e-3, atol=1e-3).item():
            sys.exit(f"the {name} of a {size}x{size} convolution differs from MLX's.")
