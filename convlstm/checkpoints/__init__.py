"""Checkpoints: folders with `model.safetensors`, `optimizer.safetensors`, `state.json` and `config.yaml`.

A run with averaged weights also has `ema.safetensors`. `checksums.json` lists the size and SHA-256 of the other files.
A checkpoint is written to a temporary folder, flushed to the disk and then renamed, so a folder with its final name is
complete. Reading verifies that it has not changed since.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from convlstm.checkpoints.build import TRUSTED, UntrustedTargetError
    from convlstm.checkpoints.loading import Loaded, load, load_all, load_weights, read_ema, read_maps, restore
    from convlstm.checkpoints.saving import CheckpointWriteError, save
    from convlstm.checkpoints.search import FOLDER, NOWCAST, find, name_of, packaged, results_of, run_of
    from convlstm.checkpoints.verification import (
        CHECKSUMS,
        CONFIG,
        EMA,
        FILES,
        MODEL,
        OPTIMIZER,
        STATE,
        CheckpointError,
        read_config,
        read_state,
        seal,
        verify,
    )

__all__ = [
    "CHECKSUMS",
    "CONFIG",
    "EMA",
    "FILES",
    "FOLDER",
    "MODEL",
    "NOWCAST",
    "OPTIMIZER",
    "STATE",
    "TRUSTED",
    "CheckpointError",
    "CheckpointWriteError",
    "Loaded",
    "UntrustedTargetError",
    "find",
    "load",
    "load_all",
    "load_weights",
    "name_of",
    "packaged",
    "read_config",
    "read_ema",
    "read_maps",
    "read_state",
    "restore",
    "results_of",
    "run_of",
    "save",
    "seal",
    "verify",
]

_MODULES = ("search", "verification", "build", "loading", "saving")


def __getattr__(name: str) -> Any:
    # Imported on first use, so that a list of runs, which only needs `old_names`, does not load MLX.
    if name in __all__:
        for module in _MODULES:
            contents = vars(import_module(f"{__name__}.{module}"))
            if name in contents:
                globals()[name] = contents[name]
                return contents[name]
    raise AttributeError(f"module '{__name__}' has no attribute '{name}'")
