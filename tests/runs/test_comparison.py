"""Comparison of configurations: the values that differ, and the keys that do not matter."""

from __future__ import annotations

from convlstm.checkpoints.old_names import updated
from convlstm.runs.comparison import IRRELEVANT, differences, differing_keys

import pytest


def test_differences_are_the_keys_that_are_not_the_same():
    one = {"name": "a", "output": "x", "resume": None, "logger": None, "seed": 0, "model._target_": "A", "model.k": 3}
    two = one | {"name": "b", "output": "y", "resume": "r", "logger": 1, "seed": 1}
    assert differing_keys([one, one]) == []
    assert differing_keys([one, two]) == ["seed"]
    assert differing_keys([one, two, one | {"data.mask": True}]) == ["seed", "data.mask"]
    # What another class takes is told by the class.
    other = {**one, "model._target_": "B", "model.k": 5, "model.q": 1}
    assert differing_keys([one, other]) == ["model._target_", "model.k"]


def test_a_value_that_is_taken_from_another_key_counts_once():
    def config(rate, steps, other):
        return {
            "optimizer.learning_rate.learning_rate": rate,
            "schedule.learning_rate": rate,
            "schedule.steps": steps,
            "trainer.max_steps": steps,
            "trainer.warmup_steps": other,
        }

    assert differing_keys([config(1, 10, 1), config(2, 20, 5)]) == [
        "schedule.learning_rate",
        "trainer.max_steps",
        "trainer.warmup_steps",
    ]
    assert differing_keys([config(1, 10, 1), config(1, 10, 1) | {"schedule.steps": 9}]) == ["schedule.steps"]


ONE = {
    "model": {"_target_": "convlstm.models.EncoderForecaster", "head": {"_target_": "mlx.nn.Linear", "bias": True}},
    "data": {"digits": "mnist", "archive": "here/one.h5", "threads": 1, "size": 16},
    "schedule": {"learning_rate": 0.1, "steps": 10},
    "seed": 0,
}


def changed(**sections):
    return {key: value | sections[key] if key in sections else value for key, value in ONE.items() if key != "seed"}


def test_differences_have_the_former_and_the_current_value():
    other = changed(model={"head": {"_target_": "mlx.nn.Linear"}, "dropout": 0.5}, schedule={"learning_rate": 0.2})
    assert differences(ONE, ONE, list(ONE)) == []
    assert differences(ONE, other, ["model", "schedule", "seed"]) == [
        ("model.head.bias", True, None),
        ("model.dropout", None, 0.5),
        ("schedule.learning_rate", 0.1, 0.2),
        ("seed", 0, None),
    ]
    assert differences(ONE, other, ["data", "model.dropout"]) == [("model.dropout", None, 0.5)]


@pytest.mark.parametrize("section", IRRELEVANT)
def test_irrelevant_keys_make_no_difference(section):
    def nested(value):
        config = dict.fromkeys(IRRELEVANT[section], value)
        for name in reversed(section.split(".")):
            config = {name: config}
        return config

    assert differences(nested(1), nested(2), [section]) == []
    assert differences(nested(1), nested(2), [section.partition(".")[0]]) == []


@pytest.mark.parametrize(
    ("former", "current", "same"),
    [
        ({"archive": "here/one.h5"}, {"archive": "there/one.h5"}, True),
        ({"archive": ["a/1.h5", "a/2.h5"]}, {"archive": ["b/1.h5", "b/2.h5"]}, True),
        ({"archive": ["a/1.h5", "a/2.h5"]}, {"archive": ["a/2.h5", "a/1.h5"]}, False),
        ({"archive": "one.h5"}, {"archive": None}, False),
        ({"digits": "mnist"}, {"digits": "auto"}, True),
        ({"digits": "auto"}, {"digits": "mnist"}, False),
    ],
)
def test_archives_may_move_and_digits_may_be_those_of_the_run(former, current, same):
    assert (differences({"data": former}, {"data": current}, ["data"]) == []) == same


def test_old_names_of_classes_make_no_difference():
    old = {
        "model": {"_target_": "convlstm.baselines.Persistence", "parts": [{"_target_": "datasets.transforms.Linear"}]}
    }
    new = {
        "model": {
            "_target_": "convlstm.architectures.baselines.Persistence",
            "parts": [{"_target_": "convlstm.datasets.transforms.Linear"}],
        }
    }
    assert differences(updated(old), new, ["model"]) == []


def test_a_key_that_an_earlier_version_lacked_is_as_that_version_was():
    former = {"data": {"archive": "a"}}
    assert differences(former, {"data": {"archive": "a", "reverse": False, "rate_factor": 1.0}}, ("data",)) == []
    changed = {"data": {"archive": "a", "reverse": True, "rate_factor": 2.0}}
    assert differences(former, changed, ("data",)) == [
        ("data.reverse", None, True),
        ("data.rate_factor", None, 2.0),
    ]
