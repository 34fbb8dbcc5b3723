"""Training in bfloat16, and in float32 as without a precision."""

import warnings
from contextlib import nullcontext

from convlstm.layers import ConvLSTM, ConvLSTMCell
from convlstm.losses import BinaryCrossEntropy, MeanSquaredError
from convlstm.models import EncoderForecaster
from convlstm.training.loop import Trainer
from convlstm.training.optimizers import take_kernels
from convlstm.training.precision import PRECISIONS, weights_in_bfloat16
from convlstm.training.step import clipped, make_step, to_device
from tests.support.tiny import OVERRIDES, Fade, call

import mlx.core as mx
import mlx.nn as nn
import mlx.optimizers as optim
import numpy as np
import pytest
import yaml
from mlx.utils import tree_flatten

MSE = MeanSquaredError()
HALF = {"channels": 4, "kernel_size": 2, "stride": 2}
MODELS = {
    "patches": {"patch_size": 2, "concatenate": True},
    "levels, dropout": {"downsample": [None, HALF], "upsample": [None, HALF], "head_channels": [3], "dropout": 0.2},
    "recurrent dropout": {"hidden_channels": [4], "recurrent_dropout": 0.2, "bias": False, "grid_size": (8, 8)},
    "one term": {"hidden_channels": [4], "next_frame_weight": 0, "peepholes": False},
}


class Probe(EncoderForecaster):
    """A forecaster that records the types of its hidden states and of its forecast."""

    def __init__(self, **arguments):
        mx.random.seed(3)
        super().__init__(**{"hidden_channels": [4, 4], "kernel_size": 3, "next_frame_weight": 0.5} | arguments)
        self._seen = []

    def _forecast(self, inputs, horizon, key):
        forecast, hidden = super()._forecast(inputs, horizon, key)
        types = (self.training, {forecast.dtype, *(h.dtype for h in hidden)})
        if types not in self._seen:
            self._seen.append(types)
        return forecast, hidden


class Descent(optim.SGD):
    """Gradient descent that records the types of the gradients."""

    def apply_single(self, gradient, parameter, state):
        self.seen = [*getattr(self, "seen", []), gradient.dtype]
        return super().apply_single(gradient, parameter, state)


def small():
    return Probe(hidden_channels=[4], dropout=0.2)


def frames(seed=0, count=8, size=12, length=6):
    """Returns sequences of a blob that moves steadily over a torus."""
    rng = np.random.default_rng(seed)
    place, speed = rng.uniform(0, size, (count, 2)), rng.uniform(-1.5, 1.5, (count, 2))
    centres = place[:, None] + speed[:, None] * np.arange(length)[:, None]
    y, x = ((np.arange(size) - c[..., None] + size / 2) % size - size / 2 for c in np.moveaxis(centres, -1, 0))
    blobs = np.exp(-(y[..., :, None] ** 2 + x[..., None, :] ** 2) / 6)[..., None].astype(np.float32)
    return {"inputs": blobs[:, : length // 2], "targets": blobs[:, length // 2 :]}


class Blobs:
    def size(self, split):
        return 8

    def stream(self, split, batch_size, *, seed=0, epoch=0, start=0):
        for number in range(start, 8 // batch_size):
            yield frames(len(split) + 100 * (seed + epoch * 8 + number), batch_size, 8)

    def describe(self):
        return {"name": "blobs"}


def batch_of(**arguments):
    return to_device(frames(**arguments))


def prepared(model, optimizer, loss=MSE, max_grad_norm=None, **precision):
    optimizer.init(model.trainable_parameters())
    return make_step(model, optimizer, loss, max_grad_norm, **precision)


def flat(tree):
    return dict(tree_flatten(tree))


def bits(tree):
    return {name: (array.dtype, array.tolist()) for name, array in flat(tree).items()}


def cpu_warning():
    slow = mx.default_device() == mx.Device(mx.cpu)
    return pytest.warns(UserWarning, match="bfloat16 is slower than float32 on a CPU") if slow else nullcontext()


def fit(folder, model, precision, *, max_steps=4, resume=None):
    trainer = Trainer(max_steps, 2, validate_every=2, log_every=1, precision=precision)
    with cpu_warning() if precision == "bfloat16" else nullcontext():
        trainer.fit(model, optim.Adam(0.01), MSE, Blobs(), folder, {"model": {}}, resume=resume)
    return model


# float32


def test_float32_is_to_the_bit_what_it_is_without_a_precision():
    def plain_step(model, optimizer, loss, max_grad_norm):
        def objective(batch, key):
            return model.training_loss(loss, batch["inputs"], batch["targets"], None, key)

        take_kernels(optimizer)
        value_and_grad, state = nn.value_and_grad(model, objective), [model.state, optimizer.state]

        def step(batch, key):
            (_, value), gradients = value_and_grad(batch, key)
            gradients, norm = clipped(gradients, max_grad_norm)
            optimizer.update(model, gradients)
            return value, norm

        return mx.compile(step, inputs=state, outputs=state)

    def run(make):
        model, optimizer = small(), optim.Adam(0.01)
        optimizer.init(model.trainable_parameters())
        step = make(model, optimizer, BinaryCrossEntropy(), 0.02)
        results = [step(batch_of(seed=n), mx.random.key(n)) for n in range(3)]
        return bits([results, model.parameters(), optimizer.state])

    expected = run(plain_step)
    assert run(make_step) == expected
    assert run(lambda *arguments: make_step(*arguments, precision="float32")) == expected


# bfloat16


def test_a_step_in_bfloat16_by_hand():
    def narrow(x):
        return mx.array(x).astype(mx.bfloat16)

    batch = batch_of()
    last, targets = narrow(batch["inputs"][:, -1:]), np.array(batch["targets"], np.float64)
    forecast = np.array((last * narrow(0.3) + narrow(0.1)).astype(mx.float32), np.float64)
    error = forecast - targets
    gradient = [(2 * error * np.array(last.astype(mx.float32))).mean(), (2 * error).mean()]

    model, optimizer = Fade(0.3), Descent(0.1)
    value, norm = prepared(model, optimizer, precision="bfloat16")(batch, mx.random.key(0))
    assert value.item() == pytest.approx((error**2).mean(), rel=1e-5), "of targets that were not rounded"
    assert norm.item() == pytest.approx(np.linalg.norm(gradient), rel=0.02)
    assert model.weight.item() == pytest.approx(0.3 - 0.1 * gradient[0], abs=0.002 * abs(gradient[0]))
    assert model.bias.item() == pytest.approx(0.1 - 0.1 * gradient[1], abs=0.002 * abs(gradient[1]))
    assert model.weight.dtype == model.bias.dtype == mx.float32
    assert optimizer.seen == [mx.float32, mx.float32]


@pytest.mark.parametrize("arguments", MODELS.values(), ids=MODELS)
def test_the_model_runs_in_bfloat16_and_everything_else_in_float32(arguments):
    seen = []

    def loss(*arguments):
        seen.extend(array.dtype for array in arguments if array is not None)
        return MSE(*arguments)

    model, optimizer = Probe(**arguments), Descent(0.1, momentum=0.9)
    before = bits(model.parameters())
    step = prepared(model, optimizer, loss, precision="bfloat16")
    for n in range(2):
        value, norm = step(batch_of(seed=n, size=8), mx.random.key(n))
    assert model._seen == [(True, {mx.bfloat16})]
    assert set(seen) == set(optimizer.seen) == {value.dtype, norm.dtype} == {mx.float32}
    assert {array.dtype for array in flat(model.parameters()).values()} == {mx.float32}
    assert {array.dtype for name, array in flat(optimizer.state).items() if name.endswith(".v")} == {mx.float32}
    after = bits(model.parameters())
    assert all(after[name] != before[name] for name in before), "and every weight is trained"


def test_steps_too_small_for_bfloat16_add_up():
    model = Fade(0.5)
    step = prepared(model, optim.SGD(1e-3), lambda forecast, *others: forecast.mean(), precision="bfloat16")
    for _ in range(10):
        step({name: mx.ones((1, 1, 2, 2, 1)) for name in ("inputs", "targets")}, mx.random.key(0))
    assert model.weight.item() == pytest.approx(0.49, rel=1e-4), "0.5 - 1e-3 in bfloat16 is 0.5"


def test_a_mask_leaves_targets_out():
    batch = batch_of()
    mask = mx.zeros(batch["targets"].shape, mx.bool_)
    mask[:, 0] = True
    cut = batch | {"targets": batch["targets"][:, :1]}
    values = [
        prepared(Fade(), optim.SGD(0.1), precision="bfloat16")(each, mx.random.key(0))[0].item()
        for each in (batch | {"mask": mask}, cut)
    ]
    assert values[0] == pytest.approx(values[1], rel=1e-5)


@pytest.mark.parametrize("share", [0.25, 4])
def test_gradients_are_clipped(share):
    def moved(max_grad_norm):
        model = Fade()
        step = prepared(model, optim.SGD(1.0), MSE, max_grad_norm, precision="bfloat16")
        _, norm = step(batch_of(), mx.random.key(0))
        return norm.item(), np.array([0.5 - model.weight.item(), 0.1 - model.bias.item()])

    norm, free = moved(None)
    assert norm == pytest.approx(np.linalg.norm(free), rel=1e-5)
    told, clipped = moved(share * norm)
    assert told == pytest.approx(norm)
    np.testing.assert_allclose(clipped, free * min(share, 1), rtol=1e-4)


def test_weights_that_are_not_trained_stay_the_same():
    model = Fade(0.3)
    model.freeze(keys="bias")
    prepared(model, optim.SGD(0.1), precision="bfloat16")(batch_of(), mx.random.key(0))
    assert model.bias.dtype == mx.float32
    assert model.bias.item() == np.float32(0.1)
    assert model.weight.item() != np.float32(0.3)


def test_an_error_in_the_model_leaves_its_weights_float32():
    model = Fade(0.3)

    def fail():
        with weights_in_bfloat16(model):
            assert model.weight.dtype == mx.bfloat16
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    assert model.weight.dtype == mx.float32
    assert model.weight.item() == np.float32(0.3)


def test_bfloat16_learns_what_float32_learns():
    losses = {}
    for precision in PRECISIONS:
        model = Probe(hidden_channels=[8], patch_size=2, concatenate=True, output_mean=0.1)
        step = prepared(model, optim.Adam(1e-3), MSE, 1.0, precision=precision)
        values = [step(batch_of(seed=n), mx.random.key(n))[0].item() for n in range(200)]
        losses[precision] = np.mean(values[-20:])
        assert losses[precision] < 0.4 * values[0]
    assert losses["bfloat16"] == pytest.approx(losses["float32"], rel=0.02)


# Layers


@pytest.mark.parametrize("dtype", [mx.bfloat16, mx.float16, mx.float32])
@pytest.mark.parametrize("arguments", [{}, {"dropout": 0.5}, {"recurrent_dropout": 0.5}, {"bidirectional": True}])
def test_a_layer_keeps_the_type_of_its_weights(arguments, dtype):
    layer = ConvLSTM(2, 3, 3, **arguments)
    layer.set_dtype(dtype)
    x = mx.random.normal((2, 4, 5, 6, 2), key=mx.random.key(0)).astype(dtype)
    outputs, state = layer(x, key=mx.random.key(1))
    zeros = mx.zeros((2, 5, 6, 3), dtype)
    start = ((zeros, zeros), (zeros, zeros)) if layer.bidirectional else (zeros, zeros)
    assert {array.dtype for array in flat([outputs, state]).values()} == {dtype}
    assert bits([outputs, state]) == bits(list(layer(x, start, key=mx.random.key(1))))


def test_a_cell_keeps_the_type_of_its_weights():
    cell = ConvLSTMCell(2, 3, 3)
    cell.set_dtype(mx.bfloat16)
    assert [array.dtype for array in cell(mx.ones((1, 4, 4, 2), mx.bfloat16))] == [mx.bfloat16] * 2


# The loop and the command


def test_a_run_in_bfloat16_keeps_and_validates_float32(tmp_path):
    model = fit(tmp_path, small(), "bfloat16")
    # Each function is traced once: the step, and the forecast of the validation.
    assert model._seen == [(True, {mx.bfloat16}), (False, {mx.float32})]
    for file in ("model", "optimizer"):
        kept = mx.load(str(tmp_path / "checkpoints" / "last" / f"{file}.safetensors"))
        assert {array.dtype for array in kept.values()} <= {mx.float32, mx.uint64}


def test_a_run_in_bfloat16_resumes_exactly(tmp_path):
    whole = fit(tmp_path / "whole", small(), "bfloat16")
    fit(tmp_path / "cut", small(), "bfloat16", max_steps=3)
    last = tmp_path / "cut" / "checkpoints" / "last"
    model = fit(tmp_path / "cut", small(), "bfloat16", resume=last)
    assert bits(model.parameters()) == bits(whole.parameters())
    assert bits(fit(tmp_path / "wide", small(), "float32").parameters()) != bits(whole.parameters())


def test_only_a_cpu_gets_the_warning(tmp_path, monkeypatch):
    for device, count in ((mx.cpu, 1), (mx.gpu, 0)):
        with monkeypatch.context() as patch, warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            patch.setattr(mx, "default_device", lambda device=device: mx.Device(device))
            Trainer(3, 2, precision="bfloat16").fit(Fade(), optim.SGD(0.1), MSE, Blobs(), tmp_path / str(count), {})
        assert len(caught) == count


@pytest.mark.parametrize("precision", ["float16", "bf16", None])
def test_an_unknown_precision(precision):
    text = f"'precision' must be one of float32, bfloat16 but got {precision!r}"
    with pytest.raises(ValueError, match=rf"\[Trainer\] {text}"):
        Trainer(10, 2, precision=precision)
    with pytest.raises(ValueError, match=rf"\[make_step\] {text}"):
        make_step(Fade(), optim.SGD(0.1), MSE, precision=precision)


def test_a_change_of_precision_on_resume_is_printed(monkeypatch, capsys, tmp_path):
    def train(*changes):
        with warnings.catch_warnings():
            warnings.simplefilter("default")
            return call("train", monkeypatch, capsys, *OVERRIDES, f"output={tmp_path}", "name=run", *changes)

    status, _, err = train("trainer.max_steps=2", "trainer.precision=half")
    assert status == 1
    assert err == "train.py: trainer.precision: [Trainer] 'precision' must be one of float32, bfloat16 but got 'half'."
    assert not (tmp_path / "run").exists()

    assert train("trainer.max_steps=2")[::2] == (0, "")
    status, out, err = train("trainer.max_steps=3", "trainer.precision=bfloat16", "resume=auto")
    assert status == 0
    assert "changed     trainer.precision: 'float32' in the run so far, 'bfloat16' from here on" in out.splitlines()
    if mx.default_device() == mx.Device(mx.cpu):
        assert err.startswith("warning     bfloat16 is slower than float32 on a CPU, ")
        assert err.count("\n") == 1
    assert yaml.safe_load((tmp_path / "run" / "config.yaml").read_text())["trainer"]["precision"] == "bfloat16"
