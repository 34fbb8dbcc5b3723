"""The average of the weights: its closed form, and its use in training and forecasts."""

from convlstm import load
from convlstm.checkpoints import load_weights
from convlstm.training.ema import WeightAverage
from convlstm.training.loop import Trainer
from tests.support.short_runs import Frames, column, fit, last, rows, strip, weights
from tests.support.tiny import Fade

import mlx.core as mx
import numpy as np
import pytest


def walk(decay, values, start=0.5, steps=0):
    """Returns the averages after each value of a weight."""
    model = Fade(start)
    average, seen = WeightAverage(model, decay, steps=steps), []
    for value in values:
        model.weight = mx.array([value])
        average.update(model)
        seen.append(average.weights["weight"].item())
    return seen


# The closed form


@pytest.mark.parametrize("decay", [0.05, 0.1])
def test_a_decay_below_that_of_the_start_is_a_geometric_sum(decay):
    values = np.linspace(1, 2, 9)
    n = np.arange(1, 10)
    expected = [
        decay**m * 0.5 + (1 - decay) * sum(decay ** (m - i) * values[i - 1] for i in range(1, m + 1)) for m in n
    ]
    np.testing.assert_allclose(walk(decay, values), expected, rtol=1e-6)


def test_the_average_of_a_weight_that_stands_still_comes_near_it_as_the_decays_say():
    # a_n - w = (a_0 - w) d_0 d_1 ... d_{n-1}, and the product of (1 + t) / (10 + t) is 9! n! / (n + 9)!
    n = np.arange(1, 31)
    left = np.array([np.prod([(1 + t) / (10 + t) for t in range(m)]) for m in n])
    assert left[2] == pytest.approx(6 * 362880 / 479001600)
    np.testing.assert_allclose(walk(0.999, np.full(30, 2.0), start=1.0), 2 - left, rtol=1e-6)


def test_the_decay_grows_with_the_steps_up_to_its_limit():
    seen = [walk(0.5, [2.0], start=1.0, steps=t)[0] for t in range(12)]
    decays = [1 / 10, 2 / 11, 3 / 12, 4 / 13, 5 / 14, 6 / 15, 7 / 16, 8 / 17, *[0.5] * 4]
    np.testing.assert_allclose(seen, 2 - np.array(decays), rtol=1e-6)


def test_only_weights_that_are_trained_are_averaged_and_in_float32():
    model = Fade(1.0, 3.0)
    model.freeze(keys="bias")
    model.weight = model.weight.astype(mx.bfloat16)
    average = WeightAverage(model, 0.9)
    model.weight, model.bias = mx.array([2.0], mx.bfloat16), mx.array([9.0])
    average.update(model)
    assert list(average.weights) == ["weight"]
    assert average.weights["weight"].dtype == mx.float32
    assert average.weights["weight"].item() == pytest.approx(0.1 + 0.9 * 2)


def test_within_the_block_the_model_has_the_averages():
    model = Fade(1.0)
    average = WeightAverage(model, 0.9)
    model.weight = mx.array([2.0])
    own = model.weight

    def use():
        with average.applied(model):
            assert model.weight.item() == 1.0
            raise KeyError

    with pytest.raises(KeyError):
        use()
    assert model.weight is own


# In training


def test_a_run_keeps_the_average_of_its_weights_and_validates_it(tmp_path):
    model, _ = fit(tmp_path / "run", max_steps=5, validate_every=100, checkpoint_every=1, keep_last=9, ema=0.2)
    plain, _ = fit(tmp_path / "plain", max_steps=5, validate_every=100)
    assert weights(model) == weights(plain), "the weights themselves are trained as ever"
    expected = {"weight": 0.5, "bias": 0.1}
    for t, age in enumerate([".previous.4", ".previous.3", ".previous.2", ".previous", ""]):
        d = min(0.2, (1 + t) / (10 + t))
        step = mx.load(str(last(tmp_path / "run", f"last{age}") / "model.safetensors"))
        expected = {name: d * a + (1 - d) * step[name].item() for name, a in expected.items()}
    kept = mx.load(str(last(tmp_path / "run") / "ema.safetensors"))
    assert {name: array.item() for name, array in kept.items()} == pytest.approx(expected, rel=1e-5)

    parts = [Frames().batch("validation", number, 2) for number in range(3)]
    x = np.concatenate([part["inputs"][:, -1:] for part in parts]).astype(np.float64)
    y = np.concatenate([part["targets"] for part in parts]).astype(np.float64)
    loss = ((x * expected["weight"] + expected["bias"] - y) ** 2).mean()
    (row,) = [row for row in rows(tmp_path / "run") if row["val_loss"]]
    assert float(row["val_loss"]) == pytest.approx(loss, rel=1e-5)
    assert column(tmp_path / "run", "train_loss") == column(tmp_path / "plain", "train_loss")
    assert column(tmp_path / "run", "val_loss") != column(tmp_path / "plain", "val_loss")
    assert not (last(tmp_path / "plain") / "ema.safetensors").exists()


def test_load_takes_the_average_if_there_is_one(tmp_path):
    model, _ = fit(tmp_path, max_steps=5, ema=0.9)
    kept = mx.load(str(last(tmp_path) / "ema.safetensors"))["weight"].item()
    assert kept != model.weight.item()
    for ema, expected in ((None, kept), (True, kept), (False, model.weight.item())):
        assert load(last(tmp_path), trusted=["tests"], ema=ema).weight.item() == expected
    other = Fade()
    load_weights(last(tmp_path), other)
    assert other.weight.item() == model.weight.item()


def test_the_average_starts_and_ends_with_its_setting(tmp_path):
    fit(tmp_path, max_steps=4)
    before = mx.load(str(last(tmp_path) / "model.safetensors"))["weight"].item()
    model, progress = fit(tmp_path, max_steps=5, ema=0.9, resume=last(tmp_path))
    assert progress.averaged == 1
    average = mx.load(str(last(tmp_path) / "ema.safetensors"))["weight"].item()
    assert average == pytest.approx(0.1 * before + 0.9 * model.weight.item(), rel=1e-6)

    _, progress = fit(tmp_path, max_steps=6, resume=last(tmp_path))
    assert progress.averaged == 0
    assert not (last(tmp_path) / "ema.safetensors").exists()
    _, progress = fit(tmp_path, max_steps=8, ema=0.9, resume=last(tmp_path))
    assert progress.averaged == 2


@pytest.mark.parametrize("stop", [1, 4, 5, 8])
def test_a_run_with_an_average_resumes_exactly(stop, tmp_path):
    settings = {"ema": 0.9, "validate_every": 100}
    fit(tmp_path / "whole", max_steps=9, **settings)
    fit(tmp_path / "cut", max_steps=stop, **settings)
    fit(tmp_path / "cut", max_steps=9, resume=last(tmp_path / "cut"), **settings)
    for name in ("model", "optimizer", "ema"):
        kept = [(last(tmp_path / run) / f"{name}.safetensors").read_bytes() for run in ("whole", "cut")]
        assert kept[0] == kept[1]
    assert strip(tmp_path / "cut")[-1] == strip(tmp_path / "whole")[-1]


@pytest.mark.parametrize("decay", [0, 1, -0.5, 1.5, float("nan")])
def test_a_decay_out_of_range(decay):
    text = rf"\[Trainer\] 'ema' must be between 0 and 1, or null for no average, but got {decay}"
    with pytest.raises(ValueError, match=text):
        Trainer(10, 2, ema=decay)
