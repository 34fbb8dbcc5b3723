"""ndrplz's ConvLSTM_pytorch: layers whose cells convolve input and hidden state together."""

from __future__ import annotations

import re
from typing import Any

from convlstm.convert.layouts import CONVOLUTION, SAME, Layout
from convlstm.convert.sources import ConversionError, StateDict

import numpy as np


class NdrplzFamily:
    """Layers, without anything that makes frames of their hidden states.

    A cell has one kernel, (4O, C + O, k, k), of the input and the hidden state one after the other; its gates are in
    the order i, f, o, g.
    """

    title = "ndrplz's ConvLSTM"
    dead: tuple[str, ...] = ()

    def recognises(self, arrays: StateDict) -> bool:
        return "cell_list.0.conv.weight" in arrays or "cell_list.0.x" in arrays

    def unpack(self, arrays: StateDict) -> StateDict:
        parts: StateDict = {}
        for name, array in arrays.items():
            if (found := re.fullmatch(r"cell_list\.(\d+)\.conv\.(weight|bias)", name)) is None:
                parts[name] = array
                continue
            if len(array) % 4 or array.ndim != (4 if found[2] == "weight" else 1):
                raise ConversionError(f"{name} {array.shape} is not of four gates.")
            i, f, o, g = np.split(array, 4)
            gates = np.concatenate([i, f, g, o])
            if found[2] == "bias":
                parts[f"cell_list.{found[1]}.bias"] = gates
            else:
                C = array.shape[1] - len(array) // 4
                parts[f"cell_list.{found[1]}.x"], parts[f"cell_list.{found[1]}.h"] = gates[:, :C], gates[:, C:]
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

    def describe(self, arrays: StateDict, options: dict[str, Any]) -> dict[str, Any]:
        layers: list[dict[str, Any]] = []
        while (kernel := arrays.get(f"cell_list.{len(layers)}.x")) is not None:
            bias = f"cell_list.{len(layers)}.bias" in arrays
            sizes = {"in_channels": kernel.shape[1], "out_channels": len(kernel) // 4}
            layers.append(sizes | {"kernel_size": list(kernel.shape[2:]), "bias": bias, "peepholes": False})
        return {"_target_": "convlstm.architectures.convlstm_sequence.ConvLSTMSequence", "layers": layers}

    def theirs(self, name: str, description: dict[str, Any]) -> tuple[str, Layout]:
        if found := re.fullmatch(r"layers\.(\d+)\.cell\.W([xh])", name):
            return f"cell_list.{found[1]}.{found[2]}", CONVOLUTION
        if found := re.fullmatch(r"layers\.(\d+)\.cell\.bias", name):
            return f"cell_list.{found[1]}.bias", SAME
        return name, SAME

    def without_use(self, arrays: StateDict) -> StateDict:
        return {}
