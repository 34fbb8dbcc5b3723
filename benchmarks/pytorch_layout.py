"""The layout of frames in PyTorch's memory."""

from __future__ import annotations

import torch
from torch import Tensor


def layout(weight: Tensor) -> torch.memory_format:
    """Returns the memory layout of a convolution's weight, which must have more than one input channel."""
    return torch.contiguous_format if weight.is_contiguous() else torch.channels_last


def time_first(frames: Tensor, weight: Tensor) -> Tensor:
    """Returns frames (N, T, C, H, W) as (T N, C, H, W), in the weight's memory layout."""
    return frames.transpose(0, 1).flatten(0, 1).contiguous(memory_format=layout(weight))


def batch_first(frames: Tensor, length: int) -> Tensor:
    """Returns frames (T N, C, H, W) as (N, T, C, H, W); the inverse of `time_first`."""
    return frames.unflatten(0, (length, -1)).transpose(0, 1)
