"""The settings of Keras's ConvLSTM2D layers, as arguments of our layers, in the order in which data pass them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from convlstm.convert.sources import ConversionError
from convlstm.ops.cell_activations import CELL_ACTIVATIONS

Entry = dict[str, Any]

MERGES = {"concat": "concat", "sum": "sum", "mul": "mul", "ave": "ave"}


@dataclass(frozen=True)
class RecurrentLayer:
    """A ConvLSTM2D of a model, or a Bidirectional of one.

    Attributes:
        name: Its name.
        kind: Class of the outer layer, 'ConvLSTM2D' or 'Bidirectional'.
        number: Its number among all layers of its class, in the order of the file.
        settings: Settings of the ConvLSTM2D.
        merge: Combination of the two directions; None for one direction.
    """

    name: str
    kind: str
    number: int
    settings: dict[str, Any]
    merge: str | None = None


def entries(config: Any) -> list[Entry]:
    """Returns the descriptions of a model's layers, without its inputs, in the order of the file."""
    if config is None:
        return []
    if not isinstance(config, dict):
        raise ValueError("its settings describe no model")
    inner = config.get("config", {})
    layers = inner if isinstance(inner, list) else inner.get("layers", [])  # a list in old files
    return [layer for layer in layers if layer.get("class_name") != "InputLayer"]


def name_of(entry: Entry) -> str:
    """Returns the name of a layer."""
    return str(entry["config"]["name"])


def recurrent_layers(layers: list[Entry]) -> list[RecurrentLayer]:
    """Returns the ConvLSTM2D layers in the order in which data pass them.

    Raises:
        ConversionError: They are no chain, or one is inside a layer other than Bidirectional.
    """
    counts: dict[str, int] = {}
    found: dict[str, RecurrentLayer] = {}
    wrapped = []
    for entry in layers:
        kind, name = str(entry["class_name"]), name_of(entry)
        number = counts[kind] = counts.get(kind, -1) + 1
        inner = entry["config"].get("layer") or {}
        if kind == "ConvLSTM2D":
            found[name] = RecurrentLayer(name, kind, number, entry["config"])
        elif kind == "Bidirectional" and inner.get("class_name") == "ConvLSTM2D":
            found[name] = RecurrentLayer(name, kind, number, inner["config"], _merge(name, entry["config"]))
        elif any(part.get("class_name") == "ConvLSTM2D" for part in _mappings(entry["config"])):
            wrapped.append(f"{name} ({kind})")
    if wrapped:
        raise ConversionError(
            f"it has ConvLSTM2D layers within others, which are not converted: {', '.join(wrapped)}. Save a model of "
            "the layers alone."
        )
    ordered = _chain(layers, found)
    for layer in ordered[:-1]:
        if layer.settings.get("return_sequences", True) is False:
            raise ConversionError(
                f"layer '{layer.name}' has return_sequences=False, but layers follow that need all its steps. Save "
                "each part on its own."
            )
    return ordered


def _merge(name: str, settings: Mapping[str, Any]) -> str:
    merge = settings.get("merge_mode", "concat")
    if merge not in MERGES:
        raise ConversionError(f"layer '{name}' has merge_mode={merge!r}, but ours has {', '.join(MERGES)}.")
    back = (settings.get("backward_layer") or {}).get("config", {})
    front = settings["layer"]["config"]
    if front.get("go_backwards"):
        raise ConversionError(f"layer '{name}' is Bidirectional with go_backwards=True, which ours cannot be.")
    own = ("name", "go_backwards", "seed")
    if back and (differing := [k for k in front if k in back and k not in own and _differ(front[k], back[k])]):
        raise ConversionError(
            f"layer '{name}' has directions of different settings ({', '.join(differing)}), but ours are alike."
        )
    return merge


def _differ(one: Any, other: Any) -> bool:
    """Returns True if two settings differ; descriptions of initial weights and the like do not count."""
    return not isinstance(one, dict) and one != other


def _chain(layers: list[Entry], found: dict[str, RecurrentLayer]) -> list[RecurrentLayer]:
    """Returns the layers in the order of the data; raises ConversionError if they are no chain."""
    if not any(entry.get("inbound_nodes") for entry in layers):
        return list(found.values())  # a sequential model
    by_name = {name_of(entry): entry for entry in layers}
    before: dict[str | None, str] = {}
    for name in found:
        above: str | None = name
        for _ in range(len(layers) + 1):  # a damaged file may have a circle
            sources = _sources(by_name[above]) if above in by_name else []
            if above in by_name and len(sources) != 1:
                raise _branch(str(above), f"is called with {len(sources)} tensors")
            above = sources[0] if sources else None
            if above is None or above in found:
                break
        if above in before:
            raise _branch(name, f"and layer '{before[above]}' read the same data")
        before[above] = name
    ordered: list[RecurrentLayer] = []
    following = before.get(None)
    while following is not None:
        ordered.append(found[following])
        following = before.get(following)
    return ordered


def _sources(entry: Entry) -> list[str]:
    """Returns the names of the layers that a layer reads, one for each tensor."""
    return list(_tensors(entry.get("inbound_nodes") or []))


def _tensors(node: Any) -> Iterator[str]:
    """Yields the layers of all tensors in a description of calls, of Keras 2 or of Keras 3."""
    if isinstance(node, dict):
        if node.get("class_name") == "__keras_tensor__":
            yield str(node["config"]["keras_history"][0])
        else:
            for part in node.values():
                yield from _tensors(part)
    elif isinstance(node, list):
        if len(node) >= 3 and isinstance(node[0], str) and all(type(n) is int for n in node[1:3]):
            yield node[0]
            node = node[3:]
        for part in node:
            yield from _tensors(part)


def _mappings(node: Any) -> Iterator[dict[str, Any]]:
    """Yields all mappings inside a description."""
    if isinstance(node, dict):
        yield node
    for part in node.values() if isinstance(node, dict) else node if isinstance(node, list) else ():
        yield from _mappings(part)


def _branch(name: str, why: str) -> ConversionError:
    return ConversionError(
        f"its layers are no chain: layer '{name}' {why}. Only layers that follow each other are converted. Save each "
        "chain as a model of its own."
    )


def arguments(layer: RecurrentLayer, *, reverse: bool, version: str | None, hard_sigmoid: str | None) -> dict[str, Any]:
    """Returns the arguments of our layer that follow from the settings.

    Args:
        layer: The layer.
        reverse: True if our layer walks against time: Keras's backward layers also reverse what follows them.
        version: Version of Keras that wrote the file, if it says so: `hard_sigmoid` depends on it.
        hard_sigmoid: Our name of `hard_sigmoid` if the version is unknown.

    Raises:
        ConversionError: The layer computes something that ours cannot.
    """
    settings, name = layer.settings, layer.name
    if settings.get("data_format", "channels_last") != "channels_last":
        raise ConversionError(
            f"layer '{name}' has data_format={settings['data_format']!r}, but ours computes only 'channels_last'."
        )
    result: dict[str, Any] = {
        "padding": settings.get("padding", "valid"),
        "stride": settings.get("strides", [1, 1]),
        "dilation": settings.get("dilation_rate", [1, 1]),
    }
    for ours, theirs, default in (
        ("state_activation", "activation", "tanh"),
        ("recurrent_activation", "recurrent_activation", "sigmoid"),
    ):
        value = _activation(name, theirs, settings.get(theirs, default), version, hard_sigmoid)
        result |= {ours: value} if value != default else {}
    result |= {key: settings[key] for key in ("dropout", "recurrent_dropout") if settings.get(key)}
    if settings.get("return_sequences") is False:
        result |= {"return_sequences": False}
    if layer.merge is not None:
        result |= {"bidirectional": True, "merge": layer.merge}
    return result | ({"reverse": True} if reverse else {})


def _activation(name: str, key: str, value: Any, version: str | None, given: str | None) -> str:
    if value == "hard_sigmoid" and (version or "").startswith(("1.", "2.")):
        return "hard_sigmoid_keras2"
    if value == "hard_sigmoid" and version is None:
        if given not in ("hard_sigmoid", "hard_sigmoid_keras2"):
            raise ConversionError(
                f"layer '{name}' has {key}='hard_sigmoid', but the file does not say which version of Keras wrote it. "
                "Give --recurrent-activation hard_sigmoid_keras2 (slope 0.2) or hard_sigmoid (Keras 3, slope 1/6)."
            )
        return given
    if not isinstance(value, str) or value not in CELL_ACTIVATIONS:
        raise ConversionError(
            f"layer '{name}' has {key}={value!r}, but ours computes only {', '.join(CELL_ACTIVATIONS)}."
        )
    return value
