"""The sequences of archives: splits, order, crops, and several archives."""

import re
from collections import Counter

from convlstm.datasets import RadarEcho
from convlstm.datasets.transforms import Reflectivity
from tests.support.radar_archives import Stack, time_of, write_stack
from tests.support.radar_sequences import SPLITS, equal, frames, opened, starts, values_of

import numpy as np
import pytest

pytestmark = pytest.mark.usefixtures("stacks")


def test_the_splits_follow_each_other_and_share_no_frame(stack):
    data = opened(stack)
    spans = [(min(starts(data, split)), max(starts(data, split)) + 4) for split in SPLITS]
    assert spans[0][0] == 0
    assert spans[2][1] == 99
    # A sequence has 5 frames, and so has the gap between two splits.
    assert spans[1][0] - spans[0][1] == 5
    assert spans[2][0] - spans[1][1] == 5
    sizes = np.array([data.size(split) for split in SPLITS])
    assert sizes / sizes.sum() == pytest.approx([0.7, 0.1, 0.2], abs=0.01)
    assert sizes.sum() == 96 - 2 * 8


def test_split_changes_the_shares(stack):
    data = opened(stack, split=(0.4, 0.4, 0.2))
    assert [data.size(split) for split in SPLITS] == [32, 32, 16]
    assert [opened(stack, split=(0, 0, 1)).size(split) for split in SPLITS] == [0, 0, 96]
    data = opened(stack, split=[0.5, 0.5, 0])
    assert [data.size(split) for split in SPLITS] == [44, 44, 0]
    for call in (lambda: data.stream("test", 1), lambda: data.sample("test", 0), lambda: data.times("test", 0)):
        with pytest.raises(ValueError, match=r"there are no sequences of 'test'\. Give it a share in 'split'"):
            call()


def test_splits_by_dates(stack):
    dates = [str(time_of(60)), str(time_of(80))]
    data = opened(stack, split_dates=dates)
    assert [starts(data, split) for split in SPLITS[1:]] == [list(range(60, 76)), list(range(80, 96))]
    assert max(starts(data, "train")) == 55
    assert data.size("train") == 56
    assert data.describe()["split"] == dates
    day = str(time_of(0))[:10]
    message = f"'split_dates' leave no sequences for train: those of 'archive' are from {time_of(0)} to {time_of(99)}."
    with pytest.raises(ValueError, match=re.escape(message)):
        opened(stack, split_dates=[day, "2100-01-01"])
    with pytest.raises(ValueError, match="leave no sequences for validation"):
        opened(stack, split_dates=["2100-01-01", "2101-01-01"])


@pytest.mark.parametrize("dates", [["2019-01-01"], ["2019-06-01", "2019-01-01"], ["soon", "later"], "2019-01-01", 3])
def test_bad_split_dates(stack, dates):
    message = "'split_dates' must be the dates on which validation and test begin, such as ['2019-01-01', '2019-06-01']"
    with pytest.raises(ValueError, match=re.escape(f"{message}, but got {dates!r}.")):
        opened(stack, split_dates=dates)


def test_split_dates_are_of_one_archive(stack):
    message = "'split_dates' are for an 'archive' that all splits share."
    for more in ({"archive": None}, {"test_archive": str(stack)}):
        with pytest.raises(ValueError, match=re.escape(message)):
            RadarEcho(**{"archive": str(stack), **more}, split_dates=["2019-01-01", "2019-06-01"])


def test_stride(stack):
    data = opened(stack, stride=4, split=(0, 0, 1))
    assert starts(data, "test") == list(range(0, 96, 4))


def test_validation_and_test_sequences_are_spread_evenly(stack):
    everything = opened(stack, split=(0, 0, 1))
    data = opened(stack, split=(0, 0, 1), test_sequences=6)
    assert data.size("test") == 6
    assert starts(data, "test") == [0, 19, 38, 57, 76, 95]
    assert starts(opened(stack, split=(0, 0, 1), test_sequences=1000), "test") == starts(everything, "test")
    assert opened(stack, validation_sequences=2).size("validation") == 2


def test_every_window_once_in_an_epoch_in_a_new_order(stack):
    data = opened(stack)
    first, second, other = (starts(data, "train", seed=s, epoch=e) for s, e in ((0, 0), (0, 1), (1, 0)))
    assert sorted(first) == sorted(second) == sorted(other) == list(range(data.size("train")))
    assert first != second
    assert first != other
    assert sorted(first) != first


def test_train_sequences_may_be_more_or_fewer_than_windows(stack):
    windows = opened(stack).size("train")
    data = opened(stack, train_sequences=2 * windows + 3)
    counts = Counter(starts(data, "train"))
    assert set(counts.values()) == {2, 3}
    data = opened(stack, train_sequences=10)
    assert data.size("train") == len(set(starts(data, "train"))) == 10


def test_a_batch_is_a_function_of_seed_epoch_and_number(stack):
    """It does not depend on threads, prefetch, the cache, the ranks, or the batch that the epoch starts from."""
    settings = {"frame_size": 8, "augment": True, "wet_sampling": 0.5}
    data = opened(stack, **settings)
    batches = list(data.stream("train", 4, seed=3, epoch=2))
    assert equal(batches[0], data.stream("train", 4, seed=3, epoch=2).__next__())
    other = opened(stack, **settings, threads=3, prefetch=2, cache_bytes=0)
    assert all(equal(one, two) for one, two in zip(batches, other.stream("train", 4, seed=3, epoch=2), strict=True))
    assert equal(batches[5], next(iter(data.stream("train", 4, seed=3, epoch=2, start=5))))
    shares = [list(data.stream("train", 4, seed=3, epoch=2, rank=rank, ranks=2)) for rank in range(2)]
    for batch, one, two in zip(batches, *shares, strict=True):
        assert equal(batch, {name: np.concatenate([one[name], two[name]]) for name in one})
    index = data.indices("train", 4, 1, seed=3, epoch=2)[2]
    assert equal({name: array[2] for name, array in batches[1].items()}, data.sample("train", index, seed=3, epoch=2))
    assert not equal(batches[0], next(iter(data.stream("train", 4, seed=4, epoch=2))))
    assert not equal(batches[0], next(iter(data.stream("train", 4, seed=3, epoch=3))))


def test_validation_and_test_do_not_depend_on_seed_and_epoch(stack):
    data = opened(stack, frame_size=8, augment=True, wet_sampling=0.5)
    for split in ("validation", "test"):
        assert equal(data.sample(split, 1), data.sample(split, 1, seed=5, epoch=7))


def test_the_last_batch_is_kept_only_in_evaluation(stack):
    data = opened(stack)
    train, test = data.size("train"), data.size("test")
    assert sum(len(batch["inputs"]) for batch in data.stream("train", 3)) == train - train % 3
    assert sum(len(batch["inputs"]) for batch in data.stream("test", 3)) == test


def test_overlapping_sequences_decode_a_frame_once(stack, monkeypatch):
    read = []
    real = Stack._read
    data = opened(stack)
    data = opened(stack)
    monkeypatch.setattr(Stack, "_read", lambda self, path, at: read.append(at) or real(self, path, at))
    for split in SPLITS:
        list(data.stream(split, 1))
    assert max(Counter(read).values()) == 1


def test_a_whole_frame_is_cut_to_a_multiple(tmp_path):
    path = write_stack(tmp_path / "a.stack", np.ones((60, 27, 30)))
    assert opened(path).frame_shape == (24, 28, 1)
    assert opened(path, multiple=1).frame_shape == (27, 30, 1)
    assert opened(path, multiple=10).frame_shape == (20, 30, 1)
    assert opened(path, frame_size=[25, 6]).frame_shape == (25, 6, 1)
    with pytest.raises(ValueError, match=r"cannot be cut to a multiple of 28 pixels: a.stack 27 x 30. Use a smaller"):
        opened(path, multiple=28)


def test_crops_of_evaluation_have_known_pixels(stack):
    data = opened(stack, frame_size=16, split=(0, 0, 1))
    values = Reflectivity().forward(values_of(stack)[:5])
    # The first four rows are missing. Row 4 is the nearest to the centre of rows 4 to 8, and so is column 4.
    assert np.array_equal(frames(data.sample("test", 0)), values[:, 4:20, 4:20])
    assert data.describe()["places"] == {"storm.stack": [4, 4]}


def test_crops_of_training_vary(stack):
    data = opened(stack, frame_size=16, least_known=0.75)
    corners = {frames(data.sample("train", index))[0, -1, -1] for index in range(data.size("train"))}
    assert len(corners) > 0.9 * data.size("train")
    shares = [data.sample("train", index)["mask"].mean() for index in range(data.size("train"))]
    assert 0.75 <= min(shares) < 0.8
    data = opened(stack, frame_size=16, least_known=1.0)
    assert all(data.sample("train", index)["mask"].all() for index in range(data.size("train")))


def test_an_epoch_covers_a_frame_with_crops(stack):
    windows = opened(stack).size("train")
    # 20 of 24 rows are known. These 480 pixels are 7.5 crops of 64, rounded to 8.
    assert opened(stack, frame_size=8).size("train") == 8 * windows
    assert opened(stack, frame_size=8).size("test") == opened(stack).size("test")


def test_coarse_pixels_are_means_in_physical_units(stack):
    data = opened(stack, coarsen=3, frame_size=4, split=(0, 0, 1))
    values = values_of(stack)[:5, 3:, :].reshape(5, 7, 3, 8, 3)
    means = np.nanmean(values, axis=(2, 4))
    sample = data.sample("test", 0)
    assert data.pixel_km == 6.0
    assert data.frame_shape == (4, 4, 1)
    top, left = data.describe()["places"]["storm.stack"]
    assert frames(sample) == pytest.approx(
        Reflectivity().forward(means[:, top - 1 : top + 3, left : left + 4]), abs=1e-6
    )
    assert opened(stack, coarsen=3, split=(0, 0, 1)).frame_shape == (8, 8, 1)


def test_wet_windows_and_crops_are_drawn_more_often(tmp_path):
    values = np.zeros((100, 64, 64))
    values[20:30, :32, :32] = 1
    path = write_stack(tmp_path / "a.stack", values)

    def wet_sequences(share):
        data = opened(path, frame_size=16, wet_sampling=share, split=(1, 0, 0), train_sequences=400)
        return np.mean([frames(data.sample("train", index)).any() for index in range(400)])

    # 14 of 96 windows, 32 * 32 of 49 * 49 positions.
    even = 14 / 96 * (32 / 49) ** 2
    assert wet_sequences(0.0) == pytest.approx(even, abs=0.04)
    assert wet_sequences(0.25) == pytest.approx(0.25 + 0.75 * even, abs=0.06)
    # The random shift may move a crop that just touches the rain out of it.
    assert wet_sequences(1.0) > 0.97
    record = opened(path, frame_size=16, wet_sampling=0.25).describe()
    assert record["wet_sampling"] == 0.25
    assert "by the wet share of windows and crops" in record["wet_sampling_rule"]


def test_separate_archives_for_validation_and_test(tmp_path):
    paths = [
        write_stack(tmp_path / f"{name}.stack", np.full((20 + n, 8, 8), n + 1.0), first=1000 * n)
        for n, name in enumerate(("one", "two", "three"))
    ]
    data = opened(paths[0], validation_archive=str(paths[1]), test_archive=[str(paths[2])])
    assert [data.size(split) for split in SPLITS] == [16, 17, 18]
    rain = [data.physical(data.sample(split, 0)["inputs"]).mean() for split in SPLITS]
    assert rain == pytest.approx([1, 2, 3], rel=1e-3)
    # Without one for validation, the archive is split 0.7 to 0.1, with 8 windows between the parts.
    data = opened(paths[0], test_archive=str(paths[2]))
    assert [data.size(split) for split in SPLITS] == [7, 1, 18]
    record = data.describe()
    assert [record["splits"][split]["archives"] for split in SPLITS] == [["one.stack"], ["one.stack"], ["three.stack"]]


def test_several_archives_are_split_by_time_together(tmp_path):
    paths = [
        write_stack(tmp_path / f"{n}.stack", np.full((20, 8, 8 + 4 * n), n + 1.0), first=100 * n) for n in (2, 0, 1)
    ]
    data = RadarEcho(
        archive=[str(path) for path in paths],
        input_frames=2,
        target_frames=3,
        frame_size=8,
        split=(0.34, 0.33, 0.33),
        progress=False,
    )
    assert [data.size(split) for split in SPLITS] == [16, 16, 16]
    rain = [data.physical(data.sample(split, 0)["inputs"]).mean() for split in SPLITS]
    assert rain == pytest.approx([1, 2, 3], rel=1e-3)
    with pytest.raises(ValueError, match=r"frames differ in size: 2.stack 8 x 16, .*Set 'frame_size'"):
        RadarEcho(archive=[str(path) for path in paths], input_frames=2, target_frames=3)


def test_a_warning_for_archives_of_different_steps(tmp_path):
    slow = write_stack(tmp_path / "slow.stack", np.ones((30, 8, 8)), step=10)
    fast = write_stack(tmp_path / "fast.stack", np.ones((30, 8, 8)), first=5000)
    arguments = {"archive": [str(slow)], "test_archive": str(fast), "input_frames": 2, "target_frames": 1}
    with pytest.warns(UserWarning, match=r"differ in the time between frames \(slow.stack 10 min, fast.stack 5 min\)"):
        data = RadarEcho(**arguments)
    assert data.frame_interval == 10
    assert (np.diff(data.times("train", 0)) == np.timedelta64(10, "m")).all()
    assert (np.diff(data.times("test", 0)) == np.timedelta64(5, "m")).all()


def test_a_file_in_two_splits_is_refused(tmp_path):
    folder = tmp_path / "radar"
    path = write_stack(folder / "a.stack", np.ones((40, 8, 8)))
    for other in (path, folder):
        with pytest.raises(ValueError, match=r"a.stack belongs to the archives of both train and test. Give each"):
            opened(folder, test_archive=str(other))


def test_archives_of_different_units_are_refused(tmp_path):
    for name, units in (("rain", "mm/h"), ("counts", "raw")):
        np.savez(tmp_path / f"{name}.npz", values=np.ones((40, 8, 8)), units=units, step_minutes=5, start="2020-06-01")
    with pytest.raises(
        ValueError, match=r"have the same fields but have: rain.npz rain_rate: mm/h; counts.npz field: raw"
    ):
        RadarEcho(archive=[str(tmp_path / "rain.npz"), str(tmp_path / "counts.npz")], progress=False)


def test_archives_of_the_same_name_stay_apart_in_the_record(tmp_path):
    paths = [write_stack(tmp_path / day / "a.stack", np.ones((40, 8, 8)), first=n) for n, day in ((0, "x"), (99, "y"))]
    record = RadarEcho(archive=[str(path) for path in paths], input_frames=2, target_frames=2).describe()
    assert list(record["archives"]) == ["a.stack", "a.stack (2)"]
    assert record["splits"]["test"]["archives"] == ["a.stack (2)"]


def test_a_step_of_several_frames(stack):
    """Sequences at 10 minutes from an archive with a frame every 5: every second frame, from every start."""
    data = opened(stack, step=10, split=[1, 0, 0])
    assert data.frame_interval == 10
    assert data.size("train") == 100 - 8
    values = Reflectivity().forward(values_of(stack))
    for index, start in enumerate(starts(data, "train")):
        assert (np.diff(data.times("train", index)) == np.timedelta64(10, "m")).all()
        assert np.array_equal(frames(data.sample("train", index)), np.nan_to_num(values[start : start + 9 : 2]))
    with pytest.raises(ValueError, match=r"'step' must be a multiple of the 5 min between the frames of .* but got 12"):
        opened(stack, step=12)
    with pytest.raises(ValueError, match=r"\[RadarEcho\] 'step' must be a number of minutes above 0 .*but got '10'"):
        opened(stack, step="10")
