"""Gradient accumulation: a batch in parts has the loss, the gradient and the step of the whole batch."""

from types import SimpleNamespace

from convlstm.architectures.convlstm_stack import ConvLSTMStack
from convlstm.losses import BalancedMeanSquaredError, BinaryCrossEntropy
from convlstm.models import EncoderForecaster
from convlstm.training.loop import Trainer
from convlstm.training.step import make_step, to_device
from tests.support.short_runs import MSE, Frames, column, fit, last, strip, weights
from tests.support.tiny import Fade

import mlx.core as mx
import mlx.optimizers as optim
import numpy as np
import pytest
from mlx.utils import tree_flatten, tree_map

KEY = mx.random.key(1)


@pytest.fixture(autouse=True)
def uncompiled(request):
    """Disables compilation, which takes longer than the tests of single steps."""
    if "tmp_path" not in request.fixturenames:
        mx.disable_compile()
    yield
    mx.enable_compile()


def forecaster():
    mx.random.seed(3)
    return EncoderForecaster(hidden_channels=[4], kernel_size=3, patch_size=2, concatenate=True, next_frame_weight=0.5)


def stack():
    mx.random.seed(3)
    return ConvLSTMStack(hidden_channels=[4], kernel_size=3, patch_size=2)


MODELS = {"fade": Fade, "two terms": forecaster, "all next frames": stack}


def frames(masked, count=8):
    rng = np.random.default_rng(0)
    x = rng.random((count, 6, 8, 8, 1), np.float32)
    batch = {"inputs": x[:, :3], "targets": x[:, 3:]}
    if masked:
        # From few known pixels to many, and two sequences without any.
        share = np.linspace(0, 1, count)[:, None, None, None, None]
        batch["mask"] = rng.random(batch["targets"].shape) < share
        batch["mask"][:2] = False
        batch["targets"] = np.where(batch["mask"], batch["targets"], np.float32(np.nan))
        batch["input_mask"] = rng.random(batch["inputs"].shape) < share[::-1]
    return to_device(batch)


def one_step(make, batch, loss=MSE, key=KEY, **settings):
    """Returns the loss, the norm and the weights after a step of gradient descent."""
    model, optimizer = make(), optim.SGD(1.0)
    optimizer.init(model.trainable_parameters())
    value, norm = make_step(model, optimizer, loss, **settings)(batch, key)
    return value.item(), norm.item(), {name: np.array(a) for name, a in tree_flatten(model.parameters())}


def close(one, other, rel=1e-5):
    assert one[0] == pytest.approx(other[0], rel=rel)
    assert one[1] == pytest.approx(other[1], rel=rel)
    for name, array in one[2].items():
        np.testing.assert_allclose(array, other[2][name], rtol=rel, atol=rel * one[1])


@pytest.mark.parametrize("masked", [False, True], ids=["all known", "masked"])
@pytest.mark.parametrize("make", MODELS.values(), ids=MODELS)
def test_parts_equal_the_whole(make, masked):
    batch = frames(masked)
    whole = one_step(make, batch)
    assert np.isfinite(whole[1])
    for parts in (2, 8):
        close(one_step(make, batch, parts=parts), whole)


@pytest.mark.parametrize("loss", [BinaryCrossEntropy(), BalancedMeanSquaredError([0.5], [1, 3])], ids=["bce", "b_mse"])
def test_parts_equal_the_whole_with_other_losses(loss):
    batch = frames(True)
    close(one_step(forecaster, batch, loss, parts=4), one_step(forecaster, batch, loss))


def test_clipping_is_of_the_whole_gradient():
    batch = frames(False)
    norm = one_step(Fade, batch)[1]
    clipped = [one_step(Fade, batch, parts=parts, max_grad_norm=norm / 2) for parts in (1, 4)]
    close(*clipped)
    moved = np.sqrt(sum(((clipped[1][2][name] - start) ** 2).sum() for name, start in (("weight", 0.5), ("bias", 0.1))))
    assert moved == pytest.approx(norm / 2, rel=1e-3)


def test_ten_steps_with_an_optimizer_equal_those_of_the_whole():
    losses = []
    for parts in (1, 4):
        model, optimizer = forecaster(), optim.Adam(1e-3)
        optimizer.init(model.trainable_parameters())
        step = make_step(model, optimizer, MSE, 1.0, parts=parts)
        losses.append([step(frames(True), mx.random.key(n))[0].item() for n in range(10)])
    np.testing.assert_allclose(losses[1], losses[0], rtol=1e-5)
    assert losses[0][-1] < losses[0][0]


def test_a_batch_with_nothing_known_changes_nothing():
    batch = frames(False)
    batch["mask"] = mx.zeros(batch["targets"].shape, mx.bool_)
    value, norm, after = one_step(Fade, batch, parts=2)
    assert (value, norm) == (0, 0)
    assert after["weight"] == np.float32(0.5)


class Penalised(Fade):
    """Adds a penalty to the loss."""

    def training_loss(self, loss, inputs, targets, mask, key):
        value = loss(self(inputs, targets.shape[1]), targets, mask)
        return value + mx.square(self.weight).sum(), value


def test_terms_beside_the_losses_count_once():
    batch = frames(True)
    close(one_step(Penalised, batch, parts=4), one_step(Penalised, batch))


def test_each_part_has_its_own_key():
    class Noise(Fade):
        def __call__(self, inputs, horizon, *, key=None):
            return mx.random.uniform(shape=(len(inputs), horizon, 1, 1, 1), key=key) + 0 * self.weight

    ones = {"inputs": mx.ones((4, 1, 1, 1, 1)), "targets": mx.zeros((4, 1, 1, 1, 1))}

    def mean(forecast, target, mask=None):
        return forecast.mean()

    def drawn(key, count):
        return np.array(mx.random.uniform(shape=(count, 1, 1, 1, 1), key=key)).mean()

    keys = mx.random.split(KEY, 2)
    assert one_step(Noise, ones, mean)[0] == pytest.approx(drawn(KEY, 4))
    assert one_step(Noise, ones, mean, parts=2)[0] == pytest.approx((drawn(keys[0], 2) + drawn(keys[1], 2)) / 2)


def test_the_weights_of_rank_and_parts_are_those_of_the_whole_batch():
    """Two ranks, one after the other; the test exchanges their arrays by hand."""
    batch = frames(True)
    halves = [{name: a[r * 4 : (r + 1) * 4] for name, a in batch.items()} for r in range(2)]

    class Rank(SimpleNamespace):
        size = 2

        def mean(self, tree):
            self.sent.append(tree)
            others = self.others.pop(0) if self.others else tree
            return tree_map(lambda a, b: (a + b) / 2, tree, others)

    def run(rank, others):
        sent = []
        result = one_step(forecaster, halves[rank], parts=2, ranks=Rank(rank=rank, sent=sent, others=list(others)))
        return sent, result

    counts = [run(rank, [])[0][0] for rank in range(2)]
    gradients = [run(rank, [counts[1 - rank]])[0][1] for rank in range(2)]
    results = [run(rank, [counts[1 - rank], gradients[1 - rank]])[1] for rank in range(2)]
    whole = one_step(forecaster, batch, parts=4)
    for result in results:
        close(result, whole)
    assert counts[0].item() if counts[0].size == 1 else (counts[0] != counts[1]).any().item()


@pytest.mark.parametrize("compiled", [False, True])
def test_statistics_that_a_model_keeps_see_every_part_once(compiled):
    if compiled:
        mx.enable_compile()

    class Counting(Fade):
        def __init__(self):
            super().__init__()
            self.seen = mx.zeros(1)
            self.freeze(keys="seen")

        def __call__(self, inputs, horizon, *, key=None):
            self.seen = 0.9 * self.seen + 0.1 * mx.stop_gradient(inputs).mean()
            return super().__call__(inputs, horizon)

    batch = frames(False)
    x, expected = np.array(batch["inputs"]), 0.0
    for part in (x[:4], x[4:]):
        expected = 0.9 * expected + 0.1 * part.mean()
    assert one_step(Counting, batch, parts=2)[2]["seen"] == pytest.approx(expected, rel=1e-5)


def test_in_bfloat16_the_parts_are_added_up_in_float32():
    batch = frames(False)
    types = []

    class Descent(optim.SGD):
        def apply_single(self, gradient, parameter, state):
            types.append(gradient.dtype)
            return super().apply_single(gradient, parameter, state)

    results = []
    for parts in (1, 8):
        model, optimizer = forecaster(), Descent(1.0)
        optimizer.init(model.trainable_parameters())
        value, norm = make_step(model, optimizer, MSE, precision="bfloat16", parts=parts)(batch, KEY)
        results.append((value.item(), norm.item()))
    assert set(types) == {mx.float32}
    assert results[1] == pytest.approx(results[0], rel=0.01)


def test_a_batch_that_cannot_be_cut():
    with pytest.raises(ValueError, match=r"\[make_step\] a batch of 8 sequences cannot be cut into 3 equal 'parts'"):
        one_step(Fade, frames(False), parts=3)


# In training


def test_a_run_in_parts_is_the_run_of_whole_batches(tmp_path):
    runs = [fit(tmp_path / str(n), Frames(sequences=28), batch_size=4, accumulate=n)[0] for n in (1, 4)]
    losses = [np.array(column(tmp_path / str(n), "train_loss"), float) for n in (1, 4)]
    np.testing.assert_allclose(losses[1], losses[0], rtol=1e-5)
    assert runs[1].weight.item() == pytest.approx(runs[0].weight.item(), rel=1e-4)
    noisy = [
        fit(tmp_path / f"noisy {n}", Frames(sequences=28), Fade(dropout=0.3), batch_size=4, accumulate=n, max_steps=2)
        for n in (1, 4)
    ]
    assert weights(noisy[0][0]) != weights(noisy[1][0]), "parts draw other masks"


@pytest.mark.parametrize("stop", [1, 5, 8])
def test_a_run_in_parts_resumes_exactly(stop, tmp_path):
    settings = {"accumulate": 2, "validate_every": 100}
    whole, _ = fit(tmp_path / "whole", model=Fade(dropout=0.3), max_steps=9, **settings)
    fit(tmp_path / "cut", model=Fade(dropout=0.3), max_steps=stop, **settings)
    model, _ = fit(tmp_path / "cut", model=Fade(dropout=0.3), max_steps=9, resume=last(tmp_path / "cut"), **settings)
    assert weights(model) == weights(whole)
    assert strip(tmp_path / "cut")[-1] == strip(tmp_path / "whole")[-1]


@pytest.mark.parametrize(
    ("settings", "text"),
    [
        ({"accumulate": 0}, "'accumulate' must be a whole number of at least 1 but got 0"),
        ({"accumulate": 3}, r"'batch_size' must be a multiple of 'accumulate' \(3\) but got 4\. Change one"),
    ],
)
def test_numbers_of_parts_that_do_not_fit(settings, text):
    with pytest.raises(ValueError, match=rf"\[Trainer\] {text}"):
        Trainer(10, 4, **settings)
