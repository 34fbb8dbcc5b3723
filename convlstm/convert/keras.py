"""Keras's ConvLSTM2D: layers out of a model's file, `.keras` or `.h5`, or out of its weights', `.weights.h5`."""

from __future__ import annotations

import io
import json
import re
import zipfile
from pathlib import Path
from typing import Any

from convlstm.convert.layouts import SAME, Layout
from convlstm.convert.sources import ConversionError, StateDict

ENDINGS = (".keras", ".h5")
# A ConvLSTM2D's arrays, by their names in older files and by their numbers in newer ones.
PARTS = {"kernel": "Wx", "recurrent_kernel": "Wh", "bias": "bias", "0": "Wx", "1": "Wh", "2": "bias"}
# (kh, kw, C, 4O) and (4O, kh, kw, C); the gates are in our order.
KERNEL = Layout(lambda a: a.transpose(3, 0, 1, 2), lambda a: a.transpose(1, 2, 3, 0))


def read(path: str | Path, *, padding: str = "valid") -> tuple[StateDict, list[dict[str, Any]], list[str]]:
    """The ConvLSTM2D layers of a file.

    Args:
        path: The file.
        padding: Of layers in a file of weights alone, which does not tell: 'valid', Keras's default, or 'same'.

    Returns:
        Arrays `layers.N.cell.Wx`, `Wh` and `bias` as Keras lays them out; the arguments of a `ConvLSTM` for each layer;
        the names of the model's other layers, which are left out.

    Raises:
        ConversionError: The file cannot be read, has no such layers, or they compute what ours do not.
    """
    path = Path(path)
    try:
        import h5py
    except ImportError as error:
        raise ConversionError(
            "files of Keras are read with h5py, which is not installed: pip install 'convlstm[radar]', or h5py alone."
        ) from error
    config: dict[str, Any] | None = None
    arrays: StateDict = {}
    try:
        source: Any = path
        if path.suffix == ".keras":
            with zipfile.ZipFile(path) as archive:
                config = json.loads(archive.read("config.json"))
                source = io.BytesIO(archive.read("model.weights.h5"))
        with h5py.File(source, "r") as file:
            if config is None and "model_config" in file.attrs:
                config = json.loads(file.attrs["model_config"])
            file.visititems(
                lambda name, item: arrays.update({name: item[()]} if isinstance(item, h5py.Dataset) else {})
            )
    except (OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
        raise ConversionError(f"'{path}' cannot be read: {error}.") from error

    cells: dict[str, StateDict] = {}
    for name, array in arrays.items():
        found = re.search(r"(conv_lstm2d\w*|[^/]+)/(?:cell/vars|[^/]*cell|vars)?/?([^/:]+)(?::0)?$", name)
        if found is not None and found[2] in PARTS:
            cells.setdefault(found[1], {})[PARTS[found[2]]] = array
    cells = {name: parts for name, parts in cells.items() if _is_cell(parts)}
    if not cells:
        raise ConversionError(f"'{path}' has no ConvLSTM2D layers.")
    settings = _settings(config)
    order = [name for name in settings if name in cells] or sorted(cells, key=_natural)
    renamed: StateDict = {}
    layers = []
    for n, name in enumerate(order):
        layers.append(_layer(name, cells[name], settings.get(name), padding))
        renamed |= {f"layers.{n}.cell.{part}": array for part, array in cells[name].items()}
    others = {re.split(r"/(?:cell/)?vars/", name)[0].rpartition("/")[2] for name in arrays} if config is None else set()
    left = [name for name in (settings or others) if name not in cells and name not in ("vars",)]
    return renamed, layers, sorted(left) if config is None else left


def _is_cell(parts: StateDict) -> bool:
    if not {"Wx", "Wh"} <= set(parts) or parts["Wx"].ndim != 4 or parts["Wh"].ndim != 4:
        return False
    O = parts["Wh"].shape[2]
    return parts["Wh"].shape[3] == parts["Wx"].shape[3] == 4 * O


def _natural(name: str) -> list[Any]:
    return [int(part) if part.isdigit() else part for part in re.split(r"(\d+)", name)]


def _settings(config: dict[str, Any] | None) -> dict[str, dict[str, Any]]:
    """The layers' settings by name, in the order of the model."""
    if config is None:
        return {}
    layers = config.get("config", {}).get("layers", [])
    return {
        layer["config"]["name"]: layer["config"] | {"class_name": layer["class_name"]}
        for layer in layers
        if layer.get("class_name") != "InputLayer"
    }


def _layer(name: str, parts: StateDict, settings: dict[str, Any] | None, padding: str) -> dict[str, Any]:
    """The arguments of our layer."""
    kh, kw, C, _ = parts["Wx"].shape
    layer: dict[str, Any] = {"in_channels": C, "out_channels": parts["Wh"].shape[2], "kernel_size": [kh, kw]}
    layer |= {"bias": "bias" in parts, "peepholes": False, "padding": padding}
    if settings is None:
        return layer
    for key, expected in (
        ("activation", "tanh"),
        ("recurrent_activation", "sigmoid"),
        ("data_format", "channels_last"),
    ):
        if settings.get(key, expected) != expected:
            raise ConversionError(f"layer '{name}' has {key}={settings[key]!r}, and ours computes {expected!r} alone.")
    layer |= {"padding": settings["padding"], "stride": settings["strides"], "dilation": settings["dilation_rate"]}
    return layer | ({"reverse": True} if settings.get("go_backwards") else {})


class KerasFamily:
    """Arrays as `read` names them."""

    title = "Keras's ConvLSTM2D"
    dead: tuple[str, ...] = ()

    def recognises(self, arrays: StateDict) -> bool:
        return "layers.0.cell.Wx" in arrays

    def unpack(self, arrays: StateDict) -> StateDict:
        return arrays

    def pack(self, arrays: StateDict) -> StateDict:
        return arrays

    def describe(self, arrays: StateDict, options: dict[str, Any]) -> dict[str, Any]:
        return {"_target_": "convlstm.sequence.ConvLSTMSequence", "layers": options["layers"]}

    def theirs(self, name: str, description: dict[str, Any]) -> tuple[str, Layout]:
        return name, SAME if name.endswith("bias") else KERNEL

    def without_use(self, arrays: StateDict) -> StateDict:
        return {}
