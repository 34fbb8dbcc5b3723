"""Whether a library of kernels works with the MLX of this process: `python -m convlstm.ops.cpu.check LIBRARY`."""

from __future__ import annotations

import sys
from pathlib import Path

from convlstm.ops.cpu.library import Library

import mlx.core as mx


def main(path: str) -> None:
    with mx.stream(mx.cpu):
        library = Library(Path(path))
        for shape in ((3,), (2, 5, 7), (2, 6, 5, 3)):
            if not library.finds(mx.zeros(shape)):
                sys.exit("an array was not found in its Python object.")
        key = mx.random.key(0)
        x, w = mx.random.normal((2, 6, 5, 3), key=key), mx.random.normal((4, 3, 3, 3), key=key)
        (y,) = library.call("convlstm_convolution", [x, w], [(2, 6, 5, 4)], [2, 6, 5, 3, 4, 3])
        if not mx.allclose(y, mx.conv2d(x, w, padding=1), rtol=1e-4, atol=1e-4).item():
            sys.exit("a convolution differs from MLX's.")


if __name__ == "__main__":
    main(sys.argv[1])
