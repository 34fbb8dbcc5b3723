"""Keras's ConvLSTM2D layers, from a model's file (`.keras`, `.h5`) or a file of weights (`.weights.h5`)."""

from __future__ import annotations

import io
import json
import re
import zipfile
from pathlib import Path
from typing import Any

from convlstm.backend.hdf5 import check_self_contained
from convlstm.backend.plain_files import parse_json
from convlstm.convert import limits
from convlstm.convert.family import OneToOne, Options
from convlstm.convert.layouts import SAME, Layout
from convlstm.convert.sources import ConversionError, StateDict

ENDINGS = (".keras", ".h5")
# Arrays of a ConvLSTM2D: older files name them, newer ones number them.
PARTS = {"kernel": "Wx", "recurrent_kernel": "Wh", "bias": "bias", "0": "Wx", "1": "Wh", "2": "bias"}
# (kh, kw, C, 4O) and (4O, kh, kw, C); the gates have our order.
KERNEL = Layout(lambda a: a.transpose(3, 0, 1, 2), lambda a: a.transpose(1, 2, 3, 0))


def read(path: str | Path, *, padding: str = "valid") -> tuple[StateDict, list[dict[str, Any]], list[str]]:
    """Reads the ConvLSTM2D layers of a file.

    Args:
        path: The file.
        padding: Padding of the layers in a file of weights, which does not contain it: 'valid', Keras's default, or
            'same'. Default: 'valid'.

    Returns:
        Arrays `layers.N.cell.Wx`, `Wh` and `bias` in Keras's layout; the arguments of a `ConvLSTM` for each layer; the
        names of the model's other layers, which are left out.

    Raises:
        ConversionError: The file cannot be read, has no such layers, or they compute something that ours cannot.
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
        limits.check_file(path)
        source: Any = path
        if path.suffix == ".keras":
            with zipfile.ZipFile(path) as archive:
                config = parse_json(_part(path, archive, "config.json", limits.MOST_SETTINGS))
                source = io.BytesIO(_part(path, archive, "model.weights.h5"))
        with h5py.File(source, "r") as file:
            check_self_contained(file)
            if config is None and "model_config" in file.attrs:
                config = parse_json(_model_config(file.attrs))
            datasets: dict[str, Any] = {}
            file.visititems(lambda name, item: datasets.update({name: item} if isinstance(item, h5py.Dataset) else {}))
            cell_names = {name for name in datasets if name.rpartition("/")[2].removesuffix(":0") in PARTS}
            limits.check_bytes(path, sum(datasets[name].nbytes for name in cell_names))
            for name in cell_names:
                limits.check_numbers(name, datasets[name].dtype)
            arrays = {name: datasets[name][()] for name in cell_names}
            groups = {_group(name) for name in datasets}
        settings = _settings(config)
    except (*limits.DAMAGED, ValueError, KeyError, AttributeError, TypeError) as error:
        raise ConversionError(f"'{path}' cannot be read: {error}.") from error

    cells = _cells(arrays)
    if not cells:
        raise ConversionError(f"'{path}' has no ConvLSTM2D layers.")
    renamed: StateDict = {}
    layers = []
    for n, (name, group) in enumerate(_order(path, list(cells), settings)):
        layers.append(_layer(name, cells[group], settings.get(name), padding))
        renamed |= {f"layers.{n}.cell.{part}": array for part, array in cells[group].items()}
    if settings:
        return renamed, layers, [name for name, layer in settings.items() if layer["class_name"] != "ConvLSTM2D"]
    return renamed, layers, sorted({group.rpartition("/")[2] for group in groups if group not in cells})


def _part(path: Path, archive: zipfile.ZipFile, name: str, most: int | None = None) -> bytes:
    """Returns a part of a `.keras` file, or raises ValueError if it is missing or too large."""
    if name not in archive.namelist():
        raise ValueError(f"it has no part {name!r}")
    part = archive.getinfo(name)
    limits.check_parts(path, [part])
    if most is not None and part.file_size > most:
        raise ValueError(f"its part {name!r} has {part.file_size:,} bytes, more than {most:,}")
    return archive.read(part)


def _model_config(attributes: Any) -> str | bytes:
    """Returns the settings in a file of older Keras, or raises ValueError if they are no single text."""
    if attributes.get_id("model_config").shape == () and isinstance(text := attributes["model_config"], str | bytes):
        return text
    raise ValueError("its settings (model_config) are no text")


def _group(name: str) -> str:
    """Returns the group of a layer in the file from an array's name: 'layers/conv_lstm2d' of '.../cell/vars/0'."""
    groups = name.split("/")[:-1]
    if groups and groups[-1] == "vars":
        groups.pop()
    if groups and re.fullmatch("cell|.*_cell", groups[-1]):
        groups.pop()
    return "/".join(groups)


def _cells(arrays: StateDict) -> dict[str, StateDict]:
    """Returns the arrays of the ConvLSTM2D layers, by group and by our names, in the file's order."""
    cells: dict[str, StateDict] = {}
    for name, array in arrays.items():
        part = name.rpartition("/")[2].removesuffix(":0")
        if part in PARTS:
            cells.setdefault(_group(name), {})[PARTS[part]] = array
    return {group: cells[group] for group in sorted(cells, key=_natural) if _is_cell(cells[group])}


def _order(path: Path, groups: list[str], settings: dict[str, dict[str, Any]]) -> list[tuple[str, str]]:
    """Returns the layers' names and groups, in the model's order.

    In a `.keras` file a group has the name of the class and a number in the model's order. In an older file it has the
    layer's own name.
    """
    names = [group.rpartition("/")[2] for group in groups]
    if not settings:
        wrapped = [group for group in groups if re.search("(^|/)(forward|backward)_|layers/.*layers/", group)]
        ordered = list(zip(names, groups, strict=True))
    else:
        top_level = [name for name, layer in settings.items() if layer["class_name"] == "ConvLSTM2D"]
        wrapped = [
            f"{name} ({layer['class_name']})"
            for name, layer in settings.items()
            if name not in top_level and '"ConvLSTM2D"' in json.dumps(layer)
        ]
        by_name = dict(zip(names, groups, strict=True))
        if path.suffix == ".keras":
            ordered = list(zip(top_level, groups, strict=False))
        else:
            ordered = [(name, by_name[name]) for name in top_level if name in by_name]
    if wrapped or len(ordered) != len(groups):
        inside = ", ".join(wrapped) or ", ".join(groups)
        raise ConversionError(
            f"'{path}' has ConvLSTM2D layers within others, which are not converted: {inside}. Save a model of "
            "the layers alone."
        )
    return ordered


def _is_cell(parts: StateDict) -> bool:
    if not {"Wx", "Wh"} <= set(parts) or parts["Wx"].ndim != 4 or parts["Wh"].ndim != 4:
        return False
    O = parts["Wh"].shape[2]
    return parts["Wh"].shape[3] == parts["Wx"].shape[3] == 4 * O


def _natural(name: str) -> list[Any]:
    parts = re.split("([0-9]+)", name)
    # Every second part is a number, compared by its length first, since it may have any.
    return [(len(part.lstrip("0")), part.lstrip("0")) if n % 2 else part for n, part in enumerate(parts)]


def _settings(config: dict[str, Any] | None) -> dict[str, dict[str, Any]]:
    """Returns the layers' settings by name, in the model's order."""
    if config is None:
        return {}
    if not isinstance(config, dict):
        raise ValueError("its settings describe no model")
    inner = config.get("config", {})
    layers = inner if isinstance(inner, list) else inner.get("layers", [])  # a list in old files
    return {
        layer["config"]["name"]: layer["config"] | {"class_name": layer["class_name"]}
        for layer in layers
        if layer.get("class_name") != "InputLayer"
    }


def _layer(name: str, parts: StateDict, settings: dict[str, Any] | None, padding: str) -> dict[str, Any]:
    """Returns the arguments of our layer."""
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
            raise ConversionError(f"layer '{name}' has {key}={settings[key]!r}, but ours computes only {expected!r}.")
    layer["padding"] = settings.get("padding", "valid")
    layer |= {"stride": settings.get("strides", [1, 1]), "dilation": settings.get("dilation_rate", [1, 1])}
    return layer | ({"reverse": True} if settings.get("go_backwards") else {})


class KerasFamily(OneToOne):
    """ConvLSTM2D layers, with the names that `read` gives their arrays."""

    title = "Keras's ConvLSTM2D"

    def recognises(self, arrays: StateDict) -> bool:
        return "layers.0.cell.Wx" in arrays

    def describe(self, arrays: StateDict, options: Options) -> dict[str, Any]:
        return {"_target_": "convlstm.architectures.convlstm_sequence.ConvLSTMSequence", "layers": options["layers"]}

    def theirs(self, name: str, description: dict[str, Any]) -> tuple[str, Layout]:
        return name, SAME if name.endswith("bias") else KERNEL
