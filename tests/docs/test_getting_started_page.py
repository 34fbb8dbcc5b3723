"""docs/getting_started.md: from its made-up file to a forecast, as a reader types it."""

from __future__ import annotations

import re
import shlex

from tests.support.project import PROJECT
from tests.support.tiny import call

import numpy as np
import pytest

pytest.importorskip("netCDF4")
xr = pytest.importorskip("xarray")

pytestmark = pytest.mark.usefixtures("without_compilation")


def test_a_file_becomes_a_forecast(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    text = (PROJECT / "docs" / "getting_started.md").read_text(encoding="utf-8")
    look, make, read = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    exec(make, {})
    exec(look, {})
    assert "rain     (time, y, x) float32" in capsys.readouterr().out
    (line,) = re.findall(r"^    convlstm (forecast ckpt=nowcast .*)$", text, re.MULTILINE)
    status, out, err = call(*shlex.split(line)[:1], monkeypatch, capsys, *shlex.split(line)[1:])
    assert status == 0, out + err
    names: dict = {}
    exec(read.rpartition("\n")[0].rpartition("\n")[0], names)  # without the plot
    with names["forecast"] as forecast, xr.open_dataset("rain.nc") as given:
        assert dict(forecast.rain_rate.sizes) == {"time": 12, "y": 64, "x": 64}
        np.testing.assert_array_equal(forecast.x, given.x)
        assert forecast.time[0].values - given.time[-1].values == np.timedelta64(5, "m")
        assert float(forecast.rain_rate.mean()) == pytest.approx(float(given.rain[-1].mean()), rel=0.7)
