"""Models of `configs/model`."""

from __future__ import annotations

from tests.support.project import PROJECT

import hydra


def from_yaml(name, *overrides):
    """Returns the model of `model=name`, with settings by dotted key."""
    with hydra.initialize_config_dir(str(PROJECT / "configs"), version_base="1.3"):
        config = hydra.compose("train", [f"model={name}", *overrides])
    return hydra.utils.instantiate(config.model, _convert_="all")
