"""PyTorch transcriptions of the ConvGRU and the TrajGRU from the equations of Shi et al., 2017, with frames NCHW.

Weights come as a dict with the names of our cells' parameters, kernels as (O, I, kh, kw).
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import conv2d, grid_sample, leaky_relu

ACTIVATIONS = {"leaky_relu": lambda x: leaky_relu(x, 0.2), "tanh": torch.tanh}


def to_torch(a) -> Tensor:
    """Returns NHWC or OHWI as NCHW or OIHW, NLHWC as NLCHW, and vectors as they are."""
    array = np.array(a)
    return torch.tensor(np.moveaxis(array, -1, -3) if array.ndim >= 4 else array)


def to_ours(a: Tensor) -> np.ndarray:
    """Returns the inverse of `to_torch`."""
    array = a.detach().numpy()
    return np.moveaxis(array, -3, -1) if array.ndim >= 4 else array


def warp(h: Tensor, flow: Tensor) -> Tensor:
    """Returns (N, O, H, W) read at the origins of L flows (N, 2L, H, W): (N, L O, H, W), zeros outside."""
    H, W = h.shape[2:]
    rows, columns = torch.meshgrid(torch.arange(H), torch.arange(W), indexing="ij")
    fields = []
    for v, u in zip(flow[:, 0::2].unbind(1), flow[:, 1::2].unbind(1), strict=True):
        # grid_sample's coordinates run from -1 to 1, columns first. The centre of a single pixel is 0.
        place = [
            2 * (at - way) / (side - 1) - 1 if side > 1 else -way for at, way, side in ((columns, u, W), (rows, v, H))
        ]
        fields.append(grid_sample(h, torch.stack(place, dim=-1), padding_mode="zeros", align_corners=True))
    return torch.cat(fields, dim=1)


def _same(W: Tensor) -> tuple[int, int]:
    return W.shape[2] // 2, W.shape[3] // 2


def cell(x: Tensor | None, h: Tensor, w: dict[str, Tensor], activation: str, **geometry) -> Tensor:
    """Returns the next state: a TrajGRU's if there are weights of flows. `geometry` is the input convolution's."""
    f = ACTIVATIONS[activation]
    if "Wf" in w:
        flow = conv2d(h, w["Wfh"], w.get("bfh"), padding=_same(w["Wfh"]))
        if x is not None:
            flow = flow + conv2d(x, w["Wfx"], w.get("bfx"), padding=_same(w["Wfx"]))
        flow = conv2d(f(flow), w["Wf"], w.get("bf"), padding=_same(w["Wf"]))
        y = conv2d(warp(h, flow), w["Wh"], w.get("bh"))
    else:
        y = conv2d(h, w["Wh"], w.get("bh"), padding=_same(w["Wh"]))
    yz, yr, yh = y.chunk(3, dim=1)
    xz = xr = xh = torch.zeros(())
    if x is not None:
        geometry = {"padding": _same(w["Wx"])} | geometry
        xz, xr, xh = conv2d(x, w["Wx"], w.get("bx"), **geometry).chunk(3, dim=1)
    z, r = torch.sigmoid(xz + yz), torch.sigmoid(xr + yr)
    return (1 - z) * f(xh + r * yh) + z * h


def layer(x: Tensor | None, h: Tensor, w: dict[str, Tensor], activation: str, length: int | None = None, **geometry):
    """Returns all hidden states of the cell over (N, L, C, H, W), or over `length` steps without input."""
    outputs = []
    for t in range(length if x is None else x.shape[1]):
        h = cell(None if x is None else x[:, t], h, w, activation, **geometry)
        outputs.append(h)
    return torch.stack(outputs, dim=1), h


def value_and_gradients(x, h, weights, drawn, activation: str, **options):
    """Returns outputs and state, and the gradients of sum(drawn * outputs), from MLX's arrays and in their layout."""
    given = {"h": to_torch(h), **{name: to_torch(a) for name, a in weights.items()}}
    if x is not None:
        given["x"] = to_torch(x)
    for a in given.values():
        a.requires_grad_()
    w = {name: a for name, a in given.items() if name in weights}
    outputs, last = layer(given.get("x"), given["h"], w, activation, **options)
    (to_torch(drawn) * outputs).sum().backward()
    return (to_ours(outputs), to_ours(last)), {name: to_ours(a.grad) for name, a in given.items()}
