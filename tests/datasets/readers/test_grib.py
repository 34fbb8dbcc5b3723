import gzip
import subprocess
import sys

from convlstm.datasets.readers import MissingLibraryError, ReadError, limits, make_reader, recognise
from convlstm.datasets.readers.grib_messages import eccodes
from tests.support.grib_files import grib_message, joined
from tests.support.project import PROJECT
from tests.support.radar_files import open_file

import numpy as np
import pytest

VALUES = np.array([[280.0, 281.0, np.nan], [290.0, 291.5, 292.0]])


def write(path, *messages):
    path.write_bytes(b"".join(messages))
    return path


@pytest.mark.parametrize("edition", [1, 2])
def test_a_temperature(tmp_path, edition):
    path = write(tmp_path / "t.grib", grib_message(VALUES, edition=edition))
    reader, contents = open_file(path)
    assert reader.format == "grib"
    assert contents.times.astype(str).tolist() == ["2024-02-29T23:30:00"]
    field = contents.fields[0]
    assert (field.name, field.units, field.standard_name, field.long_name, field.is_rain) == (
        "2t", "K", {1: "", 2: "air_temperature"}[edition], "2 metre temperature", False,
    )  # fmt: skip
    np.testing.assert_allclose(reader.read(path, 0), VALUES, atol=1e-3)
    latitude, longitude = contents.grid.coordinates
    np.testing.assert_allclose(latitude.values, [50, 49])
    np.testing.assert_allclose(longitude.values, [5, 6, 7])
    assert contents.grid.extent == pytest.approx((4.5, 48.5, 7.5, 50.5))


@pytest.mark.parametrize(
    ("scan", "values"),
    [
        ({"jScansPositively": 1}, VALUES[::-1]),
        ({"iScansNegatively": 1}, VALUES[:, ::-1]),
        ({"jPointsAreConsecutive": 1}, VALUES),
        ({"alternativeRowScanning": 1}, VALUES),
    ],
)
def test_orders_of_the_pixels(tmp_path, scan, values):
    """North is up and west is left, whatever the order in the file."""
    corners = {}
    if "jScansPositively" in scan:
        corners = {"latitudeOfFirstGridPointInDegrees": 49.0, "latitudeOfLastGridPointInDegrees": 50.0}
    if "iScansNegatively" in scan:
        corners = {"longitudeOfFirstGridPointInDegrees": 7.0, "longitudeOfLastGridPointInDegrees": 5.0}
    stored = values
    if "jPointsAreConsecutive" in scan:
        stored = values.T.reshape(values.shape)
    if "alternativeRowScanning" in scan:
        stored = np.stack([values[0], values[1, ::-1]])
    path = write(tmp_path / "t.grib", grib_message(stored, **scan, **corners))
    reader, contents = open_file(path)
    np.testing.assert_allclose(reader.read(path, 0), VALUES, atol=1e-3)
    np.testing.assert_allclose(contents.grid.coordinates[0].values, [50, 49])
    np.testing.assert_allclose(contents.grid.coordinates[1].values, [5, 6, 7])


def test_longitudes_that_pass_their_end(tmp_path):
    path = write(
        tmp_path / "t.grib",
        grib_message(VALUES, longitudeOfFirstGridPointInDegrees=359.0, longitudeOfLastGridPointInDegrees=1.0),
    )
    np.testing.assert_allclose(open_file(path)[1].grid.coordinates[1].values, [359, 360, 361])


def test_fields_of_one_message_have_their_valid_times(tmp_path):
    """A message may have several fields; each has the time for which it is valid."""
    fields = [grib_message(VALUES + n, indicatorOfUnitOfTimeRange=0, forecastTime=10 * n) for n in range(4)]
    path = write(tmp_path / "nowcast.bin", joined(fields))
    reader, contents = open_file(path)
    assert contents.times.astype(str).tolist() == [
        "2024-02-29T23:30:00", "2024-02-29T23:40:00", "2024-02-29T23:50:00", "2024-03-01T00:00:00",
    ]  # fmt: skip
    for position in (3, 0, 2):
        np.testing.assert_allclose(reader.read(path, position), VALUES + position, atol=1e-3)


def test_several_parameters_levels_and_members(tmp_path):
    messages = [
        grib_message(
            VALUES + 1000 * wind + level + hour,
            shortName="u" if wind else "t",
            typeOfLevel="isobaricInhPa",
            level=level,
            dataTime=100 * hour,
        )
        for hour in (1, 0)
        for wind in (False, True)
        for level in (500, 850)
    ]
    path = write(tmp_path / "a.grib", *messages)
    with pytest.raises(ReadError, match=r"has several fields: t \(K\), u \(m s\*\*-1\)\. Choose one by the option"):
        make_reader("grib").contents(path)
    with pytest.raises(ReadError, match=r"over the dimension 'isobaricInhPa' of 2 \(500, 850 hPa\)"):
        make_reader("grib", variable="t").contents(path)
    reader = make_reader("grib", variable=["u", "t"], select={"isobaricInhPa": 850})
    contents = reader.contents(path)
    assert [field.name for field in contents.fields] == ["u", "t"]
    assert contents.times.astype(str).tolist() == ["2024-02-29T00:00:00", "2024-02-29T01:00:00"]
    expected = np.stack([VALUES + 1851, VALUES + 851], -1)
    np.testing.assert_allclose(reader.read(path, 1), expected, atol=0.02)
    write(path, *messages[:-1])
    with pytest.raises(ReadError, match=r"has 3 fields 'u' for 2 times, 1 members and 2 levels: some are missing"):
        make_reader("grib", variable="u").contents(path)


def rain(begin, end, amount):
    return grib_message(
        np.full((2, 3), amount),
        productDefinitionTemplateNumber=8,
        shortName="tp",
        dataTime=0,
        stepUnits="h",
        stepRange=f"{begin}-{end}",
    )


def test_sums_are_rates_over_their_periods(tmp_path):
    path = write(tmp_path / "tp.grib", rain(0, 3, 0.006), rain(3, 6, 0.0015))  # m
    reader, contents = open_file(path)
    assert contents.times.astype(str).tolist() == ["2024-02-29T03:00:00", "2024-02-29T06:00:00"]
    assert contents.grid.units == "mm/h"
    assert contents.fields[0].file_units.endswith("in 180 min")
    np.testing.assert_allclose([reader.read(path, n)[0, 0] for n in (0, 1)], [2.0, 0.5], atol=1e-3)


@pytest.mark.parametrize("periods", [[(0, 1), (0, 2), (0, 3)], [(0, 3), (2, 5)], [(0, 3), (1, 3)]])
def test_sums_since_the_start_of_a_forecast_are_refused(tmp_path, periods):
    path = write(tmp_path / "tp.grib", *(rain(*period, 1.0) for period in periods))
    with pytest.raises(ReadError, match=r"has sums 'tp' whose periods overlap, such as those since the start"):
        make_reader("grib").contents(path)


def test_two_forecasts_for_one_time_are_refused(tmp_path):
    path = write(tmp_path / "a.grib", grib_message(VALUES), grib_message(VALUES + 1))
    with pytest.raises(ReadError, match=r"has '2t' of 2024-02-29T23:30:00 more than once, as from two forecasts"):
        make_reader("grib").contents(path)


PROJECTED = {
    "lambert": {
        "gridType": "lambert", "Nx": 3, "Ny": 2, "DxInMetres": 13000, "DyInMetres": 13000, "LoVInDegrees": 262.5,
        "LaDInDegrees": 38.5, "Latin1InDegrees": 38.5, "Latin2InDegrees": 38.5, "shapeOfTheEarth": 6,
        "latitudeOfFirstGridPointInDegrees": 16.281, "longitudeOfFirstGridPointInDegrees": 233.862,
        "iScansNegatively": 0, "jScansPositively": 1,
    },
    "polar_stereographic": {
        "gridType": "polar_stereographic", "Nx": 3, "Ny": 2, "DxInMetres": 4763, "DyInMetres": 4763,
        "LaDInDegrees": 60, "orientationOfTheGridInDegrees": 255, "shapeOfTheEarth": 6,
        "latitudeOfFirstGridPointInDegrees": 23.117, "longitudeOfFirstGridPointInDegrees": 240.977,
        "iScansNegatively": 0, "jScansPositively": 1,
    },
}  # fmt: skip


@pytest.mark.parametrize("kind", PROJECTED)
def test_places_in_a_projection_are_those_of_eccodes(tmp_path, kind):
    pyproj = pytest.importorskip("pyproj")
    codes = eccodes("a test")
    message = grib_message(VALUES[::-1], **PROJECTED[kind])
    path = write(tmp_path / "a.grib", message)
    reader, contents = open_file(path)
    np.testing.assert_allclose(reader.read(path, 0), VALUES, atol=1e-3)
    grid = contents.grid
    y, x = (coordinate.values for coordinate in grid.coordinates[:2])
    assert y[0] > y[1]
    longitudes, latitudes = pyproj.Proj(pyproj.CRS(grid.projection))(*np.meshgrid(x, y), inverse=True)
    handle = codes.codes_new_from_message(message)
    for ours, name in ((latitudes, "latitudes"), (longitudes % 360, "longitudes")):
        theirs = codes.codes_get_array(handle, name).reshape(2, 3)[::-1]
        np.testing.assert_allclose(ours, theirs, atol=2e-6)
    codes.codes_release(handle)
    assert grid.pixel_size == pytest.approx((PROJECTED[kind]["DyInMetres"],) * 2)


def test_without_pyproj_there_are_no_places(tmp_path, monkeypatch):
    path = write(tmp_path / "a.grib", grib_message(VALUES[::-1], **PROJECTED["lambert"]))
    monkeypatch.setitem(sys.modules, "pyproj", None)
    from convlstm.datasets.readers import projection

    projection._crs.cache_clear()
    grid = make_reader("grib").contents(path).grid
    assert (grid.coordinates, grid.extent) == ((), None)
    assert "needs the library pyproj" in grid.unplaced


def test_the_radars_coverage_in_mrms(tmp_path):
    values = np.array([[-3.0, -1.0, 0.0], [2.5, 10.0, 0.5]])
    message = grib_message(values, discipline=209, parameterCategory=6, parameterNumber=1)
    path = tmp_path / "MRMS_PrecipRate_00.00_20240229-233000.grib2.gz"
    path.write_bytes(gzip.compress(message))
    reader, contents = open_file(path)
    assert (contents.fields[0].name, contents.grid.units) == ("PrecipRate", "mm/h")
    np.testing.assert_allclose(reader.read(path, 0), [[np.nan, np.nan, 0], [2.5, 10, 0.5]], atol=1e-3)


def test_the_libraries_go_together(tmp_path):
    """The PROJ within ecCodes' wheel does not get in the way of pyproj's, which would end the process."""
    path = write(tmp_path / "a.grib", grib_message(VALUES))
    code = (
        "from convlstm.datasets.readers import make_reader; "
        f"make_reader('grib').contents({str(path)!r}); "
        "import pyproj; print(pyproj.CRS('EPSG:3067').name)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=PROJECT, timeout=60)
    assert (done.returncode, done.stdout, done.stderr) == (0, "ETRS89 / TM35FIN(E,N)\n", "")


def test_grib_refuses(tmp_path, monkeypatch):
    message = grib_message(VALUES)
    path = write(tmp_path / "a.grib", message[:-20])
    reader = make_reader("grib")
    assert recognise(path).format == "grib"
    with pytest.raises(ReadError, match=r"\[grib\] .*a\.grib is cut off: 1.. of 1.. bytes of a message are there"):
        reader.contents(path)
    write(path, message[:7] + b"\3" + message[8:])
    with pytest.raises(ReadError, match=r"is of GRIB edition 3; editions 1 and 2 are read"):
        reader.contents(path)
    write(path, message[:8] + (2**40).to_bytes(8, "big") + message[16:])
    with pytest.raises(ReadError, match=r"is cut off"):
        reader.contents(path)
    write(path, message[:16] + b"\0\0\0\0" + message[20:])
    with pytest.raises(ReadError, match=r"has a section 1 of 0 bytes in a message"):
        reader.contents(path)
    write(path, grib_message(np.zeros((1, 6)), gridType="reduced_gg"))
    with pytest.raises(ReadError, match=r"has a grid of the type 'reduced_gg', not rows and columns .*remap"):
        reader.contents(path)
    write(path, message)
    monkeypatch.setattr(limits, "memory", lambda: 100)
    with pytest.raises(ReadError, match=r"has a GRIB message, which needs"):
        reader.contents(write(tmp_path / "b.grib", message))


def test_a_missing_library_is_named_with_the_command(tmp_path, monkeypatch):
    path = write(tmp_path / "a.grib", grib_message(VALUES))
    monkeypatch.setitem(sys.modules, "eccodes", None)
    assert recognise(path).format == "grib"
    with pytest.raises(MissingLibraryError, match=r"needs the library eccodes .*pip install 'convlstm\[grib\]'"):
        make_reader("grib").contents(path)
