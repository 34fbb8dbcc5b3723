"""Schedules of scheduled sampling: closed forms, and the formulas of OpenSTL and predrnn-pytorch."""

import math
import re

from convlstm.training import sampling
from convlstm.training.sampling import exponential, inverse_sigmoid, linear, reverse
from tests.support.project import PROJECT
from tests.support.tiny import OVERRIDES, call

import hydra
import mlx.core as mx
import numpy as np
import pytest
import yaml


def shares(schedule, steps, dtype=mx.uint64):
    """Returns the probabilities of each step, (steps, 1 or 2)."""
    return np.array([schedule(mx.array(step, dtype)).tolist() for step in steps])


def test_linear_by_hand():
    values = shares(linear(0.9, 0.1, 8), [0, 1, 4, 8, 9, 10**6])
    np.testing.assert_allclose(values, np.array([[0.9, 0.8, 0.5, 0.1, 0.1, 0.1]]).T, rtol=1e-6)
    np.testing.assert_allclose(shares(linear(0, 1, 4), range(6)).T, [[0, 0.25, 0.5, 0.75, 1, 1]])


def test_linear_is_openstls_one_step_later():
    eta, expected = 1.0, []
    for _ in range(50_000):
        eta -= 0.00002
        expected.append(eta)
    steps = [0, 1, 777, 24_999, 49_999]
    values = shares(linear(), [step + 1 for step in steps])
    np.testing.assert_allclose(values[:, 0], [expected[step] for step in steps], rtol=0, atol=1e-6)
    assert shares(linear(), [0, 50_000, 10**6]).tolist() == [[1], [0], [0]]


def test_exponential_by_hand():
    values = shares(exponential(0.8, 0.2, 10 / math.log(2)), [0, 10, 20, 30, 10**6])
    np.testing.assert_allclose(values[:, 0], [0.8, 0.5, 0.35, 0.275, 0.2], rtol=1e-6)
    np.testing.assert_allclose(shares(exponential(), [10_000]), [[math.exp(-1)]], rtol=1e-6)


def test_inverse_sigmoid_by_hand():
    # Bengio et al.: k / (k + exp(i / k)).
    k, steps = 20.0, [0, 5, 60, 120, 300]
    np.testing.assert_allclose(
        shares(inverse_sigmoid(k), steps)[:, 0], [k / (k + math.exp(i / k)) for i in steps], 1e-5
    )
    assert shares(inverse_sigmoid(k), [20 * math.log(20)], mx.float32).item() == pytest.approx(0.5, rel=1e-5)
    assert shares(inverse_sigmoid(), [10**9]).item() == 0


def released(step, hold=25_000, end=50_000, alpha=5_000):
    """Returns the probabilities of predrnn-pytorch."""
    if step < hold:
        return 0.5, 0.5
    if step < end:
        return 1 - 0.5 * math.exp(-(step - hold) / alpha), 0.5 - 0.5 / (end - hold) * (step - hold)
    return 1.0, 0.0


@pytest.mark.parametrize("options", [{}, {"hold": 100, "end": 300, "alpha": 25}, {"hold": 0, "end": 7, "alpha": 3}])
def test_reverse_is_that_of_predrnn(options):
    hold, end = options.get("hold", 25_000), options.get("end", 50_000)
    steps = [0, 1, hold - 1, hold, hold + 1, (hold + end) // 2, end - 1, end, end + 1, 10 * end]
    steps = [step for step in steps if step >= 0]
    named = {("time_constant" if name == "alpha" else name): value for name, value in options.items()}
    values = shares(reverse(**named), steps)
    np.testing.assert_allclose(values, [released(step, **options) for step in steps], rtol=0, atol=1e-6)


def test_reverse_with_a_linear_rise_and_another_start():
    values = shares(reverse(4, 8, "linear", start=0.2), range(10))
    np.testing.assert_allclose(values[:, 0], [0.2] * 5 + [0.4, 0.6, 0.8, 1, 1], rtol=1e-6)
    np.testing.assert_allclose(values[:, 1], [0.2] * 5 + [0.15, 0.1, 0.05, 0, 0], rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("schedule", [linear(), exponential(), inverse_sigmoid(), reverse()])
def test_a_function_of_the_step_that_compiles(schedule):
    steps = [0, 1, 9_999, 30_000, 60_000]
    values = shares(schedule, steps)
    assert values.shape == (5, 2 if schedule.__qualname__.startswith("reverse") else 1)
    for dtype in (mx.int32, mx.uint32, mx.float32):
        np.testing.assert_allclose(shares(mx.compile(schedule), steps, dtype), values, rtol=1e-6, atol=1e-7)
    assert (values >= 0).all()
    assert (values <= 1).all()


@pytest.mark.parametrize("name", ["linear", "exponential", "inverse_sigmoid", "reverse"])
def test_the_yaml_is_the_default(name):
    with hydra.initialize_config_dir(str(PROJECT / "configs"), version_base="1.3"):
        config = hydra.compose(f"sampling/{name}")
    schedule, plain = hydra.utils.instantiate(config.sampling, _convert_="all"), getattr(sampling, name)()
    steps = [0, 1, 1_000, 10_000, 33_333, 100_000]
    assert shares(schedule, steps).tolist() == shares(plain, steps).tolist()


FED = ("model=convlstm_stack", "loss=mse", "trainer.max_steps=2", "trainer.log_every=1")


def losses(folder):
    return [line.split(",")[4] for line in (folder / "metrics.csv").read_text().splitlines()[1:]]


def test_the_command_takes_a_schedule(tmp_path, monkeypatch, capsys):
    for name, arguments in (("free", ()), ("forced", ("sampling=linear", "sampling.end=1.0"))):
        where = (f"output={tmp_path}", f"name={name}")
        status, _, err = call("train", monkeypatch, capsys, *OVERRIDES, *FED, *where, *arguments)
        assert status == 0, err
    header = (tmp_path / "free" / "metrics.csv").read_text().split("\n")[0]
    assert header.split(",")[4] == "train_loss"
    assert losses(tmp_path / "free") != losses(tmp_path / "forced")
    config = yaml.safe_load((tmp_path / "forced" / "config.yaml").read_text())
    expected = {"_target_": "convlstm.training.sampling.linear", "start": 1.0, "end": 1.0, "steps": 50_000}
    assert config["sampling"] == expected


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ("sampling=reverse",),
            "models that feed on their forecasts, and model=encoder_forecaster (model._target_: EncoderForecaster) ",
        ),
        ((*FED, "sampling=linear", "sampling.start=2.0"), "sampling.start: [linear] 'start' must be at most 1"),
        (
            (*FED, "+sampling.start=1.0"),
            "'sampling' must describe an object but lacks 'sampling._target_'. Choose one of configs/sampling.",
        ),
        (
            (*FED, "sampling=linear", "sampling._target_=convlstm.losses.MeanSquaredError"),
            "'sampling._target_' must name a function of the step that gives probabilities",
        ),
    ],
)
def test_the_command_names_the_key(arguments, message, tmp_path, monkeypatch, capsys):
    status, _, err = call("train", monkeypatch, capsys, *OVERRIDES, f"output={tmp_path}", "name=a", *arguments)
    assert status == 1
    assert message in err
    assert not (tmp_path / "a").exists()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: linear(1.1), "[linear] 'start' must be at most 1 but got 1.1."),
        (lambda: linear(1, -0.1), "[linear] 'end' must be at least 0 but got -0.1."),
        (lambda: linear(steps=0), "[linear] 'steps' must be at least 1 but got 0."),
        (lambda: exponential(math.nan), "[exponential] 'start' must be a finite number but got nan."),
        (lambda: exponential(1, 2), "[exponential] 'end' must be at most 1 but got 2."),
        (lambda: exponential(steps=0.5), "[exponential] 'steps' must be at least 1 but got 0.5."),
        (lambda: inverse_sigmoid(0.9), "[inverse_sigmoid] 'k' must be at least 1 but got 0.9."),
        (lambda: inverse_sigmoid(math.inf), "[inverse_sigmoid] 'k' must be a finite number but got inf."),
        (lambda: reverse(start=2), "[reverse] 'start' must be at most 1 but got 2."),
        (
            lambda: reverse(-1),
            "[reverse] 'hold' must be a whole number of at least 0 but got -1.",
        ),
        (lambda: reverse(5, 5), "'end' larger than it but got hold=5 and end=5."),
        (lambda: reverse(time_constant=0), "[reverse] 'time_constant' must be at least 1 but got 0."),
        (lambda: reverse(rise="fast"), "[reverse] 'rise' must be one of exponential, linear but got 'fast'."),
    ],
)
def test_bad_arguments(make, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        make()
