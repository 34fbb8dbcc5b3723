"""A stranger's run, and things that loading it must not touch."""

from __future__ import annotations

import sys

from convlstm.checkpoints import save
from convlstm.models import EncoderForecaster
from convlstm.runs.progress import Progress
from tests.support.strangers import DATA, DESCRIPTION

import mlx.optimizers as optim
import pytest


@pytest.fixture
def secret(tmp_path):
    """A folder that a checkpoint must not touch."""
    place = tmp_path / "secret"
    place.mkdir()
    (place / "key").write_text("step,loss\n1,2\n")
    return place


@pytest.fixture
def run(tmp_path):
    """A stranger's run with the checkpoint `last`."""
    model = EncoderForecaster(**{name: value for name, value in DESCRIPTION.items() if name != "_target_"})
    optimizer = optim.Adam(0.1)
    optimizer.init(model.trainable_parameters())
    config = {"model": DESCRIPTION, "data": DATA, "seed": 0}
    save(tmp_path / "run" / "checkpoints" / "last", model, optimizer, vars(Progress()), config)
    return tmp_path / "run"


@pytest.fixture
def last(run):
    return run / "checkpoints" / "last"


@pytest.fixture
def marker(tmp_path, monkeypatch):
    """A module that leaves a trace when it is imported or used."""
    place = tmp_path / "modules"
    place.mkdir()
    (place / "marker.py").write_text("def Model(**arguments): pass\n")
    monkeypatch.syspath_prepend(place)
    yield
    assert "marker" not in sys.modules
