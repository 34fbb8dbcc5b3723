import json
import shutil
import sys

from convlstm import checkpoints
from convlstm.checkpoints import (
    CheckpointError,
    find,
    load,
    load_weights,
    read_config,
    read_ema,
    read_state,
    restore,
    save,
    seal,
)
from convlstm.checkpoints.build import UntrustedTargetError
from convlstm.models import EncoderForecaster
from convlstm.runs.progress import Progress
from tests.support.tiny import Fade, snapshot

import mlx.core as mx
import mlx.optimizers as optim
import numpy as np
import pytest
import yaml
from mlx.utils import tree_flatten, tree_map

DESCRIPTION = {
    "_target_": "convlstm.models.EncoderForecaster",
    "hidden_channels": [2],
    "kernel_size": 3,
    "patch_size": 2,
    "peepholes": True,
}
CONFIG = {"model": DESCRIPTION, "seed": 0}


def fading(weight=0.5, steps=0, optimizer=None):
    """A model and its optimizer after some steps with a gradient of one."""
    model, optimizer = Fade(weight), optimizer or optim.Adam(0.1)
    optimizer.init(model.trainable_parameters())
    for _ in range(steps):
        optimizer.update(model, tree_map(mx.ones_like, model.trainable_parameters()))
    return model, optimizer


def plain(tree):
    return {name: np.array(array).tolist() for name, array in tree_flatten(tree)}


def saved(folder, weight=0.5, steps=3):
    model, optimizer = fading(weight, steps)
    save(folder, model, optimizer, vars(Progress(step=steps)), CONFIG)
    return model, optimizer


@pytest.fixture
def run(tmp_path):
    """A run's folder with the checkpoint `last` of a real model."""
    model = EncoderForecaster(hidden_channels=[2], kernel_size=3, patch_size=2)
    optimizer = optim.Adam(0.1)
    optimizer.init(model.trainable_parameters())
    save(tmp_path / "run" / "checkpoints" / "last", model, optimizer, vars(Progress()), CONFIG)
    return tmp_path / "run"


def describe(run, **model):
    """Writes another description of the model into the checkpoint."""
    place = run / "checkpoints" / "last" / "config.yaml"
    place.write_text(yaml.safe_dump({"model": DESCRIPTION | model}))
    seal(place.parent)


def test_what_is_saved_comes_back(tmp_path):
    model, optimizer = saved(tmp_path / "a", steps=3)
    other, other_optimizer = fading(0.9)
    assert plain(other.parameters()) != plain(model.parameters())
    state = restore(tmp_path / "a", other, other_optimizer)
    assert state == vars(Progress(step=3)) == read_state(tmp_path / "a")
    assert read_config(tmp_path / "a") == CONFIG
    assert plain(other.parameters()) == plain(model.parameters())
    assert plain(other_optimizer.state) == plain(optimizer.state)
    assert {path.name for path in (tmp_path / "a").iterdir()} == {*checkpoints.FILES, "checksums.json"}


def test_the_same_state_is_the_same_bytes(tmp_path):
    saved(tmp_path / "a", steps=3)
    model, optimizer = fading()
    state = restore(tmp_path / "a", model, optimizer)
    save(tmp_path / "b", model, optimizer, state, CONFIG)
    assert snapshot(tmp_path / "a") == snapshot(tmp_path / "b")


def test_a_save_keeps_the_checkpoint_before(tmp_path):
    for steps in (1, 2, 3):
        saved(tmp_path / "last", steps=steps)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["last", "last.previous"]
    assert [read_state(tmp_path / name)["step"] for name in ("last", "last.previous")] == [3, 2]


@pytest.mark.parametrize("file", ["model.safetensors", "optimizer.safetensors"])
def test_a_save_that_fails_leaves_the_checkpoint_before(file, tmp_path, monkeypatch):
    saved(tmp_path / "last", steps=1)
    before = snapshot(tmp_path)

    def interrupted(place, arrays, write=mx.save_safetensors):
        write(place, arrays)
        if place.path.name == file:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(mx, "save_safetensors", interrupted)
        with pytest.raises(KeyboardInterrupt):
            saved(tmp_path / "last", steps=2)
    assert snapshot(tmp_path) == before
    assert find(tmp_path / "last") == tmp_path / "last"
    (tmp_path / "last.tmp").mkdir()  # as a killed program leaves it
    saved(tmp_path / "last", steps=2)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["last", "last.previous"], "what was left over is gone"


def steps_in(folder, *names):
    return [read_state(folder / name)["step"] for name in names]


@pytest.mark.parametrize("keep", [1, 2, 4])
def test_as_many_are_kept_as_are_asked_for_the_newest_first(keep, tmp_path):
    for steps in range(1, 7):
        model, optimizer = fading(0.5, steps)
        save(tmp_path / "last", model, optimizer, vars(Progress(step=steps)), CONFIG, keep=keep)
    names = ["last", "last.previous", "last.previous.2", "last.previous.3", "last.previous.4"][: keep + 1]
    assert sorted(path.name for path in tmp_path.iterdir()) == names
    assert steps_in(tmp_path, *names) == [6, 5, 4, 3, 2][: keep + 1]


def test_fewer_are_kept_once_fewer_are_asked_for(tmp_path):
    for steps, keep in enumerate([4, 4, 4, 4, 4, 2], 1):
        model, optimizer = fading(0.5, steps)
        save(tmp_path / "last", model, optimizer, vars(Progress(step=steps)), CONFIG, keep=keep)
    names = ["last", "last.previous", "last.previous.2"]
    assert sorted(path.name for path in tmp_path.iterdir()) == names
    assert steps_in(tmp_path, *names) == [6, 5, 4]


@pytest.mark.parametrize("gap", ["last", "last.previous", "last.previous.2"])
def test_a_save_after_one_that_was_killed_between_its_renames_loses_nothing(gap, tmp_path):
    for steps in (1, 2, 3, 4):
        model, optimizer = fading(0.5, steps)
        save(tmp_path / "last", model, optimizer, vars(Progress(step=steps)), CONFIG, keep=3)
    shutil.rmtree(tmp_path / gap)
    left = [n for n in (4, 3, 2, 1) if n != {"last": 4, "last.previous": 3, "last.previous.2": 2}[gap]]
    model, optimizer = fading(0.5, 5)
    save(tmp_path / "last", model, optimizer, vars(Progress(step=5)), CONFIG, keep=3)
    names = ["last", "last.previous", "last.previous.2", "last.previous.3"]
    assert steps_in(tmp_path, *names) == [5, *left]


@pytest.mark.parametrize("keep", [0, -1, True, 1.5, "2"])
def test_how_many_are_kept_is_a_number(keep, tmp_path):
    model, optimizer = fading()
    with pytest.raises(ValueError, match=rf"\[save\] 'keep' must be a whole number of at least 1 but got {keep!r}\."):
        save(tmp_path / "last", model, optimizer, {"step": 0}, CONFIG, keep=keep)
    assert list(tmp_path.iterdir()) == []


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


def test_averaged_weights_that_are_not_there(tmp_path):
    model, _ = saved(tmp_path / "a")
    assert read_ema(tmp_path / "a", model) is None
    with pytest.raises(CheckpointError, match=r"has no averaged weights, ema\.safetensors: .*trainer\.ema\. Use ema=F"):
        load_weights(tmp_path / "a", model, ema=True)


def test_averaged_weights_of_another_model(tmp_path):
    model, optimizer = fading()
    save(tmp_path / "a", model, optimizer, vars(Progress()), CONFIG, ema={"weight": mx.array([0.25, 1])})
    with pytest.raises(CheckpointError, match=r"(?s)ema\.safetensors' belongs to.*missing: bias.*weight: \(2,\)"):
        read_ema(tmp_path / "a", model)


def test_load_takes_averaged_weights_where_there_are_any(tmp_path):
    model = EncoderForecaster(hidden_channels=[2], kernel_size=3, patch_size=2)
    optimizer = optim.Adam(0.1)
    optimizer.init(model.trainable_parameters())
    ema = {name: array + 1 for name, array in tree_flatten(model.trainable_parameters())}
    save(tmp_path / "ema", model, optimizer, vars(Progress()), CONFIG, ema=ema)
    save(tmp_path / "none", model, optimizer, vars(Progress()), CONFIG)
    assert plain(load(tmp_path / "ema").parameters()) == plain(ema)
    assert plain(load(tmp_path / "ema", ema=True).parameters()) == plain(ema)
    assert plain(load(tmp_path / "ema", ema=False).parameters()) == plain(model.parameters())
    assert plain(load(tmp_path / "none").parameters()) == plain(model.parameters())
    assert plain(load(tmp_path / "none", ema=False).parameters()) == plain(model.parameters())
    with pytest.raises(CheckpointError, match="has no averaged weights"):
        load(tmp_path / "none", ema=True)


def test_a_checkpoint_from_before_there_were_checksums(run):
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


def test_a_checkpoint_of_a_later_version(tmp_path):
    saved(tmp_path / "a")
    place = tmp_path / "a" / "state.json"
    place.write_text(place.read_text().replace('"format": 2', '"format": 3'))
    seal(tmp_path / "a")
    with pytest.raises(CheckpointError, match=r"state\.json' is of format 3, and this version reads 2\. Use the"):
        restore(tmp_path / "a", *fading())


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


def test_a_configuration_that_shares_its_parts_is_written_without_references(tmp_path):
    model, optimizer = fading()
    shared = [1, 2]
    save(tmp_path / "a", model, optimizer, vars(Progress()), {"model": {"a": shared, "b": shared}})
    assert "*" not in (tmp_path / "a" / "config.yaml").read_text()
    assert read_config(tmp_path / "a") == {"model": {"a": [1, 2], "b": [1, 2]}}


def test_restoring_keeps_the_learning_rate_that_is_asked_for(tmp_path):
    saved(tmp_path / "a", steps=3)
    model, optimizer = fading(optimizer=optim.Adam(0.01))
    restore(tmp_path / "a", model, optimizer)
    assert optimizer.learning_rate.item() == pytest.approx(0.01)
    assert optimizer.step.item() == 3


def test_find(tmp_path):
    run = tmp_path / "run"
    for name in ("last", "best"):
        saved(run / "checkpoints" / name)
    for path in (run, run / "checkpoints"):
        assert find(path) == run / "checkpoints" / "best"
        assert find(str(path), prefer=("last", "best")) == run / "checkpoints" / "last"
        assert find(path, prefer=("last",)) == run / "checkpoints" / "last"
    assert find(run / "checkpoints" / "last") == run / "checkpoints" / "last"
    (run / "checkpoints" / "best").rename(tmp_path / "elsewhere")
    assert find(tmp_path / "elsewhere") == tmp_path / "elsewhere"
    assert find(run) == run / "checkpoints" / "last"


def test_find_between_the_two_renames_of_a_save(tmp_path):
    saved(tmp_path / "checkpoints" / "last")
    (tmp_path / "checkpoints" / "last").rename(tmp_path / "checkpoints" / "last.previous")
    (tmp_path / "checkpoints" / "last.tmp").mkdir()
    (tmp_path / "checkpoints" / "last.tmp" / "model.safetensors").write_bytes(b"half")
    for path in (tmp_path, tmp_path / "checkpoints", tmp_path / "checkpoints" / "last"):
        assert find(path) == tmp_path / "checkpoints" / "last.previous"


def test_find_says_what_is_not_there(tmp_path):
    with pytest.raises(
        CheckpointError, match=r"'.*none' does not exist\. Give a run's folder or a checkpoint's folder"
    ):
        find(tmp_path / "none")
    with pytest.raises(
        CheckpointError, match=r"holds no checkpoint: neither model\.safetensors.* checkpoints/best or last"
    ):
        find(tmp_path)


@pytest.mark.parametrize("text", ["[]", "{}", "3", '{"step": "3"}', '{"step": -1}', '{"step": true}', '{"step": 2.5}'])
def test_a_state_without_a_step_is_damaged(text, tmp_path):
    saved(tmp_path / "a")
    (tmp_path / "a" / "state.json").write_text(text)
    seal(tmp_path / "a")
    with pytest.raises(CheckpointError, match=r"state\.json' is damaged: it names no step"):
        read_state(tmp_path / "a")


def test_a_state_of_another_step_than_the_optimizer_is_damaged(tmp_path):
    saved(tmp_path / "a", steps=3)
    place = tmp_path / "a" / "state.json"
    place.write_text(place.read_text().replace('"step": 3', '"step": 7'))
    seal(tmp_path / "a")
    with pytest.raises(CheckpointError, match=r"state\.json is at step 7, optimizer\.safetensors at step 3"):
        restore(tmp_path / "a", *fading())


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"step": 5, "seeds": 1}, "seeds"),
        ({"seed": "0"}, "seed"),
        ({"seconds": None}, "seconds"),
        ({"best": "low"}, "best"),
        ({"loss_count": 1.5}, "loss_count"),
        ({"data": []}, "data"),
        ({"status": 3, "best_step": [1]}, "best_step, status"),
    ],
)
def test_progress_is_restored_from_what_it_wrote_only(change, named, tmp_path):
    whole = vars(Progress(step=4, seconds=1.5, best=0.25, best_step=4, data={"digits": "builtin"}))
    assert vars(Progress.restored(json.loads(json.dumps(whole)), tmp_path)) == whole
    with pytest.raises(CheckpointError, match=rf"state\.json' is damaged or of another version \(see {named}\)"):
        Progress.restored(whole | change, tmp_path)
    with pytest.raises(CheckpointError, match=r"\(see loss_sum\)"):
        Progress.restored({name: value for name, value in whole.items() if name != "loss_sum"}, tmp_path)


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


def test_a_package_is_trusted_by_name(run, tmp_path, monkeypatch):
    (tmp_path / "own_models.py").write_text(
        "from convlstm.models import EncoderForecaster\n\n\nclass Own(EncoderForecaster): ...\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    describe(run, _target_="own_models.Own")
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
        ({"hidden_channels": 4}, r"describes a model that cannot be built"),
        ({"kernel_size": 4}, "'kernel_size' must be odd"),
        ({"hidden_channels": [3]}, "belongs to another architecture"),
    ],
)
def test_a_description_that_fits_no_model_is_an_error(change, text, run):
    describe(run, **change)
    with pytest.raises(ValueError, match=text):
        load(run)


def test_a_configuration_without_a_model(run):
    (run / "checkpoints" / "last" / "config.yaml").write_text("seed: 0")
    seal(run / "checkpoints" / "last")
    with pytest.raises(CheckpointError, match="has no section 'model'"):
        load(run / "checkpoints" / "last")
