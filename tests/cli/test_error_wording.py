"""Wording of errors: the keys that they are about, and what was probably meant."""

from convlstm.cli.error_wording import (
    keys_of_path,
    led_by_keys,
    no_such_key,
    shown,
    suggestion,
    value_at,
    with_sections,
)

import pytest

SETTINGS = {
    "model": {"_target_": "convlstm.models.EncoderForecaster", "kernel_size": 3, "split": 1},
    "data": {
        "_target_": "convlstm.datasets.moving_mnist.MovingMNIST",
        "split": [1],
        "synthetic": {"wind": 3},
        "root": "/a/b",
    },
    "optimizer": {"_target_": "mlx.optimizers.Adam", "betas": [1, 2], "eps": 0},
    "loss": {
        "_target_": "convlstm.losses.Balanced",
        "bins": {"_target_": "convlstm.datasets.transforms.to_unit", "values": [1]},
    },
}


@pytest.mark.parametrize(
    ("text", "place", "lead"),
    [
        ("[ConvLSTMCell] 'kernel_size' must be odd", "", "model.kernel_size: "),
        ("[MovingMNIST] 'split' is wrong", "", "data.split: "),
        ("[EncoderForecaster] 'split' is wrong", "", "model.split: "),
        ("'split' is wrong", "", ""),
        ("'split' is wrong", "data", "data.split: "),
        ("[SyntheticRadar] 'wind' is wrong", "data", "data.synthetic.wind: "),
        ("[Balanced] 'bins' must ascend", "loss", "loss.bins, loss.bins.values: "),
        ("Adam beta1 should be", "optimizer", "optimizer.betas: "),
        ("Adam epsilon should be", "optimizer", "optimizer.eps: "),
        ("there is nothing at /a/b", "data", "data.root: "),
        ("something else", "data", "data: "),
        ("'model.kernel_size' must be odd: 'kernel_size'", "", ""),
        ("something else", "", ""),
    ],
)
def test_errors_are_led_by_their_keys(text, place, lead):
    assert led_by_keys(text, SETTINGS, place) == lead + text


def test_keys_of_paths():
    settings = {"output": "/runs", "name": "mine", "data": {"archive": ["/x", "~/y"], "root": None}, "seed": 0}
    assert keys_of_path(settings, "/runs/mine/config.yaml") == ["output", "name"]
    assert keys_of_path(settings, "nothing at /x") == ["data.archive"]
    assert keys_of_path(settings, "nothing") == []
    assert keys_of_path(settings, "/runs2/mine_too") == []


def test_what_was_suggestion():
    assert suggestion("max_step", ["max_steps", "batch_size"]) == " Did you mean 'max_steps'?"
    assert suggestion("max_step", ["max_steps"], "trainer") == " Did you mean 'trainer.max_steps'?"
    assert suggestion("zzz", ["max_steps"]) == ""
    assert suggestion("max_steps", ["max_steps"]) == ""
    assert no_such_key("a.b", []) == "there is no key 'a.b'."


def test_long_values_are_cut():
    assert len(shown("a" * 5000)) < 100
    assert len(shown(list(range(5000)))) < 100
    assert shown([1, "a"]) == "[1, 'a']"


def test_a_value_at_a_key():
    assert value_at(SETTINGS, "data.synthetic.wind") == 3
    assert value_at(SETTINGS, "data.synthetic.wind.speed") is None
    assert value_at(SETTINGS, "nothing") is None
    assert value_at(SETTINGS, "") is SETTINGS


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Name its units: reader.units=mm/h, or raw", "Name its units: data.reader.units=mm/h, or raw"),
        ("data.reader.units=mm/h", "data.reader.units=mm/h"),
        ("allow it: most_clipped=0.1.", "allow it: data.most_clipped=0.1."),
        ("the reader. A sentence", "the reader. A sentence"),
    ],
)
def test_keys_of_the_data_have_their_section_but_in_forecasts(text, expected):
    assert with_sections("train", text) == with_sections("evaluate", text) == expected
    assert with_sections("forecast", text) == text
