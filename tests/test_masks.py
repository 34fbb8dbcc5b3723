"""The contract of masks: what is unknown has no part in any term of any model's loss."""

from convlstm.losses import MeanSquaredError
from convlstm.training.step import make_step, to_device
from tests.support.reference import normal
from tests.test_contract import MODELS, built

import mlx.core as mx
import mlx.nn as nn
import mlx.optimizers as optim
import numpy as np
import pytest
from mlx.utils import tree_flatten

MSE = MeanSquaredError()
SHARES = (None, (0.5,), (0.5, 0.5))


def options(name):
    """Returns the further arguments of a model."""
    return {"next_frame_weight": 0.5} if name.startswith("encoder_forecaster") else {}


def batch_of(rng, bad):
    """Returns a batch whose unknown targets are `bad`; unknown inputs have the value that the data fill in."""
    x, y = normal(rng, (2, 3, 8, 12, 2)), normal(rng, (2, 4, 8, 12, 2))
    mask, known = normal(rng, y.shape) > -0.3, normal(rng, x.shape) > -0.3
    return {"inputs": x, "targets": mx.where(mask, y, bad), "mask": mask, "input_mask": known}


@pytest.mark.parametrize("name", MODELS)
def test_values_under_the_mask_change_no_loss_and_no_gradient(name, rng):
    model = built(name, rng, **options(name))
    state = rng.bit_generator.state
    results = []
    for bad in (0.0, 1e6, mx.nan):
        rng.bit_generator.state = state
        batch = batch_of(rng, bad)
        arguments = batch["inputs"], batch["targets"], batch["mask"], mx.random.key(0)

        def objective(*arguments, known=batch["input_mask"]):
            if not hasattr(model, "training_loss"):
                return MSE(model(arguments[0], 4), *arguments[1:3])
            share = {"truth_share": mx.array([0.5])} if hasattr(model, "feeds_back") else {}
            return model.training_loss(MSE, *arguments, input_mask=known, **share)[0]

        value, gradients = nn.value_and_grad(model, objective)(*arguments)
        results.append([("loss", value), *tree_flatten(gradients)])
    for (part, first), *others in zip(*results, strict=True):
        assert mx.isfinite(first).all(), part
        for _, other in others:
            assert mx.array_equal(first, other), part


@pytest.mark.parametrize("share", SHARES, ids=str)
@pytest.mark.parametrize("name", [name for name in MODELS if hasattr(MODELS[name](2), "training_loss")])
def test_no_term_sees_what_is_unknown(name, share, rng):
    model = built(name, rng, **options(name))
    if share is not None and not hasattr(model, "feeds_back"):
        pytest.skip("the model reads no targets")
    batch = batch_of(rng, 200.0)
    known = batch["input_mask"]
    inputs = mx.where(known, batch["inputs"], 100.0)
    counted = []

    def spy(forecast, target, mask=None):
        seen = np.array(target)[np.broadcast_to(np.array(mask != 0), target.shape)]
        assert seen.max() < 100
        counted.append(seen.size)
        return MSE(forecast, target, mask)

    more = {} if share is None else {"truth_share": mx.array(share)}
    model.training_loss(spy, inputs, batch["targets"], batch["mask"], mx.random.key(0), input_mask=known, **more)
    of_targets, of_inputs = batch["mask"].sum().item(), known[:, 1:].sum().item()
    wanted = [of_targets, of_targets + of_inputs] if hasattr(model, "feeds_back") else [of_targets, of_inputs]
    assert counted == wanted


@pytest.mark.parametrize("parts", [1, 2])
def test_a_step_gives_the_mask_of_the_inputs_to_models_that_predict_them(parts, rng):
    name = "encoder_forecaster of ConvLSTM"
    weights = tree_flatten(built(name, rng, next_frame_weight=1.0).parameters())
    batch = {key: np.array(array) for key, array in batch_of(rng, 0.0).items()}
    key = mx.random.key(0)
    results = []
    for known in (batch["input_mask"], np.ones_like(batch["input_mask"]), None):
        model = built(name, rng, next_frame_weight=1.0)
        model.load_weights(weights)
        optimizer = optim.SGD(0.1)
        optimizer.init(model.trainable_parameters())
        on_device = to_device(batch | {"input_mask": known})
        _, norm = make_step(model, optimizer, MSE, parts=parts)(on_device, key)
        model.load_weights(weights)

        def objective(model=model, batch=on_device):
            arguments = batch["inputs"], batch["targets"], batch["mask"], key
            return model.training_loss(MSE, *arguments, input_mask=batch.get("input_mask"))[0]

        wanted = nn.value_and_grad(model, objective)()[1]
        wanted_norm = sum(mx.square(g).sum().item() for _, g in tree_flatten(wanted)) ** 0.5
        assert norm.item() == pytest.approx(wanted_norm, rel=1e-4)
        results.append(norm.item())
    assert results[1] == pytest.approx(results[2], rel=1e-6)
    assert abs(results[0] - results[1]) > 1e-3 * results[1]


def test_models_of_users_need_not_know_the_mask_of_the_inputs(rng):
    class Own(nn.Module):
        def __init__(self):
            super().__init__()
            self.factor = mx.array(0.5)

        def training_loss(self, loss, inputs, targets, mask, key):
            value = loss(inputs[:, -1:] * self.factor, targets[:, :1], mask[:, :1])
            return value, value

    model, optimizer = Own(), optim.SGD(0.1)
    optimizer.init(model.trainable_parameters())
    assert np.isfinite(make_step(model, optimizer, MSE)(batch_of(rng, 0.0), mx.random.key(0))[0].item())
