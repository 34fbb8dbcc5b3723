"""The settings of training: their checks, and their defaults in one place."""

from __future__ import annotations

import dataclasses
import inspect
import math

from convlstm.training.loop import Trainer
from convlstm.training.settings import Settings
from tests.support.project import PROJECT

import numpy as np
import pytest
import yaml

# What configs/trainer/default.yaml chooses; a trainer in Python does neither unless it is told to.
CHOSEN = {"max_grad_norm": 1.0, "validation_sequences": 256}


def test_the_configuration_names_every_setting_with_its_default():
    section = yaml.safe_load((PROJECT / "configs" / "trainer" / "default.yaml").read_text())
    assert section.pop("_target_") == "convlstm.training.loop.Trainer"
    defaults = {field.name: field.default for field in dataclasses.fields(Settings)}
    assert list(section) == list(defaults)
    assert {name: section[name] for name in CHOSEN} == CHOSEN
    assert {name: defaults[name] for name in CHOSEN} == dict.fromkeys(CHOSEN)
    rest = {name for name in defaults if defaults[name] is not dataclasses.MISSING} - set(CHOSEN)
    assert {name: section[name] for name in rest} == {name: defaults[name] for name in rest}


def test_a_trainer_takes_the_settings_and_keeps_them():
    trainer = Trainer(10, 4, accumulate=2, ema=0.5)
    assert trainer.settings == Settings(max_steps=10, batch_size=4, accumulate=2, ema=0.5)
    assert inspect.signature(Trainer) == inspect.signature(Settings)
    with pytest.raises(dataclasses.FrozenInstanceError):
        trainer.settings.max_steps = 20
    with pytest.raises(TypeError, match="'max_step'"):
        Trainer(10, 4, max_step=3)


def test_whole_numbers_of_numpy_become_ints():
    assert type(Settings(np.int64(10), np.int32(4)).max_steps) is int


@pytest.mark.parametrize(
    ("settings", "text"),
    [
        ({"max_steps": 0}, "'max_steps' must be a whole number of at least 1 but got 0"),
        ({"batch_size": -2}, "'batch_size' must be a whole number of at least 1 but got -2"),
        ({"log_every": 2.5}, r"'log_every' must be a whole number of at least 1 but got 2\.5"),
        ({"validate_every": "often"}, "'validate_every' must be .* but got 'often'"),
        ({"validation_sequences": 0}, "'validation_sequences' must be"),
        ({"checkpoint_every": None}, "'checkpoint_every' must be a whole number of at least 1 but got None"),
        ({"max_steps": True}, "'max_steps' must be a whole number of at least 1 but got True"),
        ({"patience": 0}, "'patience' must be"),
        ({"keep_last": 0}, "'keep_last' must be a whole number of at least 1 but got 0"),
        ({"on_full_disk": "wait"}, "'on_full_disk' must be stop or warn but got 'wait'"),
        ({"max_grad_norm": 0}, "'max_grad_norm' must be above 0, or null for none, but got 0"),
        ({"max_grad_norm": math.nan}, "'max_grad_norm' must be above 0"),
        ({"monitor": "val_ssim"}, "'monitor' must be one of val_loss, val_mse_per_frame, .* but got 'val_ssim'"),
        ({"max_skipped": -1}, "'max_skipped' must be a whole number of at least 0 but got -1"),
        ({"max_skipped": 1.5}, r"'max_skipped' must be a whole number of at least 0 but got 1\.5"),
        ({"max_skipped": None}, "'max_skipped' must be a whole number of at least 0 but got None"),
    ],
)
def test_settings_out_of_range(settings, text):
    with pytest.raises(ValueError, match=rf"\[Trainer\] {text}"):
        Trainer(**({"max_steps": 10, "batch_size": 2} | settings))
