"""Small encoder-forecasters, and the models of `configs/model`."""

from __future__ import annotations

from tests.support.project import PROJECT

import hydra

STRIDED = {
    "hidden_channels": [3, 4],
    "kernel_size": 3,
    "downsample": [None, {"channels": 5, "kernel_size": 3, "stride": 2, "padding": 1}],
    "upsample": [None, {"channels": 4, "kernel_size": 4, "stride": 2, "padding": 1}],
}
# Small networks of both families.
NETWORKS = {
    "patches": {"hidden_channels": [3, 4], "kernel_size": 3, "patch_size": 2, "concatenate": True},
    "strided": STRIDED,
    "head": {**STRIDED, "head_channels": [3, 2], "activation": "linear"},
}


def from_yaml(name, *overrides):
    """Returns the model of `model=name`, with settings by dotted key."""
    with hydra.initialize_config_dir(str(PROJECT / "configs"), version_base="1.3"):
        config = hydra.compose("train", [f"model={name}", *overrides])
    return hydra.utils.instantiate(config.model, _convert_="all")
