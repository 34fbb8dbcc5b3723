import json

from convlstm.datasets import RadarEcho
from tests.support.radar_sequences import SPLITS, equal, frames

import numpy as np
import pytest


def synthetic(**settings):
    return RadarEcho(**{"frame_size": 24, "input_frames": 2, "target_frames": 3, **settings})


def test_without_an_archive_rain_is_synthetic():
    data = RadarEcho()
    assert data.frame_shape == (128, 128, 1)
    assert [data.size(split) for split in SPLITS] == [2000, 100, 200]
    assert (data.units, data.frame_interval, data.pixel_km) == ("mm/h", 5.0, 2.0)
    data = synthetic(frame_size=(24, 32), train_sequences=7, validation_sequences=3, test_sequences=2)
    assert [data.size(split) for split in SPLITS] == [7, 3, 2]
    (batch,) = data.stream("test", 4)
    assert batch["inputs"].shape == (2, 2, 24, 32, 1)
    assert batch["targets"].shape == (2, 3, 24, 32, 1)
    assert batch["mask"].all()
    assert 0 <= batch["inputs"].min() < batch["inputs"].max() <= 1
    assert data.times("test", 0) is None


def test_synthetic_sequences_are_functions_of_seed_epoch_and_index():
    data = synthetic()
    one = data.sample("train", 3, seed=1, epoch=2)
    assert equal(one, data.sample("train", 3, seed=1, epoch=2))
    for other in ((4, 1, 2), (3, 2, 2), (3, 1, 3)):
        assert not equal(one, data.sample("train", other[0], seed=other[1], epoch=other[2]))
    assert not equal(data.sample("train", 3), data.sample("test", 3))
    assert not equal(data.sample("validation", 3), data.sample("test", 3))
    assert equal(data.sample("test", 3), data.sample("test", 3, seed=5, epoch=7))


def test_synthetic_rain_has_its_arguments_and_is_augmented():
    still = synthetic(synthetic={"wind": 0.0, "eddies": 0.0, "lifetime": float("inf"), "step_minutes": 10.0})
    sequence = frames(still.sample("train", 0))
    assert sequence[0] == pytest.approx(sequence[-1], abs=1e-5)
    assert still.frame_interval == 10.0
    settings = {"synthetic": {"wet_share": 0.9}}
    plain, turned = synthetic(**settings), synthetic(augment=True, **settings)
    for index in range(4):
        one, other = frames(plain.sample("train", index)), frames(turned.sample("train", index))
        assert np.sort(one, axis=None) == pytest.approx(np.sort(other, axis=None))
    assert not all(equal(plain.sample("train", index), turned.sample("train", index)) for index in range(4))
    assert equal(plain.sample("test", 0), turned.sample("test", 0))


def test_the_record_of_synthetic_rain():
    record = synthetic(synthetic={"pixel_km": 1.0}).describe()
    assert json.loads(json.dumps(record)) == record
    assert record["synthetic"]["pixel_km"] == record["pixel_km"] == 1.0
    assert "archives" not in record
