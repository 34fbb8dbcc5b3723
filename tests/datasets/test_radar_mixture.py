"""Several radar data sets in one."""

import re

from convlstm.cli.data_lines import data_lines
from convlstm.datasets.radar_echo import RadarEcho
from convlstm.datasets.radar_mixture import RadarMixture
from tests.support.project import PROJECT
from tests.support.radar_archives import OPTIONS, write_pictures

import hydra
import numpy as np
import pytest
from omegaconf import OmegaConf

COMMON = {"input_frames": 2, "target_frames": 3, "frame_size": 16}
READING = {"reader": OPTIONS, "progress": False}
SYNTHETIC = {"synthetic": {"step_minutes": 6.0, "pixel_km": 1.5}, "validation_sequences": 2, "test_sequences": 1}


@pytest.fixture
def parts(tmp_path):
    """Two archives of 10 and 5 minutes, and a synthetic radar."""
    write_pictures(tmp_path / "slow", 30, step=10)
    write_pictures(tmp_path / "fast", 20, step=5, shape=(30, 34))
    return {
        "slow": {"archive": str(tmp_path / "slow"), "split": [0.5, 0.3, 0.2], "pixel_km": 2.0, **READING},
        "fast": {
            "archive": str(tmp_path / "fast"),
            "split": [1, 0, 0],
            "pixel_km": 1.0,
            "coarsen": 1,
            "weight": 3,
            **READING,
        },
        "synthetic": SYNTHETIC | {"weight": 0.5, "coarsen": 1, "splits": ["train", "validation"]},
    }


def test_sequences_are_those_of_the_parts_with_their_step_and_pixels(parts):
    data = RadarMixture(parts=parts, shared={"coarsen": 1}, **COMMON)
    slow = RadarEcho(**{k: v for k, v in parts["slow"].items() if k != "pixel_km"}, **COMMON)
    assert data.size("validation") == slow.size("validation") + 2
    assert data.size("test") == slow.size("test")
    for index in range(slow.size("validation")):
        sample = data.sample("validation", index, truth=True)
        for name, array in slow.sample("validation", index, truth=True).items():
            np.testing.assert_array_equal(sample[name], array)
        assert (sample["minutes"], sample["pixel_km"]) == (10, 2)
        np.testing.assert_array_equal(data.times("validation", index), slow.times("validation", index))
    last = data.size("validation") - 1
    assert data.part("validation", last) == "synthetic"
    assert (data.sample("validation", last)["minutes"], data.sample("validation", last)["pixel_km"]) == (6, 1.5)
    assert data.times("validation", last) is None
    assert {data.part("test", n) for n in range(data.size("test"))} == {"slow"}
    y = np.linspace(0, 1, 5)
    np.testing.assert_array_equal(data.physical(y), slow.physical(y))


def test_training_draws_parts_by_weight_and_is_a_function_of_seed_epoch_and_index(parts):
    data = RadarMixture(parts=parts, shared={"coarsen": 1}, train_sequences=900, **COMMON)
    names = [data.part("train", n, seed=1, epoch=2) for n in range(900)]
    for name, weight in (("slow", 1), ("fast", 3), ("synthetic", 0.5)):
        assert names.count(name) / 900 == pytest.approx(weight / 4.5, abs=0.06)
    fast = [n for n, name in enumerate(names) if name == "fast"][:2]
    one, other = (data.sample("train", n, seed=1, epoch=2) for n in fast)
    assert one["minutes"] == 5
    same = RadarMixture(parts=parts, shared={"coarsen": 1}, train_sequences=900, **COMMON)
    for name, array in same.sample("train", fast[0], seed=1, epoch=2).items():
        np.testing.assert_array_equal(array, one[name])
    assert not np.array_equal(one["inputs"], other["inputs"])
    drawn = {
        (seed, epoch): [data.part("train", n, seed=seed, epoch=epoch) for n in range(40)]
        for seed in (1, 2)
        for epoch in (0, 1)
    }
    assert len({tuple(names) for names in drawn.values()}) == 4


def test_batches_have_facts_of_each_sequence(parts):
    data = RadarMixture(parts=parts, shared={"coarsen": 1}, **COMMON)
    batch = next(iter(data.stream("train", 8, seed=3)))
    assert batch["inputs"].shape == (8, 2, 16, 16, 1)
    assert batch["minutes"].shape == batch["pixel_km"].shape == (8,)
    assert {(5.0, 1.0), (10.0, 2.0), (6.0, 1.5)} >= set(zip(batch["minutes"], batch["pixel_km"], strict=True))


def test_pixels_of_the_margin_do_not_count(parts):
    whole, inner = (RadarMixture(parts=parts, shared={"coarsen": 1}, margin=margin, **COMMON) for margin in (0, 3))
    a, b = (data.sample("validation", 0, truth=True) for data in (whole, inner))
    np.testing.assert_array_equal(a["inputs"], b["inputs"])
    np.testing.assert_array_equal(a["targets"], b["targets"])
    inside = np.s_[:, 3:-3, 3:-3]
    np.testing.assert_array_equal(a["mask"][inside], b["mask"][inside])
    np.testing.assert_array_equal(a["truth"][inside], b["truth"][inside])
    assert a["mask"].all()
    assert b["mask"].sum() == 3 * 10 * 10
    assert np.isnan(b["truth"]).sum() == 3 * (16 * 16 - 10 * 10)


def test_shared_options_and_pixels_of_coarser_frames(parts):
    del parts["synthetic"], parts["fast"]
    data = RadarMixture(parts=parts, shared={"coarsen": 2}, **COMMON)
    assert data.sample("test", 0)["pixel_km"] == 4
    assert (data.frame_interval, data.pixel_km) == (10, 4)
    assert RadarMixture(parts={"a": SYNTHETIC, "b": {}}, **COMMON).frame_interval is None


def test_the_record_has_the_parts(parts):
    data = RadarMixture(parts=parts, shared={"coarsen": 1}, margin=2, train_sequences=7, **COMMON)
    record = data.describe()
    assert record["sequences"] == {"train": 7, "validation": data.size("validation"), "test": data.size("test")}
    assert record["parts"]["fast"]["weight"] == 3
    assert record["parts"]["fast"]["splits"] == ["train"]
    assert (record["parts"]["slow"]["minutes"], record["parts"]["slow"]["pixel_km"]) == (10, 2)
    assert record["margin"] == 2
    lines = data_lines(record)
    assert lines[0].startswith("slow: slow: 30 frames, 40 x 48 pixels, every 10 min")
    assert lines[-1].startswith("7 train, ")
    assert RadarMixture(parts=parts, shared={"coarsen": 1}, margin=2, train_sequences=8, **COMMON).describe() != record


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"parts": {}}, "'parts' must have at least one part but is empty"),
        ({"parts": {"a": 3}}, "'parts.a' must be a dict with texts as keys but got 3"),
        ({"parts": {"a": {"frame_size": 8}}}, "'a' must not have 'frame_size', which is one for all"),
        ({"shared": {"target_frames": 8}}, "'shared' must not have 'target_frames', which is one for all"),
        ({"parts": {"a": {"wet": 8}}}, "'a' has no 'wet' but archive, .*, weight, splits, pixel_km"),
        ({"shared": {"weight": 2}}, "'shared' has no 'weight' but archive, "),
        ({"parts": {"a": {"weight": -1}}}, "'parts.a.weight' must be at least 0 but got -1"),
        ({"parts": {"a": {"pixel_km": 0}}}, "'parts.a.pixel_km' must be above 0 but got 0"),
        ({"parts": {"a": {"splits": ["tests"]}}}, r"'parts.a.splits' must be a list of train, .* but got \['tests'\]"),
        ({"margin": 8}, "'margin' must be at most 7 but got 8"),
        ({"margin": -1}, "'margin' must be a whole number of at least 0 but got -1"),
        ({"train_sequences": 0}, "'train_sequences' must be a whole number of at least 1 but got 0"),
    ],
)
def test_arguments_that_are_refused(changes, text):
    with pytest.raises(ValueError, match=rf"\[RadarMixture\] {text}"):
        RadarMixture(**{"parts": {"a": {}}} | COMMON | changes)


def test_archives_that_are_refused(parts):
    del parts["synthetic"]
    with pytest.raises(ValueError, match=r"'fast' has no sequences for test, which its 'splits' name"):
        RadarMixture(parts=parts | {"fast": parts["fast"] | {"splits": ["test"]}}, **COMMON)
    del parts["fast"]["pixel_km"]
    with pytest.raises(ValueError, match=re.escape("give it by parts.fast.pixel_km=NUMBER")):
        RadarMixture(parts=parts, **COMMON)
    raw = parts["fast"] | {"reader": {"units": "raw"}, "pixel_km": 1}
    with pytest.raises(ValueError, match="the parts must have the same units, but 'fast' is in raw and 'slow' in mm/h"):
        RadarMixture(parts=parts | {"fast": raw}, **COMMON)


def test_the_configuration_trains_without_files():
    config = OmegaConf.load(PROJECT / "configs/data/radar_mixture.yaml")
    data = hydra.utils.instantiate(config, frame_size=32, margin=4, train_sequences=2, _convert_="all")
    sample = data.sample("train", 1)
    assert sample["inputs"].shape == (5, 32, 32, 1)
    assert sample["targets"].shape == (12, 32, 32, 1)
