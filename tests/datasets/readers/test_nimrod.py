from convlstm.datasets.readers import ReadError, make_reader, recognise
from tests.support.nimrod_files import nimrod_field
from tests.support.radar_files import open_file

import numpy as np
import pytest

NUMBERS = np.array([[32, 64, -1], [0, 16, 320]], np.int16)
RATES = np.array([[1, 2, np.nan], [0, 0.5, 10]])


def write(path, *fields):
    path.write_bytes(b"".join(fields))
    return path


def test_a_rate(tmp_path):
    path = write(tmp_path / "u1096", nimrod_field(NUMBERS))
    reader, contents = open_file(path)
    assert reader.format == "nimrod"
    assert contents.times.astype(str).tolist() == ["2024-02-29T23:55:00"]
    field = contents.fields[0]
    assert (field.name, field.units, field.is_rain) == ("precipitation_rate", "mm/h", True)
    np.testing.assert_array_equal(reader.read(path, 0), RATES)
    grid = contents.grid
    # The first pixel's centre is 102 km east and 98 km north, and rows go south.
    assert grid.extent == (101_000, 95_000, 107_000, 99_000)
    assert grid.pixel_size == (2000, 2000)


def test_the_national_grid(tmp_path):
    pyproj = pytest.importorskip("pyproj")
    projection = open_file(write(tmp_path / "a", nimrod_field(NUMBERS)))[1].grid.projection
    easting, northing = pyproj.Proj(pyproj.CRS(projection))(-2.0, 49.0)
    assert (easting, northing) == pytest.approx((400_000, -100_000), abs=1e-3)
    theirs = pyproj.Proj("EPSG:27700")(1.7179215, 52.6575703)  # Caister water tower
    ours = pyproj.Proj(pyproj.CRS(projection))(1.7179215, 52.6575703)
    assert ours == pytest.approx(theirs, abs=0.01)


@pytest.mark.parametrize(
    ("units", "written", "factor", "offset"),
    [("mm/hr*32", "mm/h", 1 / 32, 0), ("K*10^2", "K", 0.01, 0), ("m/2-25k", "m", 2, 50_000), ("K", "K", 1, 0)],
)
def test_units_with_their_factors(tmp_path, units, written, factor, offset):
    code = 63 if "mm" in units else 155
    path = write(tmp_path / "a", nimrod_field(NUMBERS, units, code))
    reader, contents = open_file(path)
    assert contents.fields[0].units == written
    expected = np.where(NUMBERS == -1, np.nan, NUMBERS.astype(float) * factor + offset)
    np.testing.assert_allclose(reader.read(path, 0), expected, rtol=1e-6)


def test_floats_and_missing_ones(tmp_path):
    path = write(tmp_path / "a", nimrod_field(np.array([[280.5, -1.0]], np.float32), "K", 58))
    np.testing.assert_array_equal(open_file(path)[0].read(path, 0), [[280.5, np.nan]])


def test_sums_over_the_period_of_the_header(tmp_path):
    path = write(tmp_path / "a", nimrod_field(NUMBERS, "mm*32", 61, seconds=900))
    reader, contents = open_file(path)
    assert contents.fields[0].file_units == "mm in 15 min"
    np.testing.assert_allclose(reader.read(path, 0), RATES * 4)
    both = write(
        tmp_path / "b",
        nimrod_field(NUMBERS, "mm*32", 61, seconds=900),
        nimrod_field(NUMBERS, "mm*32", 61, e26=60),
    )
    with pytest.raises(ReadError, match=r"has several fields: precipitation_amount_15min \(mm\), precipitation"):
        make_reader("nimrod").contents(both)
    np.testing.assert_allclose(make_reader("nimrod", variable="precipitation_amount_60min").read(both, 0), RATES)


def test_times_and_levels(tmp_path):
    fields = [
        nimrod_field(
            NUMBERS.astype(np.int32) + 32 * hour + 320 * level,
            "dBZ*32",
            480,
            moment=(2024, 3, 1, hour, 0, 0),
            e32=level,
        )
        for hour in (1, 0)
        for level in (30, 50)
    ]
    path = write(tmp_path / "a", *fields)
    with pytest.raises(ReadError, match=r"over the dimension 'level' of 2 \(30, 50\)"):
        make_reader("nimrod").contents(path)
    reader = make_reader("nimrod", select={"level": 50})
    assert reader.contents(path).times.astype(str).tolist() == ["2024-03-01T00:00:00", "2024-03-01T01:00:00"]
    assert reader.read(path, 1)[0, 0] == 1 + 1 + 10 * 50
    treated = write(tmp_path / "b", *(nimrod_field(NUMBERS, e31=code) for code in (4096, 8192)))
    with pytest.raises(ReadError, match=r"precipitation_rate_0min_4096 \(mm/hr\), precipitation_rate_0min_8192"):
        make_reader("nimrod").contents(treated)
    twice = write(tmp_path / "c", nimrod_field(NUMBERS), nimrod_field(NUMBERS))
    with pytest.raises(ReadError, match=r"has 2 fields 'precipitation_rate' for 1 times and 1 levels"):
        make_reader("nimrod").contents(twice)


def test_nimrod_refuses(tmp_path):
    whole = nimrod_field(NUMBERS)
    reader = make_reader("nimrod")
    for data, message in (
        (whole[:-8], "is cut off: 8 bytes are missing"),
        (whole + b"\0" * 20, "has no header of NIMROD at its byte"),
        (nimrod_field(NUMBERS, e24=2), "has fields that do not begin at the north-western corner"),
        (nimrod_field(NUMBERS, e15=7), "has a grid of the type 7"),
        (nimrod_field(NUMBERS, e13=3), r"has a field of \(2, 3\) numbers of 3 bytes"),
        (nimrod_field(NUMBERS, e16=-5), r"has a field of \(-5, 3\) numbers"),
    ):
        path = write(tmp_path / "a", data)
        assert recognise(path).format == "nimrod"
        with pytest.raises(ReadError, match=rf"\[nimrod\] .*a {message}"):
            reader.contents(path)
