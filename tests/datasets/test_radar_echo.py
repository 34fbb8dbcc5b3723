import inspect
import json
import os
import re
import shutil
import warnings
from collections import Counter
from pathlib import Path

from convlstm.cli import configuration, sections
from convlstm.datasets import RadarEcho
from convlstm.datasets.readers import FORMATS
from convlstm.datasets.transforms import Linear, LogRain, Reflectivity
from tests.support.project import PROJECT
from tests.support.radar_archives import Stack, time_of, write_stack

import numpy as np
import pytest
from omegaconf import OmegaConf

SPLITS = ("train", "validation", "test")


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("CONVLSTM_DATA", str(tmp_path / "data"))
    monkeypatch.setitem(FORMATS, "stack", Stack())


@pytest.fixture(scope="session")
def radar_root():
    """Folder of real radar events: CONVLSTM_DATA, else the data folder shared beside the checkout."""
    data = Path(os.environ.get("CONVLSTM_DATA") or PROJECT.parent / "shared" / "data").expanduser()
    root = next((root for root in (data, data / "radar") if (root / "knmi_20100826").is_dir()), None)
    if root is None:
        pytest.skip(f"no radar events in {data}: set CONVLSTM_DATA to a folder that has knmi_20100826 and others")
    return root


@pytest.fixture
def stack(tmp_path):
    """100 frames of 24 x 24; every pixel of every frame has a value of its own, and the first rows are missing."""
    values = np.linspace(0.1, 90, 100 * 24 * 24).reshape(100, 24, 24)
    values[:, :4] = np.nan
    return write_stack(tmp_path / "storm.stack", values)


def opened(path, **more):
    return RadarEcho(**{"archive": str(path), "input_frames": 2, "target_frames": 3, "progress": False, **more})


def values_of(path):
    return Stack()._arrays(path)["values"]


def frames(sample):
    return np.concatenate([sample["inputs"], sample["targets"]])[..., 0]


def starts(data, split, **more):
    """Number of the first frame of each sequence."""
    first = [data.times(split, index, **more)[0] for index in range(data.size(split))]
    return [int((time - time_of(0)) / np.timedelta64(5, "m")) for time in first]


def equal(one, other):
    return one.keys() == other.keys() and all(np.array_equal(one[key], other[key]) for key in one)


# From frames to sequences


def test_a_sequence_is_the_transformed_frames_of_its_times(stack):
    data = opened(stack)
    values, transform = values_of(stack), Reflectivity()
    for split in SPLITS:
        for index, start in enumerate(starts(data, split)):
            sample = data.sample(split, index)
            expected = transform.forward(values[start : start + 5])
            assert np.array_equal(frames(sample), np.nan_to_num(expected))
            assert np.array_equal(sample["mask"][..., 0], ~np.isnan(expected[2:]))
            times = data.times(split, index)
            assert times.tolist() == [time_of(start + i).item() for i in range(5)]


def test_shapes_and_types(stack):
    data = opened(stack)
    batch = next(iter(data.stream("train", 3)))
    assert {name: (batch[name].shape, batch[name].dtype) for name in ("inputs", "targets", "mask")} == {
        "inputs": ((3, 2, 24, 24, 1), np.float32),
        "targets": ((3, 3, 24, 24, 1), np.float32),
        "mask": ((3, 3, 24, 24, 1), bool),
    }
    assert (data.frame_shape, data.input_frames, data.target_frames) == ((24, 24, 1), 2, 3)
    assert (data.units, data.frame_interval, data.pixel_km) == ("mm/h", 5.0, 2.0)
    assert data.thresholds == [0.5, 2, 5, 10, 30]


def test_physical_values_come_back(stack):
    data = opened(stack)
    sample = data.sample("test", 0)
    values = values_of(stack)[starts(data, "test")[0] + 2 :][:3]
    known = ~np.isnan(values)
    assert data.physical(sample["targets"])[..., 0][known] == pytest.approx(values[known], rel=1e-4)
    assert (data.physical(sample["targets"])[..., 0][~known] == 0).all()


def test_the_splits_follow_each_other_and_share_no_frame(stack):
    data = opened(stack)
    spans = [(min(starts(data, split)), max(starts(data, split)) + 4) for split in SPLITS]
    assert spans[0][0] == 0
    assert spans[2][1] == 99
    # 5 frames to a sequence: so long lies between the last frame of one split and the first of the next.
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
        with pytest.raises(ValueError, match="there are no sequences of 'test', as its share in 'split' is 0"):
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


# Order and chance


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
    """Not of threads, prefetch, the cache, the ranks, or of where the epoch is taken up."""
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


def test_validation_and_test_know_neither_seed_nor_epoch(stack):
    data = opened(stack, frame_size=8, augment=True, wet_sampling=0.5)
    for split in ("validation", "test"):
        assert equal(data.sample(split, 1), data.sample(split, 1, seed=5, epoch=7))


def test_the_last_batch_is_kept_in_evaluation_alone(stack):
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


# Grids


def test_a_whole_frame_is_cut_to_a_multiple(tmp_path):
    path = write_stack(tmp_path / "a.stack", np.ones((60, 27, 30)))
    assert opened(path).frame_shape == (24, 28, 1)
    assert opened(path, multiple=1).frame_shape == (27, 30, 1)
    assert opened(path, multiple=10).frame_shape == (20, 30, 1)
    assert opened(path, frame_size=[25, 6]).frame_shape == (25, 6, 1)
    with pytest.raises(ValueError, match=r"cannot be cut to a multiple of 28 pixels: a.stack 27 x 30. Use a smaller"):
        opened(path, multiple=28)


def test_crops_of_evaluation_lie_where_pixels_are_known(stack):
    data = opened(stack, frame_size=16, split=(0, 0, 1))
    values = Reflectivity().forward(values_of(stack)[:5])
    # The first four rows are missing: of rows 4 to 8 on, the 4th is nearest the centre, as is the 4th column.
    assert np.array_equal(frames(data.sample("test", 0)), values[:, 4:20, 4:20])
    assert data.describe()["places"] == {"storm.stack": [4, 4]}


def test_crops_of_training_are_elsewhere_each_time(stack):
    data = opened(stack, frame_size=16, least_known=0.75)
    corners = {frames(data.sample("train", index))[0, -1, -1] for index in range(data.size("train"))}
    assert len(corners) > 0.9 * data.size("train")
    shares = [data.sample("train", index)["mask"].mean() for index in range(data.size("train"))]
    assert 0.75 <= min(shares) < 0.8
    data = opened(stack, frame_size=16, least_known=1.0)
    assert all(data.sample("train", index)["mask"].all() for index in range(data.size("train")))


def test_an_epoch_covers_a_frame_with_crops(stack):
    windows = opened(stack).size("train")
    # 20 of 24 rows are known: 480 pixels, 7.5 times the 64 of a crop, which is rounded to 8.
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

    # 14 of 96 windows, 32 * 32 of 49 * 49 places.
    even = 14 / 96 * (32 / 49) ** 2
    assert wet_sequences(0.0) == pytest.approx(even, abs=0.04)
    assert wet_sequences(0.25) == pytest.approx(0.25 + 0.75 * even, abs=0.06)
    # Half a candidate's shift may bring a crop that just touches the rain out of it.
    assert wet_sequences(1.0) > 0.97
    record = opened(path, frame_size=16, wet_sampling=0.25).describe()
    assert record["wet_sampling"] == 0.25
    assert "by the wet share of windows and crops" in record["wet_sampling_rule"]


@pytest.mark.parametrize(("size", "ways"), [(4, 8), ((4, 6), 4)])
def test_augment_flips_and_turns_all_frames_alike(tmp_path, size, ways):
    height, width = (size, size) if isinstance(size, int) else size
    one = np.arange(1.0, 1 + height * width).reshape(height, width)
    path = write_stack(tmp_path / "a.stack", np.broadcast_to(one, (60, height, width)))
    data = opened(path, augment=True, frame_size=size, transform=Linear(100.0, "mm/h"), multiple=1)
    turned = [one] if height != width else [np.rot90(one, k) for k in range(4)]
    allowed = {np.ascontiguousarray(t[::a, ::b]).tobytes() for t in turned for a in (1, -1) for b in (1, -1)}
    assert len(allowed) == ways
    seen = set()
    for epoch in range(4):
        for index in range(data.size("train")):
            sequence = np.rint(100 * frames(data.sample("train", index, epoch=epoch))).astype(float)
            assert (sequence == sequence[0]).all()
            seen.add(sequence[0].tobytes())
    assert seen == allowed
    plain = opened(path, frame_size=size, transform=Linear(100.0, "mm/h"), multiple=1)
    assert equal(data.sample("test", 0), plain.sample("test", 0))
    assert not np.shares_memory(data.sample("train", 0)["inputs"], data.sample("train", 1)["inputs"])


# Several archives


def test_archives_of_their_own_for_validation_and_test(tmp_path):
    paths = [
        write_stack(tmp_path / f"{name}.stack", np.full((20 + n, 8, 8), n + 1.0), first=1000 * n)
        for n, name in enumerate(("one", "two", "three"))
    ]
    data = opened(paths[0], validation_archive=str(paths[1]), test_archive=[str(paths[2])])
    assert [data.size(split) for split in SPLITS] == [16, 17, 18]
    rain = [data.physical(data.sample(split, 0)["inputs"]).mean() for split in SPLITS]
    assert rain == pytest.approx([1, 2, 3], rel=1e-3)
    # With one of them, the archive is split for the other: 0.7 to 0.1, and 8 windows between them.
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


def test_archives_of_other_steps_keep_them_and_are_warned_of(tmp_path):
    slow = write_stack(tmp_path / "slow.stack", np.ones((30, 8, 8)), step=10)
    fast = write_stack(tmp_path / "fast.stack", np.ones((30, 8, 8)), first=5000)
    arguments = {"archive": [str(slow)], "test_archive": str(fast), "input_frames": 2, "target_frames": 1}
    with pytest.warns(UserWarning, match=r"differ in the time between frames \(slow.stack 10 min, fast.stack 5 min\)"):
        data = RadarEcho(**arguments)
    assert data.frame_interval == 10
    assert (np.diff(data.times("train", 0)) == np.timedelta64(10, "m")).all()
    assert (np.diff(data.times("test", 0)) == np.timedelta64(5, "m")).all()


def test_what_is_tested_on_was_not_trained_on(tmp_path):
    folder = tmp_path / "radar"
    path = write_stack(folder / "a.stack", np.ones((40, 8, 8)))
    for other in (path, folder):
        with pytest.raises(ValueError, match=r"a.stack belongs to the archives of both train and test. Give each"):
            opened(folder, test_archive=str(other))


def test_archives_of_other_units_are_refused(tmp_path):
    for name, units in (("rain", "mm/h"), ("counts", "raw")):
        np.savez(tmp_path / f"{name}.npz", values=np.ones((40, 8, 8)), units=units, step_minutes=5, start="2020-06-01")
    with pytest.raises(ValueError, match=r"must be of the same units but are of mm/h rain.npz, raw counts.npz"):
        RadarEcho(archive=[str(tmp_path / "rain.npz"), str(tmp_path / "counts.npz")], progress=False)


def test_paths_are_relative_to_the_current_folder_or_home(stack, tmp_path, monkeypatch):
    expected = opened(stack).describe()
    monkeypatch.chdir(tmp_path)
    assert opened("storm.stack").describe() == expected
    monkeypatch.setenv("HOME", str(tmp_path))
    assert opened("~/storm.stack").describe() == expected
    assert RadarEcho(archive=["storm.stack"] * 2, input_frames=2, target_frames=3).describe() == expected


# Units


def test_raw_archives_are_divided_and_scored_as_sevir(tmp_path):
    path = write_stack(tmp_path / "vil.stack", np.full((40, 8, 8), 51.0))
    data = opened(path, reader={"units": "raw"})
    assert (data.units, data.transform) == ("raw", Linear())
    assert data.thresholds == [16, 74, 133, 160, 181, 219]
    assert data.sample("train", 0)["inputs"] == pytest.approx(0.2)
    with pytest.raises(
        ValueError, match=r"'transform' must be for raw, the units of the data, but LogRain is for mm/h"
    ):
        opened(path, reader={"units": "raw"}, transform=LogRain())


def test_reflectivity_becomes_rain_by_the_relation(tmp_path):
    path = write_stack(tmp_path / "dbz.stack", np.full((40, 8, 8), 40.0))
    for zr, rain in (((200.0, 1.6), 10 ** ((40 - 10 * np.log10(200)) / 16)), ((100.0, 2.0), 10.0)):
        data = opened(path, reader={"units": "dBZ"}, zr=zr)
        assert data.units == "mm/h"
        assert data.physical(data.sample("train", 0)["inputs"]) == pytest.approx(rain, rel=1e-3)
        assert data.describe()["zr"] == list(zr)


def test_transform_and_thresholds_are_chosen(stack):
    data = opened(stack, transform=LogRain(), thresholds=[1, 20])
    assert data.thresholds == [1, 20]
    assert data.describe()["transform"] == {"name": "LogRain", "minimum": 0.1, "maximum": 100.0}
    values = values_of(stack)[starts(data, "test")[0] :][:5]
    assert frames(data.sample("test", 0)) == pytest.approx(np.nan_to_num(LogRain().forward(values)))


def test_pixels_in_degrees_have_no_size_in_km(stack):
    assert opened(stack, reader={"pixel_units": "deg"}).pixel_km is None


# The record


def test_the_record_is_json_without_places(stack, tmp_path):
    data = opened(stack, thresholds=(1, 2))
    record = data.describe()
    assert json.loads(json.dumps(record, allow_nan=False)) == record
    assert str(tmp_path) not in json.dumps(record)
    assert record["splits"]["train"] == {
        "archives": ["storm.stack"],
        "first": "2020-06-01T00:00:00",
        "last": str(time_of(max(starts(data, "train")) + 4)),
    }
    assert record["archives"]["storm.stack"]["missing_share"] == pytest.approx(1 / 6, abs=1e-6)
    assert record["sequences"] == {split: data.size(split) for split in SPLITS}
    assert record["thresholds"] == [1.0, 2.0]


def test_the_record_tells_data_apart(stack, tmp_path):
    before = opened(stack).describe()
    assert opened(stack, cache_bytes=0, threads=2, prefetch=1, index=str(tmp_path / "elsewhere")).describe() == before
    shutil.copytree(tmp_path, tmp_path.parent / f"{tmp_path.name}_moved", ignore=shutil.ignore_patterns("data"))
    assert opened(tmp_path.parent / f"{tmp_path.name}_moved" / "storm.stack").describe() == before
    values = values_of(stack)
    write_stack(stack, values[:-1])
    after = opened(stack).describe()
    assert after["data_sha256"] != before["data_sha256"]
    assert after["archives"]["storm.stack"]["frames"] == 99


def test_archives_of_the_same_name_stay_apart_in_the_record(tmp_path):
    paths = [write_stack(tmp_path / day / "a.stack", np.ones((40, 8, 8)), first=n) for n, day in ((0, "x"), (99, "y"))]
    record = RadarEcho(archive=[str(path) for path in paths], input_frames=2, target_frames=2).describe()
    assert list(record["archives"]) == ["a.stack", "a.stack (2)"]
    assert record["splits"]["test"]["archives"] == ["a.stack (2)"]


# What is refused


def test_an_archive_that_is_too_short(stack):
    with pytest.raises(
        ValueError,
        match=r"'archive' is too short to be split into train 0.7, validation 0.1, test 0.2: the 100 frames of "
        r"storm.stack at 5 min hold 61 sequences of 40 frames, and between two splits at least 39 frames stay unused. "
        r"Use fewer input_frames or target_frames, fewer splits",
    ):
        opened(stack, input_frames=20, target_frames=20)
    with pytest.raises(ValueError, match=r"the archive of train is too short: the 100 frames of storm.stack at 5 min "):
        opened(stack, input_frames=50, target_frames=51)


def test_an_archive_that_is_too_small(stack):
    with pytest.raises(
        ValueError,
        match=r"'frame_size' must be at most that of the archive's frames, storm.stack 24 x 24, but got 24 x 25. Use a "
        "smaller 'frame_size' or 'coarsen'",
    ):
        opened(stack, frame_size=(24, 25))
    with pytest.raises(ValueError, match=r"storm.stack 12 x 12 \(with coarsen=2\), but got 16 x 16"):
        opened(stack, frame_size=16, coarsen=2)


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ({"input_frames": 0}, "'input_frames' must be a whole number of at least 1 but got 0"),
        ({"target_frames": 1.5}, "'target_frames' must be a whole number of at least 1 but got 1.5"),
        ({"stride": 0}, "'stride' must be a whole number of at least 1 but got 0"),
        ({"multiple": 0}, "'multiple' must be a whole number of at least 1 but got 0"),
        ({"coarsen": 0}, "'coarsen' must be a whole number of at least 1 but got 0"),
        ({"cache_bytes": -1}, "'cache_bytes' must be a whole number of at least 0 but got -1"),
        ({"prefetch": 0}, "'prefetch' must be a whole number of at least 1 but got 0"),
        ({"threads": True}, "'threads' must be a whole number of at least 1 but got True"),
        ({"train_sequences": 0}, "'train_sequences' must be a whole number of at least 1 but got 0"),
        ({"validation_sequences": 0}, "'validation_sequences' must be a whole number of at least 1 but got 0"),
        ({"test_sequences": -2}, "'test_sequences' must be a whole number of at least 1 but got -2"),
        ({"frame_size": 0}, "'frame_size' must be a whole number of at least 1 but got 0"),
        ({"frame_size": [8]}, r"'frame_size' must be a whole number or \(height, width\) but got \[8\]"),
        ({"frame_size": "8"}, r"'frame_size' must be a whole number or \(height, width\) but got '8'"),
        ({"least_known": 1.1}, "'least_known' must be a share, from 0 to 1, but got 1.1"),
        ({"wet_sampling": -0.1}, "'wet_sampling' must be a share, from 0 to 1, but got -0.1"),
        ({"wet_sampling": True}, "'wet_sampling' must be a share, from 0 to 1, but got True"),
        ({"split": (0.7, 0.3)}, r"'split' must be the shares of train, validation and test, .* but got \(0.7, 0.3\)"),
        ({"split": (0.7, 0.2, 0.2)}, r"with the sum 1, but got \(0.7, 0.2, 0.2\)"),
        ({"split": (1.2, -0.2, 0)}, r"none negative, .* but got \(1.2, -0.2, 0\)"),
        ({"split": 0.7}, "'split' must be the shares .* but got 0.7"),
        ({"thresholds": []}, r"'thresholds' must be positive numbers, each above the one before, but got \[\]"),
        ({"thresholds": [2, 1]}, r"each above the one before, but got \[2, 1\]"),
        ({"thresholds": [0, 1]}, r"'thresholds' must be positive numbers, .* but got \[0, 1\]"),
        ({"thresholds": "12"}, "'thresholds' must be positive numbers, .* but got '12'"),
        ({"archive": []}, r"'archive' must be a path or a list of paths but got \[\]"),
        ({"archive": ""}, "'archive' must be a path or a list of paths but got ''"),
        ({"test_archive": [3]}, r"'test_archive' must be a path or a list of paths but got \[3\]"),
        ({"archive": None, "test_archive": "x"}, r"'test_archive' needs an 'archive' to train on. .* as \[0, 0, 1\]"),
        ({"archive": None, "synthetic": {"colour": 1}}, "'synthetic' has step_minutes, .* but got 'colour'"),
        ({"archive": None, "coarsen": 2}, "'coarsen' must be 1 for the synthetic radar but got 2. Set its 'pixel_km'"),
        ({"zr": (200,)}, r"'zr' must be two positive numbers"),
        ({"format": "grib"}, "'format' must be one of"),
        ({"reader": {"colour": 1}}, "'options' .* fit no format"),
    ],
)
def test_refuses(stack, arguments, text):
    with pytest.raises(ValueError, match=text):
        opened(stack, **arguments)


def test_refuses_splits_and_indexes(stack):
    data = opened(stack)
    with pytest.raises(ValueError, match="'split' must be one of train, validation, test but got 'valid'"):
        data.size("valid")
    with pytest.raises(ValueError, match=rf"'index' must be below the size of 'test' \({data.size('test')}\) but got"):
        data.sample("test", data.size("test"))
    for name in ("index", "seed", "epoch"):
        with pytest.raises(ValueError, match=f"'{name}' must be a whole number of at least 0 but got -1"):
            data.sample("train", **{"index": 0, name: -1})


# The synthetic radar


def synthetic(**more):
    return RadarEcho(**{"frame_size": 24, "input_frames": 2, "target_frames": 3, **more})


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


# The configuration


def test_the_configuration_has_every_argument_and_fits_their_types():
    settings = OmegaConf.to_container(OmegaConf.load(PROJECT / "configs" / "data" / "radar_echo.yaml"))
    parameters = inspect.signature(RadarEcho).parameters
    assert list(settings) == ["_target_", *parameters]
    sections.check_types({"data": settings})
    # What differs from the class, with its reason in the file.
    other = {"target_frames": 10, "frame_size": 128, "validation_sequences": 200}
    assert {key: value for key, value in settings.items() if key in other} == other
    for name, parameter in parameters.items():
        if name not in other:
            assert settings[name] == (list(parameter.default) if name in ("split", "zr") else parameter.default)


def test_the_configuration_builds_its_data(stack):
    config = OmegaConf.create({"data": OmegaConf.load(PROJECT / "configs" / "data" / "radar_echo.yaml")})
    assert sections.instantiate(config, "data").frame_shape == (128, 128, 1)
    config.data.archive, config.data.frame_size = [str(stack)], 16
    config.data.transform = {"_target_": "convlstm.datasets.transforms.LogRain", "maximum": 50}
    sections.check_types(configuration.plain(config))
    data = sections.instantiate(config, "data")
    assert data.transform == LogRain(maximum=50)
    assert data.frame_shape == (16, 16, 1)


@pytest.mark.parametrize(
    ("key", "value"), [("archive", 5), ("format", 1), ("split", 0.7), ("augment", 1), ("reader", "png"), ("zr", "a")]
)
def test_values_of_another_type_are_refused(key, value):
    settings = {"_target_": "convlstm.datasets.radar_echo.RadarEcho", key: value}
    with pytest.raises(ValueError, match=f"'data.{key}' must be .* but got {value!r}"):
        sections.check_types({"data": settings})


# Real events


@pytest.mark.parametrize(
    ("event", "figures"),
    [
        ("bom_66_c10_20201031", ("netcdf", 144, 10.0, [512, 512], 0.0, 0.5)),
        ("knmi_20100826", ("knmi", 92, 5.0, [765, 700], 0.74, 1.0)),
        ("mch/20150515", ("mch_gif", 40, 5.0, [640, 710], 0.31, 1.0)),
        ("mch/20160711", ("mch_gif", 40, 5.0, [640, 710], 0.30, 1.0)),
        ("fmi_pgm/20160928", ("fmi_pgm", 40, 5.0, [1226, 760], 0.24, 1.0)),
        ("mrms_20190610_crop512.npz", ("numpy", 36, 2.0, [512, 512], 0.0, None)),
    ],
)
def test_a_real_event(radar_root, event, figures):
    format, frames_, step, grid, missing, km = figures
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=r".*bom_66.*negative rain counts as missing, 6 in all")
        data = RadarEcho(archive=str(radar_root / event), input_frames=3, target_frames=4, progress=False)
    ((name, record),) = data.describe()["archives"].items()
    assert name == Path(event).name
    assert (record["format"], record["frames"], record["step_minutes"], record["grid"]) == (format, frames_, step, grid)
    assert record["missing_share"] == pytest.approx(missing, abs=0.006)
    assert (data.units, data.frame_interval) == ("mm/h", step)
    assert data.pixel_km == (None if km is None else pytest.approx(km, rel=1e-3))
    batch = next(iter(data.stream("train", 2)))
    assert np.isfinite(batch["inputs"]).all()
    assert batch["targets"].max() > 0.3
    assert batch["mask"].mean() == pytest.approx(1 - missing, abs=0.02)


def test_crops_of_knmi_lie_where_the_radars_see(radar_root):
    data = RadarEcho(
        archive=str(radar_root / "knmi_20100826"), target_frames=10, frame_size=256, wet_sampling=0.5, progress=False
    )
    assert data.frame_shape == (256, 256, 1)
    for split in ("validation", "test"):
        assert all(data.sample(split, index)["mask"].all() for index in range(data.size(split)))
    shares = [data.sample("train", index)["mask"].mean() for index in range(20)]
    assert min(shares) > 0.75
    assert len(set(shares)) > 3
