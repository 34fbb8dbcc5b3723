from datetime import datetime

from convlstm.datasets.readers import NO_ECHO_DBZ, ReadError, make_reader, recognise
from tests.support.radar_files import open_file

import numpy as np
import pytest

STACK = np.arange(60, dtype=np.int16).reshape(5, 3, 4)


def save(path, array):
    np.save(path, array)
    return path


def test_one_frame_per_file(tmp_path):
    path = save(tmp_path / "rain_201906101204.npy", STACK[0])
    reader, contents = open_file(path)
    assert reader.format == "numpy"
    assert contents.times.tolist() == [np.datetime64("2019-06-10T12:04:00").item()]
    assert (contents.grid.shape, contents.grid.units) == ((3, 4), "raw")
    np.testing.assert_array_equal(reader.read(path, 0), STACK[0])
    named = save(tmp_path / "rain-10.06.2019.npy", STACK[:1])
    assert open_file(named, pattern="%d.%m.%Y")[1].times[0] == np.datetime64("2019-06-10T00:00:00")
    with pytest.raises(ReadError, match=r"\[numpy\] .* has no time in its name. Set the option 'pattern', or 'st"):
        open_file(named)


@pytest.mark.parametrize("start", ["2019-06-10T12:00", "2019-06-10 12:00:00Z", datetime(2019, 6, 10, 12)])
def test_stack_with_options(tmp_path, start):
    path = save(tmp_path / "stack.npy", STACK)
    options = {"start": start, "step_minutes": 2.5, "units": "mm/h", "scale": 0.1, "offset": 1, "missing": 13}
    reader, contents = open_file(path, **options)
    assert contents.times.astype(str).tolist()[:3] == [
        "2019-06-10T12:00:00",
        "2019-06-10T12:02:30",
        "2019-06-10T12:05:00",
    ]
    assert contents.grid.units == "mm/h"
    frame = reader.read(path, 1)
    assert np.isnan(frame[0, 1])
    assert frame[0, 0] == pytest.approx(2.2)
    with pytest.raises(ReadError, match="has no frame 5"):
        reader.read(path, 5)


def test_stack_starts_at_the_day_in_its_name(tmp_path):
    path = save(tmp_path / "mrms_20190610_crop.npy", STACK)
    with pytest.raises(ReadError, match=r"has 5 frames but no times\. Set the option 'step_minutes'"):
        open_file(path)
    assert open_file(path, step_minutes=2)[1].times[1] == np.datetime64("2019-06-10T00:02:00")
    path = save(tmp_path / "mrms_20190610_1800.npy", STACK)
    assert open_file(path, step_minutes=2)[1].times[1] == np.datetime64("2019-06-10T18:02:00")


def test_huge_stack_costs_no_memory(tmp_path):
    path = tmp_path / "huge_20190610.npy"
    # A sparse file: 64 GiB that take no space on disk.
    huge = np.lib.format.open_memmap(path, "w+", np.float32, (65536, 512, 512))
    huge[40000] = 7
    del huge
    reader, contents = open_file(path, step_minutes=5)
    assert len(contents.times) == 65536
    assert reader.read(path, 40000).min() == 7
    assert reader.read(path, 65535).max() == 0


TIMES = np.datetime64("2019-06-10T12:00:00", "s") + np.arange(5) * np.timedelta64(360, "s")


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
@pytest.mark.parametrize(
    ("name", "times"),
    [
        ("times", TIMES),
        ("time", TIMES.astype("datetime64[ns]")),
        ("times", TIMES.astype(np.int64)),
        ("times", TIMES.astype(np.float64)),
        ("times", np.array([f"{time}Z" for time in TIMES])),
    ],
)
def test_npz_with_times(tmp_path, save, name, times):
    path = tmp_path / "stack.npz"
    save(path, **{"rain": STACK, name: times, "lat": np.zeros((3, 4)), "note": np.array("mine")})
    assert recognise(path).format == "numpy"
    reader, contents = open_file(path)
    np.testing.assert_array_equal(contents.times, TIMES)
    for position in (4, 0, 2):
        np.testing.assert_array_equal(reader.read(path, position), STACK[position])
    save(path, **{"rain": STACK + 1, name: times})
    np.testing.assert_array_equal(reader.read(path, 4), STACK[4] + 1)


def test_npz_with_all_options(tmp_path):
    path = tmp_path / "crop_20190610.npz"
    corner = {"lat_first": 47.995, "lon_first": -87.065, "dlat": -0.01, "dlon": 0.02}
    np.savez(path, counts=STACK, scale_mmh=np.float32(0.1), minutes=np.int32(2), nodata=np.int16(7), **corner)
    reader, contents = open_file(path)
    assert contents.times[4] == np.datetime64("2019-06-10T00:08:00")
    grid = contents.grid
    assert (grid.units, grid.pixel_units) == ("mm/h", "deg")
    assert grid.pixel_size == pytest.approx((0.01, 0.02))
    assert grid.extent == pytest.approx((-87.075, 47.97, -86.995, 48.0))
    frame = reader.read(path, 0)
    assert np.isnan(frame[1, 3])
    assert frame[2, 3] == pytest.approx(1.1)
    # Options override the file.
    assert open_file(path, step_minutes=3, units="raw")[1].times[1] == np.datetime64("2019-06-10T00:03:00")
    corner["dlat"] = 0.01
    np.savez(path, counts=STACK, minutes=2, **corner)
    np.testing.assert_array_equal(reader.read(path, 0), STACK[0, ::-1])
    assert reader.contents(path).grid.extent == pytest.approx((-87.075, 47.99, -86.995, 48.02))


def test_one_array_of_several_is_chosen(tmp_path):
    path = tmp_path / "two_20190610.npz"
    np.savez(path, rain=STACK, snow=2 * STACK, minutes=5)
    with pytest.raises(ReadError, match=r"has several arrays: rain, snow\. Choose one with the option 'key'"):
        open_file(path)
    reader, _ = open_file(path, key="snow")
    np.testing.assert_array_equal(reader.read(path, 1), 2 * STACK[1])
    with pytest.raises(ReadError, match="has no array 'hail'; it has rain, snow, minutes"):
        open_file(path, key="hail")


def test_coordinates_of_meteonet_alone_are_refused(tmp_path):
    path = tmp_path / "radar_coords_NW.npz"
    np.savez(path, lats=STACK[0], lons=STACK[1])
    with pytest.raises(ReadError, match=r"coordinates of MeteoNet, no frames\. Give a file of its rain"):
        open_file(path)


def test_arrays_in_fortran_order(tmp_path):
    np.savez(tmp_path / "f_20190610.npz", rain=np.asfortranarray(STACK), minutes=5)
    reader, _ = open_file(tmp_path / "f_20190610.npz")
    np.testing.assert_array_equal(reader.read(tmp_path / "f_20190610.npz", 3), STACK[3])


def test_no_echo_at_all(tmp_path):
    path = save(tmp_path / "z_201906101204.npy", np.array([[-np.inf, 3]]))
    np.testing.assert_array_equal(open_file(path, units="dBZ")[0].read(path, 0), [[NO_ECHO_DBZ, 3]])
    np.testing.assert_array_equal(open_file(path)[0].read(path, 0), [[-np.inf, 3]])


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.zeros((2, 3, 4, 5)), "must have numbers of .* but .*npy is float64 of \\(2, 3, 4, 5\\)"),
        (np.zeros((2, 3), complex), "is complex128"),
        (np.array([["a", "b"]]), "is <U1"),
        (np.array([[{}, None]], object), "is object of"),
        (np.zeros((0, 3, 4)), "has no frames"),
        (np.zeros((3, 0)), "has frames of \\(3, 0\\)"),
    ],
)
def test_refused_arrays(tmp_path, array, message):
    path = save(tmp_path / "x_201906101204.npy", array)
    with pytest.raises(ReadError, match=rf"\[numpy\] .*x_201906101204\.npy .*{message}"):
        open_file(path, step_minutes=5)


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"rain": STACK, "times": TIMES[:3]}, "has 5 frames but times of \\(3,\\)"),
        ({"rain": STACK, "times": np.arange(5)}, "neither datetime64, nor text in ISO 8601, nor seconds since 1970"),
        ({"rain": STACK, "times": np.array(["NaT"] * 5, "datetime64[s]")}, "has frames without a time"),
        ({"rain": STACK, "minutes": 5, "units": "mm"}, "'units' must be one of mm/h, dBZ, raw but got 'mm'"),
        ({"speed": np.zeros(3)}, "has no array \\(T, H, W\\) or \\(H, W\\); it has speed"),
    ],
)
def test_refused_npz(tmp_path, arrays, message):
    path = tmp_path / "x_20190610.npz"
    np.savez(path, **arrays)
    with pytest.raises(ReadError, match=rf"\[numpy\] .*x_20190610\.npz .*{message}"):
        open_file(path)


def test_cut_off_files_are_refused(tmp_path):
    path = save(tmp_path / "x_201906101204.npy", STACK)
    path.write_bytes(path.read_bytes()[:150])
    with pytest.raises(ReadError, match=r"\[numpy\] .*x_201906101204\.npy is cut off: 98 of 120 bytes"):
        open_file(path, step_minutes=5)
    path = tmp_path / "x_20190610.npz"
    np.savez_compressed(path, rain=np.random.default_rng(0).random((5, 60, 60)), times=TIMES)
    whole = path.read_bytes()
    path.write_bytes(whole[:1000])
    assert recognise(path).format == "numpy"
    with pytest.raises(ReadError, match=r"\[numpy\] .*x_20190610\.npz cannot be read"):
        open_file(path)
    path.write_bytes(whole[:50000] + bytes(100) + whole[50100:])
    reader, _ = open_file(path)
    with pytest.raises(ReadError, match=r"\[numpy\] .*x_20190610\.npz cannot be read at frame 0"):
        reader.read(path, 0)


def test_packed_array_beyond_memory_is_refused(tmp_path, monkeypatch):
    """The limit is an eighth of the memory; arrays that are read frame by frame may be larger."""
    stack = np.zeros((40, 3, 4))
    stack[2] = STACK[2]
    monkeypatch.setattr("convlstm.datasets.readers.limits.memory", lambda: 8 * stack.nbytes - 1)
    path = tmp_path / "x_20190610.npz"
    np.savez_compressed(path, rain=stack)
    refused = r"has 'rain' packed, or in the order of Fortran, .* Save it as \.npy or with numpy\.savez, in"
    with pytest.raises(ReadError, match=refused):
        open_file(path, step_minutes=5)
    np.savez(path, rain=np.asfortranarray(stack))
    with pytest.raises(ReadError, match=refused):
        open_file(path, step_minutes=5)
    np.savez(path, rain=stack)
    np.testing.assert_array_equal(open_file(path, step_minutes=5)[0].read(path, 2), STACK[2])
    np.save(tmp_path / "x_20190610.npy", stack)
    np.testing.assert_array_equal(make_reader("numpy").read(tmp_path / "x_20190610.npy", 2), STACK[2])


def test_refused_options():
    with pytest.raises(ValueError, match=r"\[numpy\] 'start' must be a time such as .* but got 'noon'"):
        make_reader("numpy", start="noon")
    with pytest.raises(ValueError, match=r"\[numpy\] 'step_minutes' must be a number of minutes above 0 but got -5"):
        make_reader("numpy", step_minutes=-5)
    with pytest.raises(ValueError, match=r"\[numpy\] 'units' must be one of"):
        make_reader("numpy", units="inches")
