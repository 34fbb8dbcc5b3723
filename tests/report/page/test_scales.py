"""Rain by scale in the page."""

from convlstm.report.fss_and_spectra import observed_share
from tests.support.pages import Rain, cells, charts, described, evaluation, names, of, page, read

import pytest


@pytest.fixture(scope="module")
def rain():
    """Complete frames, which have spectra."""
    return evaluation(("a", "b"), rain=Rain(), missing=False)


def test_fss_by_scale(rain, tmp_path):
    section = of("scales", read(page(tmp_path, rain, rain=Rain())))
    found = charts(section)
    assert [name for name in found if name.startswith("FSS")] == [f"FSS at {at} mm/h" for at in ("0.5", "2", "5", "10")]
    values = [rain.scores["b"][f"fss@2mmh_{scale}px"]["overall"] for scale in (1, 4, 16, 64)]
    words = described(found["FSS at 2 mm/h"])
    assert words.startswith("fractions skill score, all lead times against side of the window (km); higher is better. ")
    assert f"b: from {values[0]:.4g} at 2 to {float(f'{values[-1]:.4g}'):#.4g} at 128." in words
    useful = 0.5 + observed_share(rain.scores, "@2mmh") / 2
    assert f"useful skill: from {useful:.4f}" in words
    heads, rows = cells(section, "FSS at 2 mm/h by side of the window (km); higher is better")
    assert heads == ["forecaster", "2 km", "8 km", "32 km", "128 km"]
    assert [float(cell.split()[0]) for cell in rows["b"]] == pytest.approx(values, abs=6e-4)
    assert "useful" in section.all("ul", class_="legend")[0].text()


def test_spectra_by_wavelength(rain, tmp_path):
    section = of("scales", read(page(tmp_path, rain, rain=Rain())))
    found = charts(section)
    assert [name for name in found if name.startswith("+")] == [f"+{at} min" for at in (5, 15, 20)]
    words = described(found["+5 min"])
    power = "power of log(1 + rain rate in mm/h)"
    assert words.startswith(f"{power} against wavelength (km); below the truth: blurred. truth: ")
    # From long waves at the left to short ones at the right.
    path = next(tag for tag in found["+5 min"].all("path") if tag.attributes["class"] == "line truth")
    first, last = (float(path.attributes["d"][1:].split("L")[k].split()[0]) for k in (0, -1))
    assert first < last
    assert rain.spectra["a"]["wavelength_km"][0] > rain.spectra["a"]["wavelength_km"][-1]
    heads, rows = cells(section, "Power at +5 min by wavelength (km)")
    assert list(rows) == ["truth", "a", "b", "persistence"]
    assert (heads[1], heads[-1]) == ("64", f"{rain.spectra['a']['wavelength_km'][-1]:.3g}")
    assert float(rows["b"][0]) == pytest.approx(rain.spectra["b"]["forecast"][0, 0], rel=1e-3)
    assert float(rows["truth"][0]) == pytest.approx(rain.spectra["b"]["target"][0, 0], rel=1e-3)


def test_scales_without_a_grid_or_a_clock_are_counted(tmp_path):
    silent = Rain(pixel_km=None, frame_interval=None, timed=False)
    section = of("scales", read(page(tmp_path, evaluation(rain=silent, missing=False), rain=silent)))
    assert "against side of the window (px)" in described(charts(section)["FSS at 2 mm/h"])
    assert "against wavelength (px)" in described(charts(section)["+1 frame"])


def test_charts_without_values_are_left_out(rain, tmp_path):
    assert "scales" not in names(read(page(tmp_path, evaluation())))
    torn = of("scales", read(page(tmp_path, evaluation(rain=Rain()), rain=Rain())))
    assert not [name for name in charts(torn) if name.startswith("+")]
    high = Rain(thresholds=(0.5, 2.0, 900.0))
    section = of("scales", read(page(tmp_path, evaluation(rain=high), rain=high)))
    assert "FSS at 900 mm/h" not in charts(section)
    assert "Not defined here: FSS at 900 mm/h." in section.text()
    dry = Rain(thresholds=(900.0,))
    assert "scales" not in names(read(page(tmp_path, evaluation(rain=dry), rain=dry)))
