"""Weights of the members of an ensemble: several runs, earlier checkpoints, plain and averaged weights."""

import re
import shutil

from convlstm import checkpoints
from convlstm.architectures.baselines import Persistence
from convlstm.checkpoints import CheckpointError
from convlstm.checkpoints.ensemble_members import Weights, weights_of
from tests.support.forecast_runs import write_run
from tests.support.tiny import Fade

import mlx.core as mx
import mlx.optimizers as optim
import pytest


def keep(run, step, *, name="best", ema=None):
    """Saves another checkpoint of a run, and returns its folder."""
    model = Persistence() if ema is None else Fade()
    config = {"model": {"_target_": "convlstm.architectures.baselines.Persistence"}, "data": {}}
    place = run / "checkpoints" / name
    checkpoints.save(place, model, optim.SGD(0.1), {"step": step}, config, ema=ema, keep=2)
    return place


def test_weights_of_named_and_of_earlier_checkpoints(tmp_path):
    run = write_run(tmp_path / "run")
    keep(run, 8)
    best = run / "checkpoints" / "best"
    other = write_run(tmp_path / "other")
    assert weights_of([best, other]) == [Weights(best), Weights(other / "checkpoints" / "best")]
    with pytest.raises(ValueError, match=f"must name different checkpoints but '{run}' and '{best}' are the same"):
        weights_of([run, best])
    keep(run, 8, name="last")
    keep(run, 9, name="last")
    last, before = run / "checkpoints" / "last", run / "checkpoints" / "best.previous"
    # The one before the last is the best one.
    assert weights_of([run], previous=True) == [Weights(best), Weights(before), Weights(last)]
    assert weights_of([last], previous=True) == [Weights(last), Weights(run / "checkpoints" / "last.previous")]


def test_damaged_checkpoints_are_no_members(tmp_path):
    run = write_run(tmp_path / "run")
    best = keep(run, 8)
    (run / "checkpoints" / "best.previous" / "state.json").write_text("{}")
    with pytest.warns(UserWarning, match=re.escape("best.previous' is not a member")):
        assert weights_of([run], previous=True) == [Weights(best)]
    with pytest.raises(CheckpointError, match="does not exist"):
        weights_of([tmp_path / "none"])


def test_plain_weights_beside_averaged_ones(tmp_path):
    run = write_run(tmp_path / "run")
    best = keep(run, 8, ema={"weight": mx.array([1.0]), "bias": mx.array([0.0])})
    assert weights_of([run], plain=True) == [Weights(best), Weights(best, ema=False)]
    shutil.rmtree(best)
    with pytest.raises(ValueError, match=re.escape("'plain' must be False if no checkpoint has averaged weights")):
        weights_of([run / "checkpoints" / "best.previous"], plain=True)
