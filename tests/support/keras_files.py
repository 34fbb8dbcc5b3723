"""Files of weights as Keras writes them."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np


def keras_file(
    path: Path,
    rng: np.random.Generator,
    layers: Sequence[tuple[int, int, int]],
    form: str,
    names: Sequence[str] | None = None,
    **settings: Any,
) -> list[list[np.ndarray]]:
    """Writes a file as Keras does, with a batch normalization after the first ConvLSTM2D, and returns their arrays.

    Args:
        path: The file.
        rng: Source of the weights.
        layers: Input channels, output channels and kernel size of each layer.
        form: ".h5", ".keras" or ".weights.h5".
        names: Names of the layers. Default: those of Keras.
        **settings: Settings of all layers that differ from the usual ones.
    """
    import h5py

    numbered = ["conv_lstm2d" + (f"_{n}" if n else "") for n in range(len(layers))]
    names = numbered if names is None else names
    cells = [
        [rng.normal(0, 0.3, s).astype(np.float32) for s in ((k, k, C, 4 * O), (k, k, O, 4 * O), (4 * O,))]
        for C, O, k in layers
    ]
    common: dict[str, Any] = {
        "padding": "same",
        "strides": [1, 1],
        "dilation_rate": [1, 1],
        "data_format": "channels_last",
    }
    common |= {"activation": "tanh", "recurrent_activation": "sigmoid", "go_backwards": False} | settings
    described: list[dict[str, Any]] = [
        {"class_name": "ConvLSTM2D", "config": {"name": name} | common} for name in names
    ]
    described.insert(1, {"class_name": "BatchNormalization", "config": {"name": "batch_normalization"}})
    config = {
        "class_name": "Sequential",
        "config": {"layers": [{"class_name": "InputLayer", "config": {}}, *described]},
    }
    buffer = io.BytesIO()
    with h5py.File(buffer, "w") as file:
        for name, number, cell in zip(names, numbered, cells, strict=True):
            for n, part in enumerate(("kernel", "recurrent_kernel", "bias")):
                old = f"model_weights/{name}/sequential/{name}/conv_lstm_cell/{part}"
                file[old if form == ".h5" else f"layers/{number}/cell/vars/{n}"] = cell[n]
        norm = "batch_normalization"
        for n, part in enumerate(("gamma", "beta")):
            file[f"model_weights/{norm}/{norm}/{part}" if form == ".h5" else f"layers/{norm}/vars/{n}"] = np.ones(3)
        if form == ".h5":
            file.attrs["model_config"] = json.dumps(config)
    if form == ".keras":
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("config.json", json.dumps(config))
            archive.writestr("model.weights.h5", buffer.getvalue())
    else:
        path.write_bytes(buffer.getvalue())
    return cells
