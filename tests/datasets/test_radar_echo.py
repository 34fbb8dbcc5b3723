import inspect
import json
import shutil

from convlstm.cli import configuration, instantiation
from convlstm.datasets import RadarEcho
from convlstm.datasets.transforms import Linear, LogRain, Reflectivity
from tests.support.project import PROJECT
from tests.support.radar_archives import time_of, write_stack
from tests.support.radar_sequences import SPLITS, equal, frames, opened, starts, values_of

import numpy as np
import pytest
from omegaconf import OmegaConf

pytestmark = pytest.mark.usefixtures("stacks")


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


def test_reverse_plays_half_of_the_training_sequences_backwards(stack):
    plain, data = opened(stack), opened(stack, reverse=True)
    backwards = 0
    for epoch in range(4):
        for index in range(data.size("train")):
            one, other = (d.sample("train", index, epoch=epoch, truth=True) for d in (plain, data))
            forward, played = (d.times("train", index, epoch=epoch) for d in (plain, data))
            same = (played == forward).all()
            assert same or (played == forward[::-1]).all()
            backwards += not same
            shown, expected = frames(other), frames(one) if same else frames(one)[::-1]
            np.testing.assert_array_equal(shown[-3:], expected[-3:])
    assert 0.3 < backwards / (4 * data.size("train")) < 0.7
    assert data.describe() == plain.describe() | {"reverse": True}
    assert equal(data.sample("test", 0), plain.sample("test", 0))


def test_rates_are_multiplied_by_one_number_for_a_sequence(stack):
    plain, data = opened(stack), opened(stack, rate_factor=3.0)
    factors = []
    for epoch in range(6):
        for index in range(data.size("train")):
            one, other = (d.physical(frames(d.sample("train", index, epoch=epoch))) for d in (plain, data))
            wet = (one > 0.2) & (other > 0.2) & (other < 300)
            if wet.any():
                ratios = other[wet] / one[wet]
                assert np.ptp(ratios) < 1e-2 * ratios.mean()
                factors.append(ratios.mean())
    assert 0.33 < min(factors) < 0.7
    assert 1.5 < max(factors) < 3.01
    assert abs(np.log(factors).mean()) < 0.35
    assert data.describe() == plain.describe() | {"rate_factor": 3.0}
    assert equal(data.sample("test", 0), plain.sample("test", 0))


def test_a_rate_factor_must_be_at_least_one_and_is_for_rain(stack):
    with pytest.raises(ValueError, match=r"'rate_factor' must be at least 1 but got 0\.5"):
        opened(stack, rate_factor=0.5)
    with pytest.raises(ValueError, match="'rate_factor' is for rain in mm/h but the values are raw: leave it at 1"):
        opened(stack, reader={"units": "raw"}, transform=Linear(200.0), rate_factor=2.0)


def test_paths_are_relative_to_the_current_folder_or_home(stack, tmp_path, monkeypatch):
    expected = opened(stack).describe()
    monkeypatch.chdir(tmp_path)
    assert opened("storm.stack").describe() == expected
    monkeypatch.setenv("HOME", str(tmp_path))
    assert opened("~/storm.stack").describe() == expected
    assert RadarEcho(archive=["storm.stack"] * 2, input_frames=2, target_frames=3).describe() == expected


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


def test_the_record_is_json_without_paths(stack, tmp_path):
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


def test_an_archive_that_is_too_short(stack):
    with pytest.raises(
        ValueError,
        match=r"'archive' is too short to be split into train 0.7, validation 0.1, test 0.2: the 100 frames of "
        r"storm.stack at 5 min hold 61 sequences of 40 frames, and at least 39 frames between two splits are not used. "
        r"Use fewer input_frames or target_frames, a smaller stride, fewer splits",
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
        ({"least_known": 1.1}, "'least_known' must be a number from 0 to 1 but got 1.1"),
        ({"wet_sampling": -0.1}, "'wet_sampling' must be a number from 0 to 1 but got -0.1"),
        ({"wet_sampling": True}, "'wet_sampling' must be a number from 0 to 1 but got True"),
        ({"split": (0.7, 0.3)}, r"'split' must be the shares of train, validation and test, .* but got \(0.7, 0.3\)"),
        ({"split": (0.7, 0.2, 0.2)}, r"with the sum 1, but got \(0.7, 0.2, 0.2\)"),
        ({"split": (1.2, -0.2, 0)}, r"none negative, .* but got \(1.2, -0.2, 0\)"),
        ({"split": 0.7}, "'split' must be the shares .* but got 0.7"),
        ({"thresholds": []}, r"'thresholds' must be positive numbers, each above the one before, but got \[\]"),
        ({"thresholds": [2, 1]}, r"each above the one before, but got \[2, 1\]"),
        ({"thresholds": [0, 1]}, r"'thresholds' must be positive numbers, .* but got \[0, 1\]"),
        ({"thresholds": "12"}, "'thresholds' must be positive numbers, .* but got '12'"),
        ({"archive": []}, r"'archive' must be a path or a list of paths but got \[\]"),
        ({"archive": ""}, "'archive' must be a path but got ''"),
        ({"test_archive": [3]}, r"'test_archive' must be a path but got 3"),
        ({"archive": None, "test_archive": "x"}, r"'test_archive' needs an 'archive' to train on. .* as \[0, 0, 1\]"),
        ({"archive": None, "synthetic": {"colour": 1}}, "'synthetic' has step_minutes, .* but got 'colour'"),
        (
            {"archive": None, "coarsen": 2},
            "'coarsen' and 'step' are for an 'archive'. Set 'pixel_km' and 'step_minutes'",
        ),
        ({"zr": (200,)}, r"'zr' must be two positive numbers"),
        ({"format": "bufr"}, "'format' must be one of"),
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


def test_the_configuration_has_every_argument_and_fits_their_types():
    settings = OmegaConf.to_container(OmegaConf.load(PROJECT / "configs" / "data" / "radar_echo.yaml"))
    parameters = inspect.signature(RadarEcho).parameters
    assert list(settings) == ["_target_", *parameters]
    instantiation.check_types({"data": settings})
    # These differ from the class; the file has the reasons.
    other = {"target_frames": 10, "frame_size": 128, "validation_sequences": 200}
    assert {key: value for key, value in settings.items() if key in other} == other
    for name, parameter in parameters.items():
        if name not in other:
            assert settings[name] == (list(parameter.default) if name in ("split", "zr") else parameter.default)


def test_the_configuration_builds_its_data(stack):
    config = OmegaConf.create({"data": OmegaConf.load(PROJECT / "configs" / "data" / "radar_echo.yaml")})
    assert instantiation.instantiate(config, "data").frame_shape == (128, 128, 1)
    config.data.archive, config.data.frame_size = [str(stack)], 16
    config.data.transform = {"_target_": "convlstm.datasets.transforms.LogRain", "maximum": 50}
    instantiation.check_types(configuration.plain(config))
    data = instantiation.instantiate(config, "data")
    assert data.transform == LogRain(maximum=50)
    assert data.frame_shape == (16, 16, 1)


@pytest.mark.parametrize(
    ("key", "value"), [("archive", 5), ("format", 1), ("split", 0.7), ("augment", 1), ("reader", "png"), ("zr", "a")]
)
def test_configured_values_of_another_type_are_refused(key, value):
    settings = {"_target_": "convlstm.datasets.radar_echo.RadarEcho", key: value}
    with pytest.raises(ValueError, match=f"'data.{key}' must be .* but got {value!r}"):
        instantiation.check_types({"data": settings})
