"""ndrplz's ConvLSTM_pytorch, whose cells convolve input and hidden state together."""

from __future__ import annotations

import re
from typing import Any

from convlstm.convert.family import OneToOne, Options
from convlstm.convert.layouts import CONVOLUTION, SAME, Layout
from convlstm.convert.sources import ConversionError, StateDict

import numpy as np


class NdrplzFamily(OneToOne):
    """Layers alone, without a part that turns their hidden states into frames.

    A cell has one kernel, (4O, C + O, k, k), for the input and then the hidden state. Its gates have the order i, f, o,
    g.
    """

    title = "ndrplz's ConvLSTM"

    def recognises(self, arrays: StateDict) -> bool:
        return "cell_list.0.conv.weight" in arrays or "cell_list.0.x" in arrays

    def unpack(self, arrays: StateDict) -> StateDict:
        parts: StateDict = {}
        for name, array in arrays.items():
            if (match := re.fullmatch(r"cell_list\.(\d+)\.conv\.(weight|bias)", name)) is None:
                parts[name] = array
                continue
            if len(array) % 4 or array.ndim != (4 if match[2] == "weight" else 1):
                raise ConversionError(f"{name} {array.shape} does not hold four gates.")
            i, f, o, g = np.split(array, 4)
            gates = np.concatenate([i, f, g, o])
            if match[2] == "bias":
                parts[f"cell_list.{match[1]}.bias"] = gates
            else:
                C = array.shape[1] - len(array) // 4
                parts[f"cell_list.{match[1]}.x"], parts[f"cell_list.{match[1]}.h"] = gates[:, :C], gates[:, C:]
        return parts

    def pack(self, arrays: StateDict) -> StateDict:
        whole: StateDict = {}
        for name, array in arrays.items():
            cell, _, part = name.rpartition(".")
            if part == "h":
                continue
            if part == "x":
                array = np.concatenate([array, arrays[f"{cell}.h"]], axis=1)
            i, f, g, o = np.split(array, 4)
            whole[f"{cell}.conv.{'weight' if part == 'x' else 'bias'}"] = np.concatenate([i, f, o, g])
        return whole

    def describe(self, arrays: StateDict, options: Options) -> dict[str, Any]:
        layers: list[dict[str, Any]] = []
        while (kernel := arrays.get(f"cell_list.{len(layers)}.x")) is not None:
            bias = f"cell_list.{len(layers)}.bias" in arrays
            sizes = {"in_channels": kernel.shape[1], "out_channels": len(kernel) // 4}
            layers.append(sizes | {"kernel_size": list(kernel.shape[2:]), "bias": bias, "peepholes": False})
        return {"_target_": "convlstm.architectures.convlstm_sequence.ConvLSTMSequence", "layers": layers}

    def theirs(self, name: str, description: dict[str, Any]) -> tuple[str, Layout]:
        if match := re.fullmatch(r"layers\.(\d+)\.cell\.W([xh])", name):
            return f"cell_list.{match[1]}.{match[2]}", CONVOLUTION
        if match := re.fullmatch(r"layers\.(\d+)\.cell\.bias", name):
            return f"cell_list.{match[1]}.bias", SAME
        return name, SAME
