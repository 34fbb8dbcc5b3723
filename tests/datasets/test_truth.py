"""The physical values of targets, as they were read, beside the targets on the model's scale."""

from convlstm.cli.evaluate import batches
from convlstm.datasets.radar_echo import RadarEcho
from tests.support.moving_digits import small
from tests.support.radar_sequences import opened, starts, values_of

import numpy as np
import pytest


def test_radar_data_hand_over_the_values_that_were_read(stack):
    data = opened(stack)
    for split in ("validation", "test"):
        first = starts(data, split)[0]
        values = values_of(stack)[first + 2 : first + 5]
        np.testing.assert_array_equal(data.sample(split, 0, truth=True)["truth"][..., 0], values)
        batch = next(iter(data.stream(split, 1, truth=True)))
        assert batch["truth"].dtype == np.float32
        np.testing.assert_array_equal(batch["truth"][0, ..., 0], values)
        np.testing.assert_array_equal(~np.isnan(batch["truth"]), batch["mask"])
    for split in ("train", "validation"):
        assert "truth" not in next(iter(data.stream(split, 1)))


def test_the_truth_of_training_sequences_is_turned_with_them(tmp_path):
    data = RadarEcho(input_frames=1, target_frames=2, frame_size=16, augment=True)
    for index in range(4):
        sample = data.sample("train", index, seed=3, truth=True)
        np.testing.assert_array_equal(data.transform.forward(sample["truth"]), sample["targets"])


def test_frames_without_units_have_no_truth():
    with pytest.raises(ValueError, match=r"\[MovingMNIST\] 'truth' must be False: the frames stand for no physical"):
        small().stream("test", 1, truth=True)


def test_the_command_asks_data_with_units_for_their_truth(stack):
    data = opened(stack)
    (batch, *_) = batches(data, "test", 2, 2, 2)
    assert batch["truth"].shape == batch["targets"].shape == (2, 2, 24, 24, 1)

    class Older:
        """Data of a user, whose stream has no `truth`."""

        physical = staticmethod(data.physical)

        def stream(self, split, batch_size):
            return data.stream(split, batch_size)

    assert "truth" not in next(batches(Older(), "test", 2, 2, 2))
