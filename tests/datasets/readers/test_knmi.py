from convlstm.datasets.readers import ReadError, make_reader, recognise
from tests.support.radar_files import open_file, write_knmi

import numpy as np
import pytest

h5py = pytest.importorskip("h5py")


RAIN = np.array([[0, 1, 65535], [65534, 250, 7]], np.uint16)


def test_knmi_amounts_become_rates_over_the_period(tmp_path):
    reader, contents = open_file(write_knmi(tmp_path / "rain.h5", RAIN))
    assert reader.format == "knmi"
    assert contents.times.tolist() == [np.datetime64("2010-08-26T00:05:00").item()]
    assert contents.event is None
    # 0.01 mm in 5 minutes are 0.12 mm/h.
    expected = np.array([[0, 0.12, np.nan], [np.nan, 30, 0.84]], np.float32)
    np.testing.assert_allclose(reader.read(tmp_path / "rain.h5", 0), expected, rtol=1e-6)
    hour = write_knmi(tmp_path / "hour.h5", RAIN, product_datetime_start=np.array([b"25-AUG-2010;23:05:00.000"]))
    np.testing.assert_allclose(reader.read(hour, 0), expected / 12, rtol=1e-6)


def test_knmi_grid_in_metres(tmp_path):
    _, contents = open_file(write_knmi(tmp_path / "rain.h5", RAIN))
    grid = contents.grid
    assert (grid.shape, grid.units, grid.pixel_size, grid.pixel_units) == ((2, 3), "mm/h", (1000, 1000), "m")
    assert grid.extent == (0, -3652000, 3000, -3650000)
    assert "+a=6378137 +b=6356752" in grid.projection
    metres = {"geo_dim_pixel": b"M,M", "projection_proj4_params": b"+proj=stere +a=6378137 +b=6356752"}
    grid = open_file(write_knmi(tmp_path / "metres.h5", RAIN, **metres))[1].grid
    assert (grid.pixel_size, grid.projection) == ((1, 1), "+proj=stere +a=6378137 +b=6356752")


def test_knmi_rows_from_south_to_north_are_flipped(tmp_path):
    up = write_knmi(tmp_path / "up.h5", RAIN, geo_pixel_size_y=np.array([1], np.float32))
    reader, contents = open_file(up)
    assert reader.read(up, 0)[1, 0] == 0
    assert contents.grid.extent == (0, 3650000, 3000, 3652000)


def test_knmi_reflectivity(tmp_path):
    pixels = np.array([[0, 64, 255]], np.uint8)
    dbz = {"image_geo_parameter": b"REFLECTIVITY_[DBZ]", "calibration_formulas": b"GEO=0.5*PV-32.0"}
    codes = {"calibration_missing_data": np.int32(0), "calibration_out_of_image": np.int32(255)}
    reader, contents = open_file(write_knmi(tmp_path / "z.h5", pixels, **dbz, **codes))
    assert contents.grid.units == "dBZ"
    np.testing.assert_array_equal(reader.read(tmp_path / "z.h5", 0), [[-32, 0, np.nan]])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"calibration_formulas": b"__import__('os').getcwd()"}, "which is not GEO=a\\*PV\\+b"),
        ({"image_geo_parameter": b"ECHO_TOP_[KM]"}, "'ECHO_TOP_\\[KM\\]', which is not in \\[MM\\]"),
        ({"product_datetime_end": np.array([b"26-AUG-2010;00:00:00.000"])}, "start before its end"),
        ({"product_datetime_end": np.array([b"yesterday"])}, "cannot be read"),
    ],
)
def test_knmi_refuses(tmp_path, changes, message):
    path = write_knmi(tmp_path / "rain.h5", RAIN, **changes)
    with pytest.raises(ReadError, match=rf"\[knmi\] .*rain\.h5 .*{message}"):
        make_reader("knmi").read(path, make_reader("knmi").contents(path).times.size - 1)


@pytest.mark.parametrize(("size", "format"), [(100, None), (3000, "knmi")])
def test_cut_off_files_are_refused(tmp_path, size, format):
    path = write_knmi(tmp_path / "rain.h5", np.random.default_rng(0).integers(0, 60000, (90, 80)).astype(np.uint16))
    path.write_bytes(path.read_bytes()[:size])
    assert getattr(recognise(path), "format", None) == format, "by the remaining bytes"
    for name in ("knmi", "odim", "sevir"):
        with pytest.raises(ReadError, match=rf"\[{name}\] .*rain\.h5 cannot be read"):
            make_reader(name).contents(path)


def test_other_hdf5_is_not_recognised(tmp_path):
    with h5py.File(tmp_path / "weights.h5", "w") as file:
        file["layer/weight"] = np.zeros((3, 3))
    assert recognise(tmp_path / "weights.h5") is None
