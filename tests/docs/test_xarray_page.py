"""docs/xarray.md: its lines, as a reader types them one after the other."""

from __future__ import annotations

import re
from importlib.util import find_spec

from tests.support.project import PROJECT

import numpy as np
import pytest

pytest.importorskip("netCDF4")
xr = pytest.importorskip("xarray")

pytestmark = pytest.mark.usefixtures("without_compilation")
SCORERS = ("scores", "xskillscore")


def test_the_lines_run_and_say_what_the_page_says(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    text = (PROJECT / "docs" / "xarray.md").read_text(encoding="utf-8")
    blocks = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    assert len(blocks) == 5
    names: dict = {}
    for block in blocks[:4]:
        exec(block, names)
    archive, largest, variables, error, dimensions = capsys.readouterr().out.splitlines()
    assert archive == "{'time': 36, 'y': 64, 'x': 96} mm h-1"
    assert float(largest) == pytest.approx(float(names["rain"][12].max()))
    assert variables == "['rain', 'spread', 'probability_at_least_0p5_mmh', 'rain_members']"
    assert error == "{'time': 6, 'y': 64, 'x': 96}"
    assert dimensions == "('realization', 'time', 'y', 'x') ('time', 'y', 'x')"
    # Moving rain is forecast better than by the last frame.
    persistence = names["rain"][23] - names["rain"][24:30]
    assert float(abs(names["error"]).mean()) < 0.7 * float(abs(persistence).mean())
    with xr.open_dataset("forecast.nc", decode_coords="all", decode_timedelta=True) as written:
        pairs = names["convlstm"].members_and_truth(written, names["radar"]).load()
    np.testing.assert_array_equal(pairs.members, names["pairs"].members)


@pytest.mark.filterwarnings("ignore:Mean of empty slice:RuntimeWarning")
def test_the_scores_of_three_programs(tmp_path, monkeypatch, capsys):
    if missing := [name for name in SCORERS if find_spec(name) is None]:
        pytest.skip(f"no {', '.join(missing)} here")
    monkeypatch.chdir(tmp_path)
    text = (PROJECT / "docs" / "xarray.md").read_text(encoding="utf-8")
    names: dict = {}
    for block in re.findall(r"```python\n(.*?)```", text, re.DOTALL):
        exec(block, names)
    numbers = [float(number) for number in capsys.readouterr().out.splitlines()[-1].split()]
    np.testing.assert_allclose(numbers[:2], numbers[2], atol=1e-6, rtol=0)
