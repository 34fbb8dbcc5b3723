"""Checkpoints: a folder with `model.safetensors`, `optimizer.safetensors`, `state.json` and `config.yaml`.

`ema.safetensors` is there too where weights were averaged, and `checksums.json` says what the others must be. A
checkpoint is written beside its place, flushed to the disk and then renamed into it, so that what is found under its
name is whole; that it still is, is verified when it is read.
"""

from convlstm.checkpoints.loading import load, load_weights, read_ema, restore
from convlstm.checkpoints.saving import CheckpointWriteError, save
from convlstm.checkpoints.search import FOLDER, find, run_of
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
    "OPTIMIZER",
    "STATE",
    "CheckpointError",
    "CheckpointWriteError",
    "find",
    "load",
    "load_weights",
    "read_config",
    "read_ema",
    "read_state",
    "restore",
    "run_of",
    "save",
    "seal",
    "verify",
]
