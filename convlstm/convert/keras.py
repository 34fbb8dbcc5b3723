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

    cells = _cells(arrays)
    if not cells:
        raise ConversionError(f"'{path}' has no ConvLSTM2D layers.")
    settings = _settings(config)
    renamed: StateDict = {}
    layers = []
    for n, (name, place) in enumerate(_order(path, list(cells), settings)):
        layers.append(_layer(name, cells[place], settings.get(name), padding))
        renamed |= {f"layers.{n}.cell.{part}": array for part, array in cells[place].items()}
    if settings:
        return renamed, layers, [name for name, layer in settings.items() if layer["class_name"] != "ConvLSTM2D"]
    return renamed, layers, sorted({_place(name).rpartition("/")[2] for name in arrays if _place(name) not in cells})


def _place(name: str) -> str:
    """The layer's place in the file, of one of its arrays' name: 'layers/conv_lstm2d' of '.../cell/vars/0'."""
    groups = name.split("/")[:-1]
    if groups and groups[-1] == "vars":
        groups.pop()
    if groups and re.fullmatch("cell|.*_cell", groups[-1]):
        groups.pop()
    return "/".join(groups)


def _cells(arrays: StateDict) -> dict[str, StateDict]:
    """The arrays of the ConvLSTM2D layers, by their place in the file and by our names, in the file's order."""
    cells: dict[str, StateDict] = {}
    for name, array in arrays.items():
        part = name.rpartition("/")[2].removesuffix(":0")
        if part in PARTS:
            cells.setdefault(_place(name), {})[PARTS[part]] = array
    return {place: cells[place] for place in sorted(cells, key=_natural) if _is_cell(cells[place])}


def _order(path: Path, places: list[str], settings: dict[str, dict[str, Any]]) -> list[tuple[str, str]]:
    """The layers' names and places, in the model's order.

    A `.keras` file has them under their class's name and a number in the model's order, whatever they are called; an
    older one under their own names.
    """
    names = [place.rpartition("/")[2] for place in places]
    if not settings:
        wrapped = [place for place in places if re.search("(^|/)(forward|backward)_|layers/.*layers/", place)]
        found = list(zip(names, places, strict=True))
    else:
        alone = [name for name, layer in settings.items() if layer["class_name"] == "ConvLSTM2D"]
        wrapped = [
            f"{name} ({layer['class_name']})"
            for name, layer in settings.items()
            if name not in alone and '"ConvLSTM2D"' in json.dumps(layer)
        ]
        by_name = dict(zip(names, places, strict=True))
        if path.suffix == ".keras":
            found = list(zip(alone, places, strict=False))
        else:
            found = [(name, by_name[name]) for name in alone if name in by_name]
    if wrapped or len(found) != len(places):
        inside = ", ".join(wrapped) or ", ".join(places)
        raise ConversionError(
            f"'{path}' has ConvLSTM2D layers within others, which are not converted: {inside}. Save a model of the "
            "layers alone."
        )
    return found


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
    inner = config.get("config", {})
    layers = inner if isinstance(inner, list) else inner.get("layers", [])  # a list in files of old
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
    layer["padding"] = settings.get("padding", "valid")
    layer |= {"stride": settings.get("strides", [1, 1]), "dilation": settings.get("dilation_rate", [1, 1])}
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
        return {"_target_": "convlstm.architectures.convlstm_sequence.ConvLSTMSequence", "layers": options["layers"]}

    def theirs(self, name: str, description: dict[str, Any]) -> tuple[str, Layout]:
        return name, SAME if name.endswith("bias") else KERNEL

    def without_use(self, arrays: StateDict) -> StateDict:
        return {}
