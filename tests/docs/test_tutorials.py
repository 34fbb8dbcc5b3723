"""The tutorials run from the first cell to the last, as the site runs them, and show what their text says."""

from __future__ import annotations

import re

from docs.notebooks import TUTORIALS, read, run

import numpy as np
import pytest

pytest.importorskip("netCDF4")
xr = pytest.importorskip("xarray")

pytestmark = pytest.mark.usefixtures("without_compilation")


def told(cells):
    return "".join(cell.printed for cell in cells)


def numbers(pattern, text):
    """Returns the numbers that the groups of a pattern match, a row for each match."""
    return np.array(re.findall(pattern, text), float)


def test_digits_beat_the_last_frame(tmp_path):
    cells = run(TUTORIALS / "digits.py", tmp_path)
    model, persistence = (numbers(rf"\n{name} +([\d.]+)\*? ", told(cells))[0] for name in ("model", "persistence"))
    assert model < 0.7 * persistence
    assert [len(cell.pictures) for cell in cells if cell.pictures] == [1]


def test_radar_leads_to_a_forecast_in_a_file(tmp_path):
    cells = run(TUTORIALS / "radar.py", tmp_path)
    model, extrapolation, persistence = numbers(r"MAE ([\d.]+) mm/h, CSI at 2 mm/h ([\d.]+)", told(cells))
    assert model[0] < 1.05 * extrapolation[0] < 0.9 * persistence[0]
    assert model[1] > persistence[1]
    with xr.open_dataset(tmp_path / "forecast.nc", decode_timedelta=True) as forecast:
        assert dict(forecast.rain.sizes) == {"time": 6, "y": 64, "x": 64}
        assert forecast.rain.attrs["units"] == "mm h-1"


def test_fields_keep_units_and_land(tmp_path):
    cells = run(TUTORIALS / "fields.py", tmp_path)
    model, persistence = (
        numbers(r"h ([\d.]+) degC", line) for line in re.findall(r"(?:model|persistence) .*", told(cells))
    )
    assert model.shape == persistence.shape == (4,)
    assert model.mean() < 0.6 * persistence.mean()
    with xr.open_dataset(tmp_path / "forecast.nc", decode_timedelta=True) as forecast:
        assert np.isnan(forecast.sst[:, :10, :12]).all()
        assert not np.isnan(forecast.sst[:, 10:]).any()
        assert forecast.sst.attrs["units"] == "degC"


def test_the_ensemble_has_better_scores_than_a_single_forecast(tmp_path):
    cells = run(TUTORIALS / "ensemble.py", tmp_path)
    scores = numbers(r"CRPS ([\d.]+) mm/h, extrapolation ([\d.]+) mm/h, spread over error ([\d.]+)", told(cells))
    assert scores.shape == (6, 3)
    assert (scores[:, 0] < 0.8 * scores[:, 1]).all()
    labels = [picture.label for cell in cells for picture in cell.pictures]
    assert labels == [
        "Rain 30 minutes ahead: truth, members and products",
        "Reliability diagram and rank histogram of an ensemble",
    ]


def test_a_cell_that_fails_names_its_line(tmp_path):
    path = tmp_path / "broken.py"
    path.write_text("# %% [markdown]\n# # A title\n\n# %%\n\nx = 1\nprint(x)\n\n# %%\nassert x == 2, x\n")
    with pytest.raises(AssertionError, match="1") as caught:
        run(path, tmp_path)
    assert caught.traceback[-1].lineno + 1 == 10
    assert caught.traceback[-1].path == path


def test_cells_keep_what_they_print_and_draw(tmp_path):
    path = tmp_path / "drawn.py"
    path.write_text(
        "# %% [markdown]\n# Text\n#\n# - item\n# %%\nimport matplotlib.pyplot as plt\n"
        'plt.figure(num="A label")\nplt.show()\nprint("drawn")\n# %%\nopen("here", "w").close()\n'
    )
    text, code, last = run(path, tmp_path)
    assert (text.code, text.text) == (False, "Text\n\n- item")
    assert (code.printed, [picture.label for picture in code.pictures]) == ("drawn\n", ["A label"])
    assert code.pictures[0].png.startswith(b"\x89PNG")
    assert (last.printed, last.pictures) == ("", [])
    assert (tmp_path / "here").exists()


def test_a_tutorial_begins_with_a_cell(tmp_path):
    (tmp_path / "no.py").write_text("import os\n# %%\n")
    with pytest.raises(ValueError, match=r"must begin with a cell, '# %%' or .* but has 'import os'"):
        read(tmp_path / "no.py")
