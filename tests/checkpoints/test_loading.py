"""Loading models, averaged weights and training states."""

from __future__ import annotations

import json
import sys

from convlstm.checkpoints import (
    CheckpointError,
    UntrustedTargetError,
    find,
    load,
    load_weights,
    read_config,
    read_ema,
    restore,
    save,
    seal,
)
from convlstm.models import EncoderForecaster
from convlstm.runs.progress import Progress
from tests.support.checkpoints import CONFIG, fading, plain, saved
from tests.support.strangers import DESCRIPTION, describe

import mlx.core as mx
import mlx.optimizers as optim
import numpy as np
import pytest
from mlx.utils import tree_flatten


def test_averaged_weights_are_kept_beside_the_others(tmp_path):
    model, optimizer = fading(0.5, 2)
    ema = {"weight": mx.array([0.25]), "bias": mx.array([0.75])}
    save(tmp_path / "a", model, optimizer, vars(Progress(step=2)), CONFIG, ema=ema)
    other, other_optimizer = fading(0.9)
    restore(tmp_path / "a", other, other_optimizer)
    assert plain(other.parameters()) == plain(model.parameters()) != plain(ema)
    assert plain(read_ema(tmp_path / "a", other)) == plain(ema)
    load_weights(tmp_path / "a", other, ema=True)
    assert plain(other.parameters()) == plain(ema)
    load_weights(tmp_path / "a", other)
    assert plain(other.parameters()) == plain(model.parameters())


def test_missing_averaged_weights(tmp_path):
    model, _ = saved(tmp_path / "a")
    assert read_ema(tmp_path / "a", model) is None
    with pytest.raises(CheckpointError, match=r"has no averaged weights, ema\.safetensors: .*trainer\.ema\. Use ema=F"):
        load_weights(tmp_path / "a", model, ema=True)


def test_averaged_weights_of_another_model(tmp_path):
    model, optimizer = fading()
    save(tmp_path / "a", model, optimizer, vars(Progress()), CONFIG, ema={"weight": mx.array([0.25, 1])})
    with pytest.raises(CheckpointError, match=r"(?s)ema\.safetensors' belongs to.*missing: bias.*weight: \(2,\)"):
        read_ema(tmp_path / "a", model)


def test_load_prefers_averaged_weights(tmp_path):
    model = EncoderForecaster(hidden_channels=[2], kernel_size=3, patch_size=2)
    optimizer = optim.Adam(0.1)
    optimizer.init(model.trainable_parameters())
    ema = {name: array + 1 for name, array in tree_flatten(model.trainable_parameters())}
    save(tmp_path / "ema", model, optimizer, vars(Progress()), {"model": DESCRIPTION}, ema=ema)
    save(tmp_path / "none", model, optimizer, vars(Progress()), {"model": DESCRIPTION})
    assert plain(load(tmp_path / "ema").parameters()) == plain(ema)
    assert plain(load(tmp_path / "ema", ema=True).parameters()) == plain(ema)
    assert plain(load(tmp_path / "ema", ema=False).parameters()) == plain(model.parameters())
    assert plain(load(tmp_path / "none").parameters()) == plain(model.parameters())
    assert plain(load(tmp_path / "none", ema=False).parameters()) == plain(model.parameters())
    with pytest.raises(CheckpointError, match="has no averaged weights"):
        load(tmp_path / "none", ema=True)


def test_an_older_checkpoint_without_checksums(run):
    folder = run / "checkpoints" / "last"
    (folder / "checksums.json").unlink()
    state = json.loads((folder / "state.json").read_text())
    assert state.pop("format") == 2
    (folder / "state.json").write_text(json.dumps(state))
    assert find(run) == folder
    assert isinstance(load(run), EncoderForecaster)
    assert read_ema(folder, load(run)) is None
    model = EncoderForecaster(hidden_channels=[2], kernel_size=3, patch_size=2)
    optimizer = optim.Adam(0.1)
    optimizer.init(model.trainable_parameters())
    assert restore(folder, model, optimizer) == vars(Progress())


def test_a_file_that_was_edited_on_purpose_is_sealed(run):
    place = run / "checkpoints" / "last" / "config.yaml"
    place.write_text(place.read_text().replace("seed: 0", "seed: 7"))
    with pytest.raises(
        CheckpointError, match=r"config\.yaml' is damaged: its contents are not those that were written"
    ):
        load(run)
    seal(place.parent)
    load(run)
    assert read_config(place.parent)["seed"] == 7


def test_restoring_keeps_the_learning_rate_that_is_asked_for(tmp_path):
    saved(tmp_path / "a", steps=3)
    model, optimizer = fading(optimizer=optim.Adam(0.01))
    restore(tmp_path / "a", model, optimizer)
    assert optimizer.learning_rate.item() == pytest.approx(0.01)
    assert optimizer.step.item() == 3


def test_weights_of_another_architecture_are_listed(run):
    model = EncoderForecaster(hidden_channels=[3], kernel_size=3, patch_size=2, peepholes=False)
    folder = run / "checkpoints" / "last"
    before = plain(model.parameters())
    with pytest.raises(CheckpointError, match="belongs to another architecture") as error:
        load_weights(folder, model)
    text = str(error.value)
    assert "unexpected: encoder.0.cell.Wcf" in text
    assert "output.weight: (4, 1, 1, 2) float32 in the file, (4, 1, 1, 3) float32 in the model" in text
    assert plain(model.parameters()) == before

    with pytest.raises(
        CheckpointError, match=r"(?s)missing: encoder\.1\.cell\.\w+ .*\.\.\. and \d+ more\nUse the config"
    ):
        load_weights(folder, EncoderForecaster(hidden_channels=[2, 2, 2], kernel_size=3, patch_size=2))


def test_the_state_of_another_optimizer_is_listed(tmp_path):
    saved(tmp_path / "a")
    model, optimizer = fading(0.9, optimizer=optim.RMSprop(0.1))
    with pytest.raises(CheckpointError, match=r"(?s)another optimizer:.*unexpected: weight\.m \(1,\) float32"):
        restore(tmp_path / "a", model, optimizer)
    assert model.weight.item() == pytest.approx(0.9)


def test_load_gives_the_model_that_was_saved(run):
    model = load(run)
    assert isinstance(model, EncoderForecaster)
    assert not model.training
    inputs = mx.random.uniform(shape=(1, 2, 4, 6, 1), key=mx.random.key(0))
    other = EncoderForecaster(hidden_channels=[2], kernel_size=3, patch_size=2)
    other.load_weights(str(run / "checkpoints" / "last" / "model.safetensors"))
    np.testing.assert_array_equal(np.array(model(inputs, 3)), np.array(other(inputs, 3)))
    assert model(inputs, 3).shape == (1, 3, 4, 6, 1)


def test_a_package_is_trusted_by_name(run, last, tmp_path, monkeypatch):
    (tmp_path / "own_models.py").write_text(
        "from convlstm.models import EncoderForecaster\n\n\nclass Own(EncoderForecaster): ...\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    describe(last, model=DESCRIPTION | {"_target_": "own_models.Own"})
    with pytest.raises(UntrustedTargetError, match=r"name the package as trusted: trusted=\[own_models\]"):
        load(run)
    assert type(load(run, trusted=("own_models",))).__name__ == "Own"
    monkeypatch.delitem(sys.modules, "own_models")


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"_target_": "convlstm.models.Nothing"}, "does not exist: there is no 'Nothing'"),
        ({"_target_": "convlstm.models.space_to_depth"}, "is not a class defined in a trusted package"),
        ({"_target_": "convlstm.losses.MeanSquaredError"}, "is not a Module, so it was not loaded"),
        ({"hidden_channels": 4}, "'hidden_channels' must be a list of whole numbers but got 4"),
        ({"nonsense": 4}, "describes a model that cannot be built"),
        ({"kernel_size": 4}, "'kernel_size' must be odd"),
        ({"hidden_channels": [3]}, "belongs to another architecture"),
    ],
)
def test_a_description_that_fits_no_model_is_an_error(change, text, run, last):
    describe(last, model=DESCRIPTION | change)
    with pytest.raises(ValueError, match=text):
        load(run)


def test_a_configuration_without_a_model(run):
    (run / "checkpoints" / "last" / "config.yaml").write_text("seed: 0")
    seal(run / "checkpoints" / "last")
    with pytest.raises(CheckpointError, match="has no section 'model'"):
        load(run / "checkpoints" / "last")
