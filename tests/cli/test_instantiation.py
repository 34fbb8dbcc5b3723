"""Sections that describe objects: their values must be what the classes that they name take."""

import re

from convlstm.cli.instantiation import check_kind, check_types, fitting

import mlx.nn as nn
import pytest

TRAINER = {"_target_": "convlstm.training.loop.Trainer", "max_steps": 1, "batch_size": 2}
LOSS = {"_target_": "convlstm.losses.BinaryCrossEntropy", "epsilon": 1e-6}


@pytest.mark.parametrize(
    ("settings", "text"),
    [
        ({"trainer": TRAINER | {"max_steps": "a"}}, "'trainer.max_steps' must be int but got 'a'."),
        ({"trainer": TRAINER | {"max_steps": True}}, "'trainer.max_steps' must be int but got True."),
        ({"trainer": TRAINER | {"max_steps": 1 << 63}}, "'trainer.max_steps' must be int but got"),
        ({"trainer": TRAINER | {"patience": []}}, "'trainer.patience' must be int | null but got []."),
        (
            {"trainer": TRAINER | {"max_step": 1}},
            "there is no key 'trainer.max_step'. Did you mean 'trainer.max_steps'?",
        ),
        ({"trainer": TRAINER | {"max_step": 1}}, "They belong to trainer._target_, convlstm.training.loop.Trainer."),
        ({"trainer": {k: v for k, v in TRAINER.items() if k != "max_steps"}}, "'trainer.max_steps' has no value."),
        ({"trainer": TRAINER | {"_target_": None}}, "'trainer._target_' must be the dotted name of a class"),
        ({"trainer": TRAINER | {"_target_": "a b.c"}}, "'trainer._target_' must be the dotted name of a class"),
        (
            {"trainer": TRAINER | {"_target_": "no.Where"}},
            "'trainer._target_' names 'no.Where', which cannot be loaded",
        ),
        (
            {"trainer": TRAINER | {"_target_": "mlx.nn.Linear"}},
            "'trainer._target_' must name a trainer, with check and",
        ),
        (
            {"model": {"_target_": "mlx.nn.Linear"}},
            "'model._target_' must name a model, called as model(inputs, horizon",
        ),
        ({"data": {"_target_": "mlx.nn.Linear"}}, "'data._target_' must name data, with stream, size and describe"),
        ({"loss": {"_target_": "builtins.dict"}}, "'loss._target_' must name a loss, called as loss(forecast, target,"),
        ({"optimizer": {"_target_": "mlx.nn.Linear"}}, "'optimizer._target_' must name an optimizer of mlx.optimizers"),
        ({"schedule": {"_target_": "mlx.optimizers.Adam"}}, "'schedule._target_' must name a learning rate, or a"),
        ({"logger.mine": {"_target_": "mlx.nn.Linear"}}, "'logger.mine._target_' must name a logger, with start, log"),
        ({"loss": LOSS | {"epsilon": 1 << 63}}, "'loss.epsilon' must be float but got 9223372036854775808."),
        ({"loss": LOSS | {"epsilon": float("nan")}}, "'loss.epsilon' must be finite but got nan."),
        ({"loss": LOSS | {"epsilon": TRAINER}}, "'loss.epsilon' must be float but got {"),
        (
            {"loss": {"_target_": "convlstm.losses.WeightedSum", "losses": [LOSS | {"epsilon": "a"}]}},
            "'loss.losses[0].epsilon' must be float but got 'a'.",
        ),
        (
            {"data": {"_target_": "convlstm.datasets.radar_echo.RadarEcho", "transform": 3}},
            "'data.transform' must be Transform | null but got 3.",
        ),
        (
            {"data": {"_target_": "convlstm.datasets.radar_echo.RadarEcho", "reader": []}},
            "'data.reader' must be Mapping[str, Any] | null but got [].",
        ),
    ],
)
def test_a_value_that_the_class_does_not_take(settings, text):
    with pytest.raises(ValueError, match=re.escape(text)):
        check_types(settings)


def test_values_that_the_class_takes():
    check_types({"trainer": TRAINER | {"max_grad_norm": 1, "patience": None}, "loss": LOSS, "seed": 0})
    check_types(
        {
            "data": {
                "_target_": "convlstm.datasets.radar_echo.RadarEcho",
                "reader": {"units": "dBZ"},
                "frame_size": [8, 8],
            }
        }
    )
    check_types(
        {"loss": {"_target_": "convlstm.losses.Balanced", "bins": {"_target_": "builtins.list"}, "weights": [1]}}
    )
    check_types({"logger.mine": {"_target_": "convlstm.runs.loggers.TensorBoard"}})


def test_a_section_within_another_is_reported_once():
    schedule = {"_target_": "convlstm.training.schedules.constant", "learning_rate": "fast"}
    with pytest.raises(ValueError, match="schedule") as error:
        check_types({"optimizer": {"_target_": "mlx.optimizers.Adam", "learning_rate": schedule}, "schedule": schedule})
    assert str(error.value) == "'schedule.learning_rate' must be float but got 'fast'."


def test_the_object_of_a_section_must_be_of_its_kind():
    check_kind("schedule", 0.1, "here")
    check_kind("schedule", lambda step: step, "here")
    with pytest.raises(
        ValueError, match=re.escape("'schedule._target_' must name a learning rate, or a function of the")
    ):
        check_kind("schedule", "fast", "here")
    with pytest.raises(ValueError, match=re.escape("'model._target_' must name a model, called as model(inputs, ")):
        check_kind("model", nn.Linear(1, 1), "here")

    class Beside:
        betas = (0.9,)

    with pytest.raises(ValueError, match=re.escape("'other.betas' must be two numbers but got (0.9,).")):
        check_kind("other", Beside(), "here")


def test_sizes_are_named_if_objects_do_not_fit_each_other():
    settings = {"model": {"_target_": "a.B", "hidden_channels": [4], "patch_size": 2, "bias": True, "cell": "lstm"}}
    text = "no\nIt depends on model.hidden_channels, model.patch_size, a.b."
    with pytest.raises(ValueError, match=re.escape(text)), fitting(settings, "model", "data", "a.b"):
        raise ValueError("no")
