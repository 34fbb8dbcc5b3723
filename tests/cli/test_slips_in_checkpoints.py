"""A slip in the configuration that a checkpoint holds is refused by its name, or does no harm."""

from __future__ import annotations

import shutil
from dataclasses import dataclass, field
from typing import Any

from convlstm.checkpoints.verification import seal
from tests.support.commands import commands
from tests.support.configurations import Base, at, put
from tests.support.slips import REMOVED, slips

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

# A case takes a third of a second.
fewer = settings(max_examples=settings().max_examples // 20)


@dataclass
class Saved:
    """A checkpoint's configuration, to be changed as those in configs/ are."""

    config: dict[str, Any]
    choices: dict[str, str] = field(default_factory=dict)

    def compose(self):
        return {key: self.config[key] for key in ("model", "data")}, {}


@pytest.fixture(scope="module")
def bench():
    with commands() as bench:
        for run in bench.checkpoints.values():
            shutil.rmtree(run / "checkpoints" / "best", ignore_errors=True)
        yield bench


@pytest.mark.parametrize("name", ["digits", "rain"])
@fewer
@given(data=st.data())
def test_slips_in_a_checkpoint_s_configuration_are_named(name, bench, data):
    path = bench.checkpoints[name] / "checkpoints" / "last" / "config.yaml"
    before = path.read_text()
    config = yaml.safe_load(before)
    slip = data.draw(slips(Saved(config)))
    section, _, last = slip.key.rpartition(".")
    if slip.value is REMOVED:
        del (at(config, section) if section else config)[last]
    else:
        put(config, slip.key, slip.value)
    try:
        path.write_text(yaml.safe_dump(config))
        seal(path.parent)  # as if it had been saved so
        outcome = bench.run(Base("evaluate", {}, {}, name))
    finally:
        path.write_text(before)
        seal(path.parent)
    names = ("config.yaml", slip.key, f"'{last}'", "model.safetensors")
    assert outcome.kind != "failed", f"{slip}\n{outcome.text}"
    assert outcome.kind == "accepted" or any(part in outcome.text for part in names), f"{slip}\n{outcome.text}"
