"""Fixed fields of a file of their own, as inputs on the grid of the archive."""

import json

from convlstm.datasets import GriddedFields
from convlstm.datasets.channels import Channels
from tests.support.cf_files import write_cf
from tests.support.seasons import AXES, SHAPE, heights, write_heights, write_seasons

import numpy as np
import pytest

pytest.importorskip("netCDF4")


@pytest.fixture
def opened(tmp_path):
    path, fixed = write_seasons(tmp_path / "t.nc"), write_heights(tmp_path / "ground.nc")

    def open_(**settings):
        given = {
            "archive": str(path),
            "input_frames": 2,
            "target_frames": 3,
            "static": {"file": fixed, "variable": "z"},
        }
        return GriddedFields(**{**given, "index": str(tmp_path / "index"), "progress": False, **settings})

    return open_


def test_a_fixed_field_is_an_input_in_all_frames(opened, tmp_path):
    data = opened(static={"file": str(tmp_path / "ground.nc"), "variable": ["z", "lsm"]}, extras=["latitude"])
    assert data.frame_shape == (*SHAPE, 4)
    assert data.target_channels == [0]
    inputs, scale = data.sample("train", 0)["inputs"], data.channels.static[0].scale
    known = ~np.isnan(heights())
    for frame in inputs:
        np.testing.assert_allclose(frame[..., 1][known], scale.forward(heights())[known], atol=1e-6)
    assert inputs[0, -1, -1, 1] == 0.5  # unknown
    assert len(np.unique(inputs[..., 2])) == 2  # the mask
    assert [str(channel.field) for channel in data.channels.static] == ["z: height of the ground, m", "lsm: 1"]


def test_crops_and_means_of_squares_have_their_part(opened):
    data = opened(frame_size=[4, 4], coarsen=2)
    z = np.nanmean(heights().reshape(4, 2, 6, 2), axis=(1, 3))
    found = {tuple(data.sample("train", n)["inputs"][0, 0, :, 1].round(4)) for n in range(20)}
    expected = data.channels.static[0].scale.forward(z)
    rows = {tuple(expected[0, left : left + 4].round(4)) for left in range(3)}
    assert found <= rows
    assert len(found) > 1


def test_a_field_with_one_time_is_fixed_too(opened, tmp_path):
    time = (("time",), [0], {"units": "hours since 1990-01-01"})
    fixed = {"z": (("time", "lat", "lon"), heights()[None], {"units": "m"})}
    path = write_cf(tmp_path / "one.nc", fixed, time=time, **AXES)
    np.testing.assert_array_equal(opened(static=str(path)).maps["static"], opened().maps["static"])
    np.save(tmp_path / "z.npy", heights()[None])
    array = opened(static={"file": tmp_path / "z.npy", "reader": {"start": "2000-01-01", "step_minutes": 5}})
    np.testing.assert_array_equal(array.maps["static"], opened().maps["static"])


def test_the_checkpoint_needs_no_file(opened):
    data = opened()
    record = json.loads(json.dumps(data.describe()["channels"]))
    again = Channels(**record, arrays=data.maps)
    frames = data.frames("test", 0)[None, :2]
    np.testing.assert_array_equal(again.inputs(frames)[0], data.channels.inputs(frames)[0])
    with pytest.raises(ValueError, match=r"'arrays' must have the fixed fields"):
        Channels(**record)


def test_longitudes_from_180_degrees_west_are_the_same_place(opened, tmp_path):
    lon = (("lon",), AXES["lon"][1] + 360, AXES["lon"][2])
    assert opened(static={"file": write_heights(tmp_path / "b.nc", lon=lon), "variable": "z"}).maps
    lon = (("lon",), AXES["lon"][1] + 0.25, AXES["lon"][2])
    with pytest.raises(ValueError, match=r"b.nc is of another grid, 8 x 12 pixels from 0, 56.25 to 6, 60.25 deg, than"):
        opened(static={"file": write_heights(tmp_path / "b.nc", lon=lon), "variable": "z"})


@pytest.mark.parametrize(
    ("static", "text"),
    [
        (
            {"variable": "z"},
            r"'static' must be a file, or \{file: PATH, variable: NAME\} .* but got \{'variable': 'z'\}",
        ),
        ({"file": "ground.nc"}, r"'static': .*ground.nc has several fields: z \(m\), lsm \(1\).* static.variable=z"),
        ({"file": "ground.nc", "variable": "depth"}, r"has no frames 'depth'; it has z \(m\), lsm \(1\)"),
        ({"file": "t.nc"}, r"'static': .*t.nc has 80 frames, and a fixed field has one"),
        ({"file": "none.nc"}, r"none.nc does not exist"),
        ({"file": "a.txt"}, r"'static': .*a.txt is of no known format"),
        ({"file": "small.nc"}, r"small.nc is of another grid, 3 x 4 pixels .*\. Interpolate it first"),
        ({"file": "same.nc"}, r"'static' must be other fields than those of the archive but got 't2m'"),
        (5, r"'static' must be"),
    ],
)
def test_refuses(opened, tmp_path, static, text):
    (tmp_path / "a.txt").write_text("no field")
    write_cf(tmp_path / "small.nc", {"z": (("lat", "lon"), np.ones((3, 4), np.float32), {"units": "m"})}, time=None)
    write_cf(tmp_path / "same.nc", {"t2m": (("lat", "lon"), heights(), {"units": "m"})}, time=None, **AXES)
    if isinstance(static, dict) and "file" in static:
        static = static | {"file": str(tmp_path / static["file"])}
    with pytest.raises((ValueError, FileNotFoundError), match=text):
        opened(static=static)
