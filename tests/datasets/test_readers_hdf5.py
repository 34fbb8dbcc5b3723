from convlstm.datasets.readers import NO_ECHO_DBZ, ReadError, detect, make, open_file
from tests.support.radar_files import write_knmi, write_odim, write_sevir

import numpy as np
import pytest

h5py = pytest.importorskip("h5py")

RAIN = np.array([[0, 1, 65535], [65534, 250, 7]], np.uint16)


def test_knmi_amounts_become_rates_of_the_file_s_period(tmp_path):
    reader, contents = open_file(write_knmi(tmp_path / "rain.h5", RAIN))
    assert contents.format == reader.format == "knmi"
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


def test_knmi_rows_that_go_north_are_turned(tmp_path):
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
        make("knmi").read(path, make("knmi").contents(path).times.size - 1)


ECHO = np.array([[0, 64, 255], [84, 1, 200]], np.uint8)


def test_odim_reflectivity_and_its_grid(tmp_path):
    path = write_odim(tmp_path / "comp.h5", {"DBZH": ECHO})
    reader, contents = open_file(path)
    assert contents.format == "odim"
    assert contents.times.tolist() == [np.datetime64("2024-01-31T23:55:00").item()]
    np.testing.assert_array_equal(reader.read(path, 0), [[NO_ECHO_DBZ, 0, np.nan], [10, -31.5, 68]])
    grid = contents.grid
    assert (grid.shape, grid.units, grid.pixel_size) == ((2, 3), "dBZ", (1000, 2000))
    # The corner is that of OPERA's composite, of which x_0 and y_0 are made: (0, -4400000).
    assert grid.extent == pytest.approx((0, -4400000, 6000, -4398000), abs=1)


def test_odim_prefers_rain_and_takes_what_it_is_told(tmp_path):
    scale = {"gain": 0.1, "offset": 0.0}
    path = write_odim(tmp_path / "both.h5", {"DBZH": ECHO, "ACRR": ECHO, "QIND": ECHO}, what=scale)
    reader, contents = open_file(path)
    assert contents.grid.units == "mm/h"
    assert contents.times.tolist() == [np.datetime64("2024-02-01T00:00:00").item()]
    # A quarter of an hour.
    np.testing.assert_allclose(reader.read(path, 0), [[0, 25.6, np.nan], [33.6, 0.4, 80]], rtol=1e-6)
    assert open_file(path, variable="DBZH")[1].grid.units == "dBZ"
    assert open_file(path, variable="QIND")[1].grid.units == "raw"
    rate = write_odim(tmp_path / "rate.h5", {"RATE": ECHO}, what=scale)
    np.testing.assert_allclose(open_file(rate)[0].read(rate, 0), [[0, 6.4, np.nan], [8.4, 0.1, 20]], rtol=1e-6)


def test_odim_refuses(tmp_path):
    volume = write_odim(tmp_path / "pvol.h5", {"DBZH": ECHO}, kind="PVOL")
    with pytest.raises(ReadError, match=r"\[odim\] .*pvol\.h5 holds an object 'PVOL', not a composite"):
        open_file(volume)
    wind = write_odim(tmp_path / "wind.h5", {"VRAD": ECHO})
    with pytest.raises(ReadError, match="has the quantities VRAD but none of RATE, ACRR"):
        open_file(wind)
    never = write_odim(
        tmp_path / "never.h5", {"ACRR": ECHO}, what={"endtime": np.bytes_("000000"), "enddate": "20240131"}
    )
    with pytest.raises(ReadError, match="start before its end"):
        open_file(never)
    with h5py.File(never, "a") as file:
        del file["dataset1/what"].attrs["endtime"]
    with pytest.raises(ReadError, match="does not say its 'enddate' and 'endtime'"):
        open_file(never)


def vil(events=3, height=4, width=5, frames=4):
    values = np.arange(events * height * width * frames, dtype=np.int64).reshape(events, height, width, frames)
    return (values % 255).astype(np.uint8)


def test_sevir_events_have_times_and_numbers_of_their_own(tmp_path):
    values = vil()
    values[1, 3, 2, 1] = 255
    path = write_sevir(tmp_path, values)
    reader, contents = open_file(path)
    assert (contents.format, contents.grid.shape, contents.grid.units) == ("sevir", (4, 5), "raw")
    assert contents.event.tolist() == [0] * 4 + [1] * 4 + [2] * 4
    assert contents.times[:2].astype(str).tolist() == ["2018-05-01T21:15:00", "2018-05-01T21:20:00"]
    assert str(contents.times[-1]) == "2018-05-03T21:30:00"
    frame = reader.read(path, 5)
    # Row 0 of the file is the southern one.
    assert np.isnan(frame[0, 2])
    expected = values[1, ::-1, :, 1].astype(np.float32)
    np.testing.assert_array_equal(np.nan_to_num(frame, nan=255), expected)


def test_sevir_catalogue_selects_events(tmp_path):
    path = write_sevir(tmp_path, vil(), listed=[2, 0])
    reader, contents = open_file(path)
    assert contents.event.tolist() == [0] * 4 + [2] * 4
    np.testing.assert_array_equal(reader.read(path, 4), vil()[2, ::-1, :, 0])
    with pytest.raises(ReadError, match="has no frame 8"):
        reader.read(path, 8)
    write_sevir(tmp_path, vil(), listed=[1])
    assert reader.contents(path).event.tolist() == [1] * 4, "a catalogue that changes is read again"


def test_sevir_refuses(tmp_path):
    path = write_sevir(tmp_path, vil(), frames=3)
    with pytest.raises(ReadError, match=r"has 3 events of 4 frames, but CATALOG\.csv has an event 0 of 3 frames"):
        open_file(path)
    write_sevir(tmp_path, vil(), listed=[])
    with pytest.raises(ReadError, match=r"is not listed in .*CATALOG\.csv"):
        open_file(path)
    (tmp_path / "CATALOG.csv").unlink()
    assert detect(path).format == "sevir"
    with pytest.raises(ReadError, match=r"\[sevir\] .* neither beside it nor above: put it there"):
        open_file(path)


@pytest.mark.parametrize(("size", "format"), [(100, None), (3000, "knmi")])
def test_cut_off_files_are_refused(tmp_path, size, format):
    path = write_knmi(tmp_path / "rain.h5", np.random.default_rng(0).integers(0, 60000, (90, 80)).astype(np.uint16))
    path.write_bytes(path.read_bytes()[:size])
    assert getattr(detect(path), "format", None) == format, "by what is left"
    for name in ("knmi", "odim", "sevir"):
        with pytest.raises(ReadError, match=rf"\[{name}\] .*rain\.h5 cannot be read"):
            make(name).contents(path)


def test_other_hdf5_is_not_recognised(tmp_path):
    with h5py.File(tmp_path / "weights.h5", "w") as file:
        file["layer/weight"] = np.zeros((3, 3))
    assert detect(tmp_path / "weights.h5") is None
