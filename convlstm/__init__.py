"""ConvLSTM forecasters on MLX: video in, video out.

On Linux CPUs import this package before `mlx`: it loads a fast BLAS, which MLX looks for at its first import.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from convlstm.backend.allocator import keep_freed_memory
from convlstm.backend.blas import load_fast_blas
from convlstm.backend.private_folder import compile_privately

keep_freed_memory()
load_fast_blas()
compile_privately()

if TYPE_CHECKING:
    from convlstm.checkpoints import load
    from convlstm.forecasting.forecaster import Forecaster
    from convlstm.layers import ConvLSTM, ConvLSTMCell
    from convlstm.models import EncoderForecaster
    from convlstm.xarrays.archive import open_archive
    from convlstm.xarrays.scoring import members_and_truth

__version__ = "0.1.0"
__all__ = [
    "ConvLSTM",
    "ConvLSTMCell",
    "EncoderForecaster",
    "Forecaster",
    "__version__",
    "load",
    "members_and_truth",
    "open_archive",
]

# The module of each public name. It is imported at the name's first use, so that `import convlstm` stays light.
_MODULES = {
    "ConvLSTM": "convlstm.layers",
    "ConvLSTMCell": "convlstm.layers",
    "EncoderForecaster": "convlstm.models",
    "Forecaster": "convlstm.forecasting.forecaster",
    "load": "convlstm.checkpoints",
    "members_and_truth": "convlstm.xarrays.scoring",
    "open_archive": "convlstm.xarrays.archive",
}


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module 'convlstm' has no attribute '{name}'")
    value = getattr(import_module(_MODULES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(globals().keys() | _MODULES.keys())
