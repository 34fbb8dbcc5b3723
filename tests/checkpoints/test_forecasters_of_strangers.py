"""Guards of `convlstm.load` hold for `Forecaster.load` and for wrong arguments of both."""

from __future__ import annotations

import os

import convlstm
from convlstm.checkpoints import CheckpointError, UntrustedTargetError, save
from convlstm.forecasting.forecaster import Forecaster
from convlstm.models import EncoderForecaster
from convlstm.runs.progress import Progress
from tests.support.strangers import DATA, DESCRIPTION, describe, refused

import mlx.core as mx
import mlx.optimizers as optim
import pytest
from mlx.utils import tree_map

LOADS = {"convlstm.load": convlstm.load, "Forecaster.load": Forecaster.load}


@pytest.fixture(params=LOADS)
def load(request):
    return LOADS[request.param]


def test_an_intact_run_is_loaded(load, run):
    assert load(run) is not None


@pytest.mark.parametrize("file", ["model.safetensors", "state.json", "config.yaml", "checksums.json"])
@pytest.mark.parametrize("kind", ["fifo", "folder", "link"])
def test_only_plain_files_are_read(load, file, kind, run, last, secret):
    (last / file).unlink()
    make = {"fifo": os.mkfifo, "folder": os.mkdir, "link": lambda path: path.symlink_to(secret / "key")}
    make[kind](last / file)
    for path in (run, last):
        refused(secret, lambda path=path: load(path), file, CheckpointError)


def test_only_classes_of_trusted_packages_are_built(load, last, secret):
    describe(last, model={"_target_": "os.system", "command": "true"})
    refused(secret, lambda: load(last), "os.system", UntrustedTargetError)
    describe(last, model={"_target_": "tests.support.tiny.Fade", "rate": 0.5})
    refused(secret, lambda: load(last), "tests.support.tiny.Fade", UntrustedTargetError)


def test_a_scale_of_an_untrusted_class_is_not_built(last, secret):
    describe(last, data={**DATA, "transform": {"_target_": "os.system", "command": "true"}})
    refused(secret, lambda: Forecaster.load(last), "os.system", UntrustedTargetError)


@pytest.mark.parametrize("trusted", [12, None, "convlstm", [12], [""]])
def test_trusted_packages_are_a_list_of_names(load, trusted, run):
    with pytest.raises(ValueError, match=r"^\[\w+\] 'trusted' must be .* but got "):
        load(run, trusted=trusted)


@pytest.mark.parametrize("ema", [12, "yes"])
def test_averaged_weights_are_wanted_or_not(load, ema, run):
    with pytest.raises(ValueError, match=r"^\[\w+\] 'ema' must be .* but got "):
        load(run, ema=ema)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_not_finite_make_no_forecaster(value, tmp_path):
    model = EncoderForecaster(**{name: one for name, one in DESCRIPTION.items() if name != "_target_"})
    model.update(tree_map(lambda array: mx.full(array.shape, value), model.parameters()))
    optimizer = optim.Adam(0.1)
    optimizer.init(model.trainable_parameters())
    last = tmp_path / "checkpoints" / "last"
    save(last, model, optimizer, vars(Progress()), {"model": DESCRIPTION, "data": DATA, "seed": 0})
    with pytest.raises(CheckpointError, match="finite"):
        Forecaster.load(last)
