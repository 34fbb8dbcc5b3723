"""Sequences of several fields of a NetCDF file."""

import json
import warnings

from convlstm.datasets import GriddedFields
from convlstm.datasets.transforms import Linear, Standard
from tests.support.ocean import LAND, SHAPE, temperature, wind, write_ocean

import numpy as np
import pytest

netCDF4 = pytest.importorskip("netCDF4")


@pytest.fixture(scope="module")
def ocean(tmp_path_factory):
    return write_ocean(tmp_path_factory.mktemp("sea") / "ocean.nc")


@pytest.fixture
def opened(ocean, tmp_path):
    def open_(**settings):
        given = {"archive": str(ocean), "variable": ["sst", "u10"], "input_frames": 3, "target_frames": 2}
        return GriddedFields(**{**given, "index": str(tmp_path / "index"), "progress": False, **settings})

    return open_


def first(data, split, index=0):
    """Returns the number of the first frame of a sequence."""
    hours = (data.times(split, index)[0] - np.datetime64("2020-01-01")) / np.timedelta64(1, "h")
    return int(hours) // 6


def test_both_fields_come_in_and_one_comes_out(opened):
    data = opened(targets="sst")
    sst, u10 = temperature(), wind()
    assert data.frame_shape == (*SHAPE, 2)
    assert data.target_channels == [0]
    assert [str(field) for field in data.target_fields] == ["sst: sea surface temperature, degC"]
    for split in ("train", "validation", "test"):
        sample, start = data.sample(split, 0, truth=True), first(data, split)
        scales = [channel.scale for channel in data.channels.fields]
        land = np.isnan(sst[0])
        assert sample["inputs"][:, ~land, 0] == pytest.approx(
            scales[0].forward(sst[start : start + 3])[:, ~land], abs=1e-6
        )
        assert (sample["inputs"][:, land, 0] == 0.5).all()
        assert sample["inputs"][..., 1] == pytest.approx(scales[1].forward(u10[start : start + 3]), abs=1e-6)
        assert sample["truth"].shape == sample["targets"].shape == (2, *SHAPE, 1)
        assert sample["truth"][..., 0] == pytest.approx(sst[start + 3 : start + 5], nan_ok=True)
        assert not sample["mask"][:, LAND[0], LAND[1]].any()
        assert sample["mask"].mean() == pytest.approx(1 - 32 / 384)
        assert sample["input_mask"][..., 1].all()
        known = sample["mask"][..., 0]
        assert data.physical(sample["targets"])[..., 0][known] == pytest.approx(
            sample["truth"][..., 0][known], abs=1e-4
        )


def test_scales_are_fitted_to_the_training_split(opened):
    data = opened()
    sst = temperature()[: first(data, "train", data.size("train") - 1) + 5]
    scale = data.channels.fields[0].scale
    margin = 0.1 * (np.nanmax(sst) - np.nanmin(sst))
    assert scale.minimum == pytest.approx(np.nanmin(sst) - margin, abs=0.05)
    assert scale.maximum == pytest.approx(np.nanmax(sst) + margin, abs=0.05)
    assert scale.units == "degC"
    standard = opened(scale={"u10": "standard", "sst": {"minimum": 0, "maximum": 40}}).channels.fields
    assert standard[0].scale == Linear(minimum=0.0, maximum=40.0, units="degC")
    assert isinstance(standard[1].scale, Standard)


def test_clipped_values_are_reported_and_too_many_refused(opened):
    with pytest.warns(UserWarning, match=r"\d\.\d+% of the values of sst lie beyond its scale, 9.2 to 30 degC"):
        opened(scale={"sst": {"minimum": 9.2, "maximum": 30}})
    with pytest.raises(ValueError, match=r"values of u10 lie beyond its scale, 0 to 10 m s-1.*most_clipped=0\.\d+\."):
        opened(scale={"u10": {"minimum": 0, "maximum": 10}})
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        opened(scale={"u10": {"minimum": 0, "maximum": 10}}, most_clipped=0.6)


def test_changes_since_the_last_frame(opened):
    data = opened(changes=True, targets=["u10"])
    assert data.frame_shape[-1] == 4
    sample, start = data.sample("test", 1, truth=True), first(data, "test", 1)
    u10 = wind()[start : start + 5]
    assert sample["reference"].shape == (1, *SHAPE, 1)
    assert data.physical(sample["targets"], sample["reference"])[..., 0] == pytest.approx(u10[3:], abs=1e-4)
    assert data.physical(np.full((2, *SHAPE, 1), 0.5), sample["reference"])[1, 0, 0, 0] == pytest.approx(u10[2, 0, 0])


def test_fixed_fields_and_extras_are_inputs(opened):
    data = opened(variable=["sst", "depth"], targets=["sst"], extras=["known", "latitude", "day"])
    inputs = data.sample("train", 0)["inputs"]
    assert inputs.shape[-1] == 6
    depth, known, latitude, sine, cosine = np.moveaxis(inputs[..., 1:], -1, 0)
    assert (depth == depth[:1]).all()
    assert (np.diff(depth[0, 0]) > 0).all()
    assert known[0][LAND].max() == 0
    assert known[0].mean() == pytest.approx(1 - 32 / 384)
    assert latitude[0, :, 0] == pytest.approx((150 - 0.25 * np.arange(16)) / 180, abs=1e-6)
    assert sine[:, 0, 0] == pytest.approx([0.5, 1, 0.5], abs=1e-6)  # 0, 6 and 12 h UTC
    assert cosine[:, 0, 0] == pytest.approx([1, 0.5, 0], abs=1e-6)


def test_batches_have_the_truth_if_it_is_wanted(opened):
    data = opened(changes=True)
    batch = next(iter(data.stream("validation", 2, truth=True)))
    assert batch["truth"].shape == (2, 2, *SHAPE, 2)
    assert batch["reference"].shape == (2, 1, *SHAPE, 2)
    assert set(next(iter(data.stream("train", 2)))) == {"inputs", "targets", "mask", "input_mask"}


def test_the_record_describes_everything(opened):
    data = opened(targets=["sst"], extras=["year"], thresholds=[-1.5, 20])
    record = data.describe()
    assert json.loads(json.dumps(record, allow_nan=False)) == record
    assert record["channels"]["targets"] == ["sst"]
    assert [one["field"]["units"] for one in record["channels"]["fields"]] == ["degC", "m s-1"]
    assert record["thresholds"] == [-1.5, 20.0]


@pytest.mark.parametrize(
    ("settings", "text"),
    [
        ({"variable": None}, r"has several fields: sst \(degC\), u10 \(m s-1\)"),
        ({"variable": ["sst", "waves"]}, r"has no frames 'waves'"),
        ({"targets": ["depth"]}, r"'targets' must be some of sst, u10 but got 'depth'"),
        ({"targets": 3}, r"\[GriddedFields\] 'targets' must be a text or a list of texts but got 3"),
        ({"extras": ["hour"]}, r"'extras' must be some of known, latitude, longitude, day, year but got 'hour'"),
        ({"scale": "log"}, r"\[GriddedFields\] 'scale' must be range or standard, .* but got 'log'"),
        ({"scale": {"sst": {"minimum": 5, "maximum": 1}}}, r"'minimum' must be below 'maximum'"),
        ({"thresholds": [10]}, r"'thresholds' need a single target"),
        ({"thresholds": [10, 5], "targets": "sst"}, r"'thresholds' must be numbers, each above the one before"),
        ({"most_clipped": 2}, r"'most_clipped' must be a number from 0 to 1 but got 2"),
        ({"changes": "yes"}, r"'changes' must be"),
        ({"step": 500}, r"'step' must be a multiple of the 360 min"),
    ],
)
def test_refuses(opened, settings, text):
    with pytest.raises(ValueError, match=text):
        opened(**settings)
