"""Keras's ConvLSTM2D layers, from a model's file (`.keras`, `.h5`) or a file of weights (`.weights.h5`)."""

from __future__ import annotations

import io
import re
import zipfile
from pathlib import Path
from typing import Any

from convlstm.backend.hdf5 import check_self_contained
from convlstm.backend.plain_files import parse_json
from convlstm.convert import limits
from convlstm.convert.family import OneToOne, Options
from convlstm.convert.keras_settings import RecurrentLayer, entries, name_of, recurrent_layers
from convlstm.convert.keras_settings import arguments as arguments_of
from convlstm.convert.layouts import SAME, Layout
from convlstm.convert.sources import ConversionError, StateDict, path_of
from convlstm.ops.cell_activations import USUAL, check_activation

ENDINGS = (".keras", ".h5")
# Arrays of a ConvLSTM2D: older files name them, newer ones number them.
PARTS = {"kernel": "Wx", "recurrent_kernel": "Wh", "bias": "bias", "0": "Wx", "1": "Wh", "2": "bias"}
# Classes of layers, and the names of their groups in newer files.
SNAKE = {"ConvLSTM2D": "conv_lstm2d", "Bidirectional": "bidirectional"}
# (kh, kw, C, 4O) and (4O, kh, kw, C); the gates have our order.
KERNEL = Layout(lambda a: a.transpose(3, 0, 1, 2), lambda a: a.transpose(1, 2, 3, 0))


def read(
    path: str | Path, *, padding: str = "valid", activation: str | None = None, recurrent_activation: str | None = None
) -> tuple[StateDict, list[dict[str, Any]], list[str]]:
    """Reads the ConvLSTM2D layers of a file.

    Args:
        path: The file.
        padding: Padding of the layers in a file of weights, which does not contain it: 'valid', Keras's default, or
            'same'. Default: 'valid'.
        activation, recurrent_activation: Activations of the layers in a file of weights, which does not contain them,
            by our names. Default: none; such a file is then refused.

    Returns:
        Arrays `layers.N.cell.Wx`, `Wh` and `bias` (`layers.N.other_cell...` for a second direction) in Keras's layout;
        the arguments of a `ConvLSTM` for each layer, in the order in which data pass them; the names of the model's
        other layers, which are left out.

    Raises:
        ConversionError: The file cannot be read, has no such layers, they are no chain, or they compute something that
            ours cannot.
    """
    path = path_of("read", path)
    try:
        import h5py
    except ImportError as error:
        raise ConversionError(
            "files of Keras are read with h5py, which is not installed: pip install 'convlstm[radar]', or h5py alone."
        ) from error
    config: dict[str, Any] | None = None
    version: str | None = None
    order: list[str] = []
    arrays: StateDict = {}
    try:
        limits.check_file(path)
        source: Any = path
        if path.suffix == ".keras":
            with zipfile.ZipFile(path) as archive:
                config = parse_json(_part(path, archive, "config.json", limits.MOST_SETTINGS))
                if "metadata.json" in archive.namelist():
                    written_by = parse_json(_part(path, archive, "metadata.json", limits.MOST_SETTINGS))
                    version = str(written_by["keras_version"]) if "keras_version" in written_by else None
                source = io.BytesIO(_part(path, archive, "model.weights.h5"))
        with h5py.File(source, "r") as file:
            check_self_contained(file)
            if config is None and "model_config" in file.attrs:
                config = parse_json(_text(file.attrs, "model_config"))
            if version is None and "keras_version" in file.attrs:
                version = str(_text(file.attrs, "keras_version"))
            order = _layer_names(file)
            datasets: dict[str, Any] = {}
            file.visititems(lambda name, item: datasets.update({name: item} if isinstance(item, h5py.Dataset) else {}))
            cell_names = {name for name in datasets if name.rpartition("/")[2].removesuffix(":0") in PARTS}
            limits.check_bytes(path, sum(datasets[name].nbytes for name in cell_names))
            for name in cell_names:
                limits.check_numbers(name, datasets[name].dtype)
            arrays = {name: datasets[name][()] for name in cell_names}
            groups = {_group(name) for name in datasets}
        described = entries(config)
        cells = _cells(arrays)
        if not cells:
            raise ConversionError(f"'{path}' has no ConvLSTM2D layers.")
        if described:
            layers = recurrent_layers(described)
            of_layers = [_groups_of(layer, list(cells), by_number=path.suffix == ".keras") for layer in layers]
        else:
            of_layers = [[group] for group in _in_file_order(list(cells), order)]
            options = _given(padding, activation, recurrent_activation)
    except (ConversionError, *limits.DAMAGED, ValueError, KeyError, AttributeError, TypeError) as error:
        if isinstance(error, ConversionError):
            raise ConversionError(str(error) if str(path) in str(error) else f"'{path}': {error}") from error
        raise ConversionError(f"'{path}' cannot be read: {error}.") from error

    missed = sorted(set(cells) - {group for of_layer in of_layers for group in of_layer})
    if missed:
        raise ConversionError(f"'{path}' has ConvLSTM2D layers that its settings do not describe: {', '.join(missed)}.")
    renamed: StateDict = {}
    result = []
    reverse = False
    for n, of_layer in enumerate(of_layers):
        parts = cells[of_layer[0]]
        if described:
            # After a backward layer, Keras's sequences run against time, so the next forward layer does, too.
            reverse ^= bool(layers[n].settings.get("go_backwards"))
            options = arguments_of(layers[n], reverse=reverse, version=version, hard_sigmoid=recurrent_activation)
        result.append(_shape(parts) | options)
        for cell, group in zip(("cell", "other_cell"), of_layer, strict=False):
            renamed |= {f"layers.{n}.{cell}.{part}": array for part, array in cells[group].items()}
    if described:
        recurrent = {layer.name for layer in layers}
        return renamed, result, [name_of(entry) for entry in described if name_of(entry) not in recurrent]
    return renamed, result, sorted({group.rpartition("/")[2] for group in groups if group not in cells})


def reversed_at_the_end(layers: list[dict[str, Any]]) -> bool:
    """Returns True if Keras's outputs of these layers run against time. Ours are always in the order of the input."""
    return bool(layers and layers[-1].get("reverse") and layers[-1].get("return_sequences", True))


def _part(path: Path, archive: zipfile.ZipFile, name: str, most: int | None = None) -> bytes:
    """Returns a part of a `.keras` file, or raises ValueError if it is missing or too large."""
    if name not in archive.namelist():
        raise ValueError(f"it has no part {name!r}")
    part = archive.getinfo(name)
    limits.check_parts(path, [part])
    if most is not None and part.file_size > most:
        raise ValueError(f"its part {name!r} has {part.file_size:,} bytes, more than {most:,}")
    return archive.read(part)


def _text(attributes: Any, name: str) -> str | bytes:
    """Returns an attribute of a file of older Keras, or raises ValueError if it is no single text."""
    if attributes.get_id(name).shape == () and isinstance(text := attributes[name], str | bytes):
        return text.decode() if name != "model_config" and isinstance(text, bytes) else text
    raise ValueError(f"its settings ({name}) are no text")


def _layer_names(file: Any) -> list[str]:
    """Returns the names of the layers in a file of older Keras, in the model's order; none in other files."""
    for group in (file.get("model_weights"), file):
        names = None if group is None else group.attrs.get("layer_names")
        if names is not None:
            return [name.decode() if isinstance(name, bytes) else str(name) for name in names]
    return []


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


def _owner(group: str) -> str:
    """Returns the name in the file of the model's layer that a group belongs to."""
    parts = group.split("/")
    return parts[1] if parts[0] in ("model_weights", "layers") and len(parts) > 1 else parts[0]


def _groups_of(layer: RecurrentLayer, groups: list[str], *, by_number: bool) -> list[str]:
    """Returns the groups of a layer's cells: one, or those of both directions, the forward one first.

    In a `.keras` file a group has the name of the class and a number in the file's order of layers. In an older file it
    has the layer's own name.
    """
    owner = layer.name
    if by_number:
        owner = SNAKE[layer.kind] + (f"_{layer.number}" if layer.number else "")
    ours = [group for group in groups if _owner(group) == owner]
    if layer.kind == "Bidirectional":
        ours.sort(key=lambda group: group.rpartition("/")[2].startswith("backward_"))
    wanted = 2 if layer.kind == "Bidirectional" else 1
    if len(ours) != wanted:
        raise ValueError(f"layer {layer.name!r} has {len(ours)} sets of arrays in place of {wanted}")
    return ours


def _in_file_order(groups: list[str], order: list[str]) -> list[str]:
    """Returns the groups of a file of weights in the model's order, if it says so, else by their numbers."""
    wrapped = [group for group in groups if re.search("(^|/)(forward|backward)_|layers/.*layers/", group)]
    owners = [_owner(group) for group in groups]
    if wrapped or len(set(owners)) < len(owners):
        raise ConversionError(
            f"it has ConvLSTM2D layers within others, which are not converted: {', '.join(wrapped or groups)}. Save a "
            "model of the layers alone, or the whole model (.keras)."
        )
    if not order:
        return groups
    if unknown := [owner for owner in owners if owner not in order]:
        raise ValueError(f"its layer_names lack {', '.join(unknown)}")
    return sorted(groups, key=lambda group: order.index(_owner(group)))


def _given(padding: str, activation: str | None, recurrent_activation: str | None) -> dict[str, Any]:
    """Returns the arguments of layers in a file of weights, which has no settings."""
    if activation is None or recurrent_activation is None:
        raise ConversionError(
            "it holds weights without settings, so it does not say which activations the layers have. Give "
            "--activation tanh --recurrent-activation sigmoid, the defaults of Keras 3, or hard_sigmoid_keras2, that "
            "of Keras 2, or save the whole model (.keras)."
        )
    for name, value in (("activation", activation), ("recurrent_activation", recurrent_activation)):
        check_activation("convert", name, value)
    named = {"state_activation": activation, "recurrent_activation": recurrent_activation}
    usual = dict(zip(named, USUAL, strict=True))
    return {"padding": padding} | {key: value for key, value in named.items() if value != usual[key]}


def _is_cell(parts: StateDict) -> bool:
    if not {"Wx", "Wh"} <= set(parts) or parts["Wx"].ndim != 4 or parts["Wh"].ndim != 4:
        return False
    O = parts["Wh"].shape[2]
    return parts["Wh"].shape[3] == parts["Wx"].shape[3] == 4 * O


def _natural(name: str) -> list[Any]:
    parts = re.split("([0-9]+)", name)
    # Every second part is a number, compared by its length first, since it may have any.
    return [(len(part.lstrip("0")), part.lstrip("0")) if n % 2 else part for n, part in enumerate(parts)]


def _shape(parts: StateDict) -> dict[str, Any]:
    """Returns the arguments of our layer that follow from its arrays."""
    kh, kw, C, _ = parts["Wx"].shape
    layer: dict[str, Any] = {"in_channels": C, "out_channels": parts["Wh"].shape[2], "kernel_size": [kh, kw]}
    layer |= {"bias": "bias" in parts, "peepholes": False}
    return layer | ({} if kh % 2 == kw % 2 == 1 else {"even_kernels": True})


class KerasFamily(OneToOne):
    """ConvLSTM2D layers, with the names that `read` gives their arrays."""

    title = "Keras's ConvLSTM2D"

    def recognises(self, arrays: StateDict) -> bool:
        return "layers.0.cell.Wx" in arrays

    def describe(self, arrays: StateDict, options: Options) -> dict[str, Any]:
        return {"_target_": "convlstm.architectures.convlstm_sequence.ConvLSTMSequence", "layers": options["layers"]}

    def theirs(self, name: str, description: dict[str, Any]) -> tuple[str, Layout]:
        return name, SAME if name.endswith("bias") else KERNEL
