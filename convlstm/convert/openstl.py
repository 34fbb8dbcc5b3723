"""The models of OpenSTL, and of predrnn-pytorch, whose names OpenSTL uses."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

from convlstm.convert.family import OneToOne, Options
from convlstm.convert.layouts import CONVOLUTION, DEPTHWISE, FRAME, POINTWISE, SAME, Layout
from convlstm.convert.sources import ConversionError, StateDict

import numpy as np


def _count(arrays: Iterable[str], pattern: str) -> int:
    """Returns one more than the largest number that a pattern finds, or 0.

    Raises:
        ConversionError: The number is larger than that of all arrays.
    """
    arrays = list(arrays)
    count = 1 + max((int(match[1]) for name in arrays if (match := re.match(pattern, name))), default=-1)
    if count > len(arrays):
        raise ConversionError(f"the names count {count} parts, but there are only {len(arrays)} arrays")
    return count


def _array(arrays: StateDict, name: str, axes: int) -> np.ndarray:
    if name not in arrays:
        raise ConversionError(f"missing: {name}")
    if arrays[name].ndim != axes:
        raise ConversionError(f"{name} must have {axes} axes but its shape is {arrays[name].shape}")
    return arrays[name]


def _frames(arrays: StateDict, patch_size: int) -> dict[str, Any]:
    """Returns the channels of the frames and the size of the patches."""
    channels = _array(arrays, "cell_list.0.conv_x.0.weight", 4).shape[1]
    if patch_size < 1:
        raise ConversionError(f"the side of a patch must be at least 1 but got {patch_size} (--patch-size)")
    if channels % patch_size**2:
        raise ConversionError(
            f"{channels} input channels are no patches of {patch_size}x{patch_size} pixels: choose another --patch-size"
        )
    return {"in_channels": channels // patch_size**2, "patch_size": patch_size}


class ConvLSTMFamily(OneToOne):
    """OpenSTL's ConvLSTM."""

    title = "OpenSTL's ConvLSTM"
    # Parameters of a cell that its step does not use.
    dead: tuple[str, ...] = (r"cell_list\.\d+\.conv_o\..*", r"cell_list\.\d+\.conv_last\..*")

    def recognises(self, arrays: StateDict) -> bool:
        return "cell_list.0.conv_x.0.weight" in arrays and "cell_list.0.conv_m.0.weight" not in arrays

    def describe(self, arrays: StateDict, options: Options) -> dict[str, Any]:
        cells = _count(arrays, r"cell_list\.(\d+)\.conv_h")
        hidden = [_array(arrays, f"cell_list.{n}.conv_h.0.weight", 4).shape for n in range(cells)]
        return {
            "_target_": "convlstm.architectures.convlstm_stack.ConvLSTMStack",
            **_frames(arrays, options["patch_size"]),
            "hidden_channels": [shape[1] for shape in hidden],
            "kernel_size": list(hidden[0][2:]) if hidden else 5,
            **({"output": "candidate"} if options["legacy"] else {}),
        }

    def theirs(self, name: str, description: dict[str, Any]) -> tuple[str, Layout]:
        if match := re.fullmatch(r"layers\.(\d+)\.cell\.W([xh])", name):
            return f"cell_list.{match[1]}.conv_{match[2]}.0.weight", CONVOLUTION
        return name.replace("output.", "conv_last."), CONVOLUTION

    def without_use(self, arrays: StateDict) -> StateDict:
        zeros: StateDict = {}
        for n in range(_count(arrays, r"cell_list\.(\d+)\.conv_h")):
            O, k = arrays[f"cell_list.{n}.conv_h.0.weight"].shape[1], arrays[f"cell_list.{n}.conv_h.0.weight"].shape[2:]
            zeros[f"cell_list.{n}.conv_o.0.weight"] = np.zeros((O, 2 * O, *k), np.float32)
            zeros[f"cell_list.{n}.conv_last.weight"] = np.zeros((O, 2 * O, 1, 1), np.float32)
        return zeros


class PredRNNFamily(OneToOne):
    """PredRNN and PredRNN-v2."""

    title = "PredRNN"

    def recognises(self, arrays: StateDict) -> bool:
        return "cell_list.0.conv_m.0.weight" in arrays

    def describe(self, arrays: StateDict, options: Options) -> dict[str, Any]:
        cells = _count(arrays, r"cell_list\.(\d+)\.conv_h")
        hidden = [_array(arrays, f"cell_list.{n}.conv_h.0.weight", 4).shape for n in range(cells)]
        normed = arrays.get("cell_list.0.conv_x.1.weight")
        return {
            "_target_": "convlstm.architectures.predrnn.PredRNN",
            **_frames(arrays, options["patch_size"]),
            "hidden_channels": [shape[1] for shape in hidden],
            "kernel_size": list(hidden[0][2:]) if hidden else 5,
            "norm_grid": None if normed is None else list(normed.shape[1:]),
            "decoupling": 0.1 if "adapter.weight" in arrays else None,
        }

    def theirs(self, name: str, description: dict[str, Any]) -> tuple[str, Layout]:
        if match := re.fullmatch(r"cells\.(\d+)\.W([xhmo])", name):
            return f"cell_list.{match[1]}.conv_{match[2]}.0.weight", CONVOLUTION
        if match := re.fullmatch(r"cells\.(\d+)\.norm_([xhmo])\.(\w+)", name):
            return f"cell_list.{match[1]}.conv_{match[2]}.1.{match[3]}", FRAME
        if match := re.fullmatch(r"cells\.(\d+)\.W1", name):
            return f"cell_list.{match[1]}.conv_last.weight", CONVOLUTION
        return name.replace("output.", "conv_last."), CONVOLUTION


class SimVPFamily(OneToOne):
    """SimVP with a translator of gated attention (gSTA) or of inceptions."""

    title = "SimVP"
    # The number of batches that a norm has seen. With a constant momentum nothing depends on it.
    dead: tuple[str, ...] = (r".*\.num_batches_tracked",)

    names = (
        (r"encoder\.(\d+)\.conv\.", r"enc.enc.\1.conv.conv."),
        (r"encoder\.(\d+)\.norm\.", r"enc.enc.\1.conv.norm."),
        (r"decoder\.(\d+)\.norm\.", r"dec.dec.\1.conv.norm."),
        (r"output\.", r"dec.readout."),
        (r"translator\.blocks\.(\d+)\.reduce\.", r"hid.enc.\1.reduction."),
        (r"translator\.blocks\.(\d+)\.(norm\d)\.", r"hid.enc.\1.block.\2."),
        (r"translator\.blocks\.(\d+)\.scale(\d)", r"hid.enc.\1.block.layer_scale_\2"),
        (r"translator\.blocks\.(\d+)\.attention\.project(\d)\.", r"hid.enc.\1.block.attn.proj_\2."),
        (r"translator\.blocks\.(\d+)\.attention\.gate\.near\.", r"hid.enc.\1.block.attn.spatial_gating_unit.conv0."),
        (
            r"translator\.blocks\.(\d+)\.attention\.gate\.far\.",
            r"hid.enc.\1.block.attn.spatial_gating_unit.conv_spatial.",
        ),
        (r"translator\.blocks\.(\d+)\.attention\.gate\.mix\.", r"hid.enc.\1.block.attn.spatial_gating_unit.conv1."),
        (r"translator\.blocks\.(\d+)\.perceptron\.expand\.", r"hid.enc.\1.block.mlp.fc1."),
        (r"translator\.blocks\.(\d+)\.perceptron\.depthwise\.", r"hid.enc.\1.block.mlp.dwconv.dwconv."),
        (r"translator\.blocks\.(\d+)\.perceptron\.contract\.", r"hid.enc.\1.block.mlp.fc2."),
        (r"translator\.down\.(\d+)\.inner\.", r"hid.enc.\1.conv1."),
        (r"translator\.up\.(\d+)\.inner\.", r"hid.dec.\1.conv1."),
        (r"translator\.down\.(\d+)\.branches\.", r"hid.enc.\1.layers."),
        (r"translator\.up\.(\d+)\.branches\.", r"hid.dec.\1.layers."),
    )

    def recognises(self, arrays: StateDict) -> bool:
        return "enc.enc.0.conv.conv.weight" in arrays

    def describe(self, arrays: StateDict, options: Options) -> dict[str, Any]:
        hidden, channels, k, _ = _array(arrays, "enc.enc.0.conv.conv.weight", 4).shape
        description: dict[str, Any] = {
            "_target_": "convlstm.architectures.simvp.SimVP",
            "in_channels": channels,
            "hidden_channels": hidden,
            "levels": _count(arrays, r"enc\.enc\.(\d+)\."),
            "blocks": _count(arrays, r"hid\.enc\.(\d+)\."),
            "kernel_size": k,
        }
        if "hid.enc.0.block.norm1.weight" in arrays:
            wide = len(_array(arrays, "hid.enc.0.block.norm1.weight", 1))
            reduced = arrays.get("hid.enc.0.reduction.weight")
            far = _array(arrays, "hid.enc.0.block.attn.spatial_gating_unit.conv_spatial.weight", 4).shape[2]
            return description | {
                "translator": "gsta",
                "frames": wide // hidden,
                "translator_channels": wide if reduced is None else reduced.shape[0],
                "mlp_ratio": len(_array(arrays, "hid.enc.0.block.mlp.fc1.bias", 1)) / wide,
                "large_kernel": 3 * far,
            }
        inner, wide = _array(arrays, "hid.enc.0.conv1.weight", 4).shape[:2]
        branches = _count(arrays, r"hid\.enc\.0\.layers\.(\d+)\.")
        kernels = [_array(arrays, f"hid.enc.0.layers.{n}.conv.weight", 4).shape for n in range(branches)]
        if not kernels:
            raise ConversionError("missing: hid.enc.0.layers.0.conv.weight")
        return description | {
            "translator": "incepu",
            "frames": wide // hidden,
            "translator_channels": kernels[0][0],
            "kernel_sizes": [shape[2] for shape in kernels],
            "groups": inner // kernels[0][1],
        }

    def theirs(self, name: str, description: dict[str, Any]) -> tuple[str, Layout]:
        if match := re.fullmatch(r"decoder\.(\d+)\.conv\.(\w+)", name):
            # Every second block, beginning with the first, doubles the grid: a convolution before a pixel shuffle.
            up = ".0" if int(match[1]) % 2 == 0 else ""
            other = f"dec.dec.{match[1]}.conv.conv{up}.{match[2]}"
        else:
            other = next(re.sub(ours, theirs, name) for ours, theirs in self.names if re.match(ours, name))
        if not name.endswith(".weight") or ".norm" in name:
            return other, SAME
        if any(part in name for part in (".near.", ".far.", ".depthwise.")):
            return other, DEPTHWISE
        if any(part in name for part in (".project", ".mix.", ".expand.", ".contract.", ".reduce.", ".inner.")):
            return other, POINTWISE
        return other, CONVOLUTION

    def without_use(self, arrays: StateDict) -> StateDict:
        counts = [
            name.replace("running_mean", "num_batches_tracked") for name in arrays if name.endswith("running_mean")
        ]
        return {name: np.zeros((), np.int64) for name in counts}
