"""Conversion between state_dicts of other programs and our models."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from convlstm.checkpoints.build import build
from convlstm.convert.family import Family
from convlstm.convert.keras import KerasFamily
from convlstm.convert.ndrplz import NdrplzFamily
from convlstm.convert.openstl import ConvLSTMFamily, PredRNNFamily, SimVPFamily
from convlstm.convert.sources import ConversionError, StateDict, check_arrays

import mlx.core as mx
import mlx.nn as nn
import numpy as np
from mlx.utils import tree_flatten, tree_unflatten

FAMILIES: dict[str, Family] = {
    "openstl_convlstm": ConvLSTMFamily(),
    "predrnn": PredRNNFamily(),
    "simvp": SimVPFamily(),
    "ndrplz": NdrplzFamily(),
    "keras": KerasFamily(),
}
# Our models, with the family of each.
MODELS = {
    "convlstm.architectures.convlstm_stack.ConvLSTMStack": "openstl_convlstm",
    "convlstm.architectures.predrnn.PredRNN": "predrnn",
    "convlstm.architectures.simvp.SimVP": "simvp",
    "convlstm.architectures.convlstm_sequence.ConvLSTMSequence": "ndrplz",
}
# Settings of models and of layers that are fixed in the other programs, so a state_dict does not hold them.
FIXED: dict[str, dict[str, tuple[Any, ...]]] = {
    "predrnn": {"forget_bias": (1,)},
    "openstl_convlstm": {"state_activation": ("tanh",), "recurrent_activation": ("sigmoid",), "even_kernels": (False,)},
    "ndrplz": {
        "state_activation": ("tanh",),
        "recurrent_activation": ("sigmoid",),
        "even_kernels": (False,),
        "stride": (1, [1, 1]),
        "dilation": (1, [1, 1]),
        "padding": ("same",),
        "reverse": (False,),
        "output": ("cell",),
    },
}


@dataclass
class Conversion:
    """A model that was converted from a state_dict.

    Attributes:
        family: Its family, a key of `FAMILIES`.
        model: The model with its weights.
        description: Description of the model, as in a checkpoint's config.yaml.
        dead: Names of parameters that no output depends on, which were left out.
    """

    family: str
    model: nn.Module
    description: dict[str, Any]
    dead: list[str]


def convert(
    arrays: StateDict, *, patch_size: int = 4, legacy: bool = False, layers: Sequence[dict[str, Any]] = ()
) -> Conversion:
    """Converts a state_dict of OpenSTL, predrnn-pytorch or ndrplz, or Keras's layers, to our model with its weights.

    Args:
        arrays: Arrays by name, from `read_state_dict`.
        patch_size: Side of the patches that frames were cut into, which the arrays do not contain. Default: 4, the
            programs' own default.
        legacy: The cells of a ConvLSTM output o . g instead of o . tanh(c'). OpenSTL's first releases did so, and
            their weights (v0.3) need it. Default: False.
        layers: Arguments of Keras's layers, which `convlstm.convert.keras.read` returns with the arrays.

    Raises:
        ConversionError: The arrays belong to no known model, or do not fit it. All differences are listed.
    """
    check_arrays("convert", arrays)
    name = next((name for name, family in FAMILIES.items() if family.recognises(arrays)), None)
    if name is None:
        examples = ", ".join(sorted(arrays)[:4])
        prefixes = _prefixes_of_models(arrays)
        raise ConversionError(
            f"these weights belong to no known model ({examples}, ...). Known are "
            f"{', '.join(family.title for family in FAMILIES.values())}."
            + (f" A part of them does: {prefixes} (--prefix)." if prefixes else "")
        )
    if legacy and name != "openstl_convlstm":
        raise ConversionError(f"only OpenSTL's ConvLSTM has a legacy form, but this is {FAMILIES[name].title}.")
    family = FAMILIES[name]
    try:
        arrays = family.unpack(arrays)
        description = family.describe(arrays, {"patch_size": patch_size, "legacy": legacy, "layers": layers})
        model: Any = build(description, ("convlstm",), nn.Module)
    except (ValueError, TypeError, ArithmeticError, LookupError, MemoryError) as error:  # the arrays are a stranger's
        raise ConversionError(f"this looks like {family.title}, but: {str(error).rstrip('.')}.") from error
    weights: dict[str, mx.array] = {}
    wrong: list[str] = []
    taken: set[str] = set()
    for ours, array in _parameters(model).items():
        theirs, layout = family.theirs(ours, description)
        taken.add(theirs)
        expected = layout.theirs(np.broadcast_to(np.False_, array.shape)).shape
        if theirs not in arrays:
            wrong.append(f"missing: {theirs} {expected}")
        elif arrays[theirs].shape != expected:
            wrong.append(f"{theirs}: {arrays[theirs].shape} in the file, {expected} in the model")
        else:
            weights[ours] = mx.array(np.ascontiguousarray(layout.ours(arrays[theirs])), array.dtype)
    others = sorted(set(arrays) - taken)
    dead = [other for other in others if any(re.fullmatch(pattern, other) for pattern in family.dead)]
    wrong += [f"unexpected: {other} {arrays[other].shape}" for other in others if other not in dead]
    if wrong:
        more = f"\n  ... and {len(wrong) - 12} more" if len(wrong) > 12 else ""
        raise ConversionError(f"these weights do not fit {family.title}:\n  " + "\n  ".join(wrong[:12]) + more)
    model.update(tree_unflatten(list(weights.items())))
    model.eval()
    return Conversion(name, model, description, dead)


def to_state_dict(model: nn.Module, description: dict[str, Any]) -> StateDict:
    """Returns the weights of our model with the names and layouts of OpenSTL, predrnn-pytorch or ndrplz.

    Parameters that no output depends on are added as zeros, since `load_state_dict` needs them.

    Args:
        model: The model.
        description: Description of the model, as in a checkpoint's config.yaml.

    Raises:
        ConversionError: The model has no counterpart there, or an argument has another type.
    """
    if not isinstance(model, nn.Module):
        raise ConversionError(f"[to_state_dict] 'model' must be a model but got {model!r}.")
    if not _parameters(model):
        raise ConversionError(f"[to_state_dict] 'model' must have weights but got {type(model).__name__}.")
    layers = description.get("layers", []) if isinstance(description, dict) else None
    if not isinstance(layers, Sequence) or not all(isinstance(layer, dict) for layer in layers):
        raise ConversionError(f"[to_state_dict] 'description' must be a model's description but got {description!r}.")
    target = str(description.get("_target_"))
    if target not in MODELS:
        raise ConversionError(f"{target} has no counterpart elsewhere. These have: {', '.join(MODELS)}.")
    family = FAMILIES[MODELS[target]]
    for part in description.get("layers", [description]):
        for key, allowed in FIXED.get(MODELS[target], {}).items():
            if part.get(key, allowed[0]) not in allowed:
                raise ConversionError(
                    f"{family.title} always has {key}={allowed[0]} but this model has {part[key]}: its "
                    "weights would give other forecasts there."
                )
    named = [(array, *family.theirs(ours, description)) for ours, array in _parameters(model).items()]
    foreign = sorted(
        theirs for _, theirs, _ in named if not re.match(r"(cell_list|conv_last|adapter|enc|dec|hid)\.", theirs)
    )
    if foreign:
        raise ConversionError(f"the model has parameters that have no counterpart elsewhere: {', '.join(foreign[:6])}.")
    arrays = {theirs: np.ascontiguousarray(layout.theirs(np.array(array))) for array, theirs, layout in named}
    return family.pack(arrays) | family.without_use(arrays)


def below(arrays: StateDict, prefix: str) -> StateDict:
    """Returns the arrays whose names begin with a prefix, without the prefix: a part of a larger model.

    Raises:
        ConversionError: There are none.
    """
    part = {name.removeprefix(prefix): array for name, array in arrays.items() if name.startswith(prefix)}
    if not part:
        starts = sorted({name.split(".")[0] + "." for name in arrays})
        raise ConversionError(f"no name begins with '{prefix}' (--prefix). They begin with {', '.join(starts[:8])}.")
    return part


def _prefixes_of_models(arrays: StateDict) -> str:
    """Returns the prefixes of arrays that belong to a known model."""
    prefixes = {name[: dot.end()] for name in arrays for dot in re.finditer(r"\.", name)}
    of_models = [p for p in sorted(prefixes) if any(f.recognises(below(arrays, p)) for f in FAMILIES.values())]
    return " or ".join(of_models[:4])


def _parameters(model: nn.Module) -> dict[str, mx.array]:
    return tree_flatten(model.parameters(), destination={})  # type: ignore[return-value]
