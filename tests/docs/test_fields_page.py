"""docs/fields.md: its file, its commands and its Python, as a reader types them."""

from __future__ import annotations

import csv
import re
import shlex

from tests.support.project import PROJECT
from tests.support.tiny import call

import numpy as np
import pytest

pytest.importorskip("netCDF4")
xr = pytest.importorskip("xarray")

pytestmark = pytest.mark.usefixtures("without_compilation")


@pytest.fixture
def page(tmp_path, monkeypatch):
    """Returns the page; the test runs in a folder with the file that its first lines make."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CONVLSTM_DATA", str(tmp_path / "data"))
    text = (PROJECT / "docs" / "fields.md").read_text(encoding="utf-8")
    exec(re.findall(r"```python\n(.*?)```", text, re.DOTALL)[0], {})
    return text


def test_the_example_beats_persistence_and_subtracts_from_the_observations(page, tmp_path, monkeypatch, capsys):
    example = page[page.index("## An example") : page.index("## What is read")]
    lines = [shlex.split(line) for line in re.findall(r"^    convlstm (.*)$", example, re.MULTILINE)]
    assert [line[0] for line in lines] == ["train", "evaluate", "forecast"]
    for name, *arguments in lines:
        status, out, err = call(name, monkeypatch, capsys, *arguments)
        assert status == 0, out + err
    with (tmp_path / "runs" / "ocean" / "evaluation" / "metrics.csv").open() as file:
        rows = [row for row in csv.DictReader(file) if row["metric"] == "field_rmse[sst degC]"]
    rmse = {row["forecaster"]: float(row["value"]) for row in rows if row["lead"] == "pooled over leads"}
    assert {row["unit"] for row in rows} == {"degC"}
    assert rmse["persistence"] == pytest.approx(1.61, abs=0.15)
    assert rmse["model"] < 0.5 * rmse["persistence"]

    with xr.open_dataset("forecast.nc") as forecast, xr.open_dataset("ocean.nc") as observed:
        difference = forecast.sst.isel(time=0) - observed.sst.isel(time=-1)
        assert difference.shape == (32, 32)
        assert forecast.sst.attrs["units"] == "degC"
        assert forecast.sst.attrs["standard_name"] == "sea_surface_temperature"
        land = np.isnan(observed.sst.isel(time=-1).values)
        assert (np.isnan(forecast.sst.values) == land).all()
        assert float(abs(difference).max()) < 4
    _, of_xarray, in_python = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    exec(of_xarray, {})
    assert capsys.readouterr().out == "(32, 32)\n"
    names: dict = {}
    exec(in_python, names)
    assert names["forecast"].shape == (6, 32, 32, 1)
    assert (np.isnan(names["forecast"][..., 0]) == land).all()
    assert np.nanmean(np.abs(names["forecast"] - names["sample"]["truth"])) < 1
