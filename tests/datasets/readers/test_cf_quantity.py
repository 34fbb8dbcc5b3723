"""Rain is what is called rain, and everything else stays what it is."""

from convlstm.datasets.readers import ReadError
from tests.support.cf_files import HOURS, frames, write_cf
from tests.support.radar_files import open_file

import numpy as np
import pytest

pytest.importorskip("netCDF4")

GRID = ("time", "lat", "lon")


def opened(path, name, attributes, **options):
    """Returns the field of a file of one variable, and the factor from its numbers to the values that are read."""
    write_cf(path / "file.nc", {name: (GRID, frames(6, 3, 4), attributes)})
    reader, contents = open_file(path / "file.nc", **options)
    factors = reader.read(path / "file.nc", 2) / frames(6, 3, 4)[2]
    assert np.allclose(factors, factors[0, 0], rtol=1e-6)
    return contents.fields[0], float(factors[0, 0])


@pytest.mark.parametrize(
    ("name", "units", "attributes"),
    [
        ("sla", "m", {"standard_name": "sea_surface_height_above_sea_level"}),
        ("swh", "m", {"long_name": "significant height of wind waves"}),
        ("u10", "m s-1", {"standard_name": "eastward_wind"}),
        ("cth", "m", {"long_name": "cloud top height"}),
        ("rain_top", "m", {"long_name": "height of the top of the rain"}),
        ("xco2", "kg m-2", {"long_name": "column of CO2"}),
        ("tcwv", "kg m-2", {"long_name": "precipitable water"}),
        ("pwat", "mm", {"long_name": "Precipitable water"}),
        ("tcrw", "kg m-2", {"long_name": "total column rain water"}),
        ("e", "mm/day", {"long_name": "evaporation"}),
        ("pme", "mm/day", {"long_name": "precipitation minus evaporation"}),
        ("pr_anomaly", "mm/day", {"long_name": "precipitation anomaly"}),
        ("pop", "%", {"long_name": "probability of precipitation"}),
        ("snow", "mm", {"long_name": "snow depth"}),
        ("orog", "m", {"long_name": "height of the terrain above a drainage basin"}),
        ("velocity", "m s-1", {"long_name": "fall velocity of rain"}),
        ("albedo", "1", {"long_name": "surface reflectivity"}),
        ("rain_type", "1", {"long_name": "type of precipitation"}),
        ("rain_flag", "1", {"flag_values": np.array([0, 1]), "flag_meanings": "dry wet"}),
        ("sst", "degC", {}),
        ("t", "degrees_celsius", {}),
        ("t", "degrees C", {}),
        ("t", "Celsius", {}),
        ("wdir", "degrees", {"long_name": "direction of the wind"}),
        ("field", "mm/h", {}),
    ],
)
def test_other_fields_stay_what_they_are(tmp_path, name, units, attributes):
    field, factor = opened(tmp_path, name, {"units": units, **attributes})
    assert (field.name, field.units, field.is_rain, field.kind, factor) == (name, units, False, "raw", 1)
    assert field.standard_name == attributes.get("standard_name", "")


@pytest.mark.parametrize(
    ("name", "units", "attributes", "factor"),
    [
        ("rain_rate", "mm/h", {}, 1),
        ("PrecipRate", "mm/hr", {}, 1),
        ("R", "mm h-1", {"standard_name": "rainfall_rate"}, 1),
        ("pr", "kg m-2 s-1", {"standard_name": "precipitation_flux"}, 3600),
        ("pr", "kg m-2 s-1", {}, 3600),
        ("x", "m s-1", {"long_name": "Convective rainfall"}, 3.6e6),
        ("x", "mm/day", {"long_name": "bias-corrected daily precipitation"}, 1 / 24),
        ("tp", "m", {"long_name": "Total precipitation"}, 1000),  # in an hour
        ("lsp", "m", {"standard_name": "lwe_thickness_of_stratiform_precipitation_amount"}, 1000),
        ("acc", "mm", {"long_name": "Rain accumulation (quality controlled)"}, 1),
        ("rain", "inch", {}, 25.4),
    ],
)
def test_rain_by_its_name(tmp_path, name, units, attributes, factor):
    field, found = opened(tmp_path, name, {"units": units, **attributes})
    assert (field.units, field.is_rain, field.name) == ("mm/h", True, name)
    assert found == pytest.approx(factor, rel=1e-6)
    assert field.standard_name.endswith("_rate")


def test_reflectivity_by_its_units(tmp_path):
    field, _ = opened(tmp_path, "DBZH", {"units": "dBZ"})
    assert (field.kind, field.standard_name) == ("dBZ", "equivalent_reflectivity_factor")
    assert (field.physical.units, field.physical.file_units) == ("mm/h", "dBZ")


@pytest.mark.parametrize(
    ("units", "message"),
    [
        ("", "has the rain 'rain' without units. Name its units: reader.units=mm/h, mm"),
        ("sum 5min", "has the rain 'rain' in 'sum 5min', which are no units of rain"),
        ("unknown", "has the rain 'rain' in 'unknown', which"),
        ("1", "has the rain 'rain' in '1', which"),
    ],
)
def test_rain_in_other_units_is_asked_for(tmp_path, units, message):
    with pytest.raises(ReadError, match=message):
        opened(tmp_path, "rain", {"units": units} if units else {})
    assert opened(tmp_path, "rain", {"units": units}, units="mm", step_minutes=5)[1] == pytest.approx(12)
    field, factor = opened(tmp_path, "rain", {"units": units}, units="raw")
    assert (field.units, field.kind, factor) == ("raw", "raw", 1)


def test_units_that_are_given(tmp_path):
    field, factor = opened(tmp_path, "x", {}, units="degC")
    assert (field.units, field.is_rain, factor) == ("degC", False, 1)
    field, factor = opened(tmp_path, "x", {}, units="mm", step_minutes=30)
    assert (field.units, field.is_rain, factor) == ("mm/h", True, 2)
    assert str(field) == "x: rain rate, mm/h from mm in 30 min"
    # Metres alone are no rain, whoever names them.
    assert opened(tmp_path, "wind", {}, units="m s-1")[0].kind == "raw"
    field, _ = opened(tmp_path, "rain", {"units": "1"}, variable=["rain"], units={"rain": "mm/h"})
    assert field.units == "mm/h"


def test_accumulations_since_the_start_of_a_forecast_are_refused(tmp_path):
    bounds = np.stack([np.zeros(6), np.arange(1, 7)], axis=1)
    time = (("time",), np.arange(1, 7), {**HOURS, "bounds": "time_bnds"})
    rain = (GRID, frames(6, 3, 4), {"units": "kg m-2", "standard_name": "precipitation_amount"})
    write_cf(tmp_path / "file.nc", {"tp": rain, "time_bnds": (("time", "two"), bounds, {})}, time=time)
    message = (
        r"has sums of different length that begin at 2020-01-01T00:00:00.* Have their differences taken: reader.acc"
    )
    with pytest.raises(ReadError, match=message):
        open_file(tmp_path / "file.nc")


def test_accumulations_that_never_fall_are_refused(tmp_path):
    """Without bounds, the values tell that each amount contains the one before."""
    rng = np.random.default_rng(3)
    each = rng.gamma(0.3, 2, (6, 12, 16)).astype(np.float32)
    lat, lon = (("lat",), np.arange(12.0)[::-1], {"units": "degrees_north"}), (("lon",), np.arange(16.0), {})
    for name, values in (("sum.nc", each.cumsum(0)), ("each.nc", each)):
        write_cf(tmp_path / name, {"tp": (GRID, values, {"units": "mm", "long_name": "rain"})}, lat=lat, lon=lon)
    with pytest.raises(ReadError, match=r"amounts of rain that never fall from frame to frame, so .* start"):
        open_file(tmp_path / "sum.nc")
    reader, _ = open_file(tmp_path / "each.nc")
    np.testing.assert_allclose(reader.read(tmp_path / "each.nc", 1), each[1], rtol=1e-6)
    reader, _ = open_file(tmp_path / "sum.nc", step_minutes=60)
    np.testing.assert_allclose(reader.read(tmp_path / "sum.nc", 5), each.sum(0), rtol=1e-5)


def test_each_accumulation_has_its_own_period(tmp_path):
    days = np.array([0, 31, 60, 91])
    time = (("time",), days[1:], {"units": "days since 2020-01-01", "bounds": "time_bnds"})
    bounds = (("time", "two"), np.stack([days[:-1], days[1:]], axis=1), {})
    rain = (GRID, np.full((3, 3, 4), 720, np.float32), {"units": "mm", "long_name": "monthly precipitation"})
    write_cf(tmp_path / "file.nc", {"rain": rain, "time_bnds": bounds}, time=time)
    reader, contents = open_file(tmp_path / "file.nc")
    assert contents.times[1] == np.datetime64("2020-03-01")
    rates = [reader.read(tmp_path / "file.nc", n)[0, 0] for n in range(3)]
    assert rates == pytest.approx([30 / 31, 30 / 29, 30 / 31])
