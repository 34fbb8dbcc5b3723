"""The choice of what `mx.compile` compiles. No other module of the models, the training or the evaluation calls it.

It fuses element-wise operations. On a CPU it starts g++ for each fused function that it has never seen, which takes
about half a second, and a training step of any model has a dozen of them. Where our kernels compute the gates, the
norms and the activations, fusing the rest gains nothing: a step takes the same time without.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any

from convlstm.backend.jit import before_compiling
from convlstm.ops.algorithm import on_cpu
from convlstm.ops.cpu.library import UnavailableError, library

import mlx.core as mx


def whole(function: Callable, inputs: Any = None, outputs: Any = None) -> Callable:
    """Returns a whole step or forecast as one compiled function, or the function itself where that gains nothing.

    Args:
        function: A function of arrays.
        inputs: Arrays that it reads beside its arguments, in dicts and lists. Default: none.
        outputs: Arrays that it writes beside its results, in dicts and lists. Default: none.
    """
    if on_cpu():
        if _has_kernels():
            return function
        before_compiling()
    return mx.compile(function, inputs=inputs, outputs=outputs)


def on_gpus(equations: Callable) -> Callable:
    """Decorates equations that are compiled where `whole` would compile a step."""
    compiled = mx.compile(equations)

    @wraps(equations)
    def run(*arrays: Any) -> Any:
        if on_cpu():
            if _has_kernels():
                return equations(*arrays)
            before_compiling()
        return compiled(*arrays)

    return run


def elementwise(equations: Callable) -> Callable:
    """Returns equations as a compiled function on every device: those of layers that no kernel fits."""
    compiled = mx.compile(equations)

    @wraps(equations)
    def run(*arrays: Any) -> Any:
        before_compiling()
        return compiled(*arrays)

    return run


def _has_kernels() -> bool:
    try:
        library()
    except UnavailableError:
        return False
    return True
