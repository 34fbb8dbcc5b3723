"""The page of a forecast in a real Chromium, without a network."""

from __future__ import annotations

import re
from datetime import datetime, timedelta, timezone

from convlstm.writers import write
from tests.support.browser import contrast, look, luminance, opened, skip_without_browser
from tests.support.desk import contents, ensemble, frame

import numpy as np
import pytest

skip_without_browser()

from selenium import webdriver  # noqa: E402
from selenium.webdriver.common.keys import Keys  # noqa: E402
from selenium.webdriver.support.select import Select  # noqa: E402
from selenium.webdriver.support.wait import WebDriverWait  # noqa: E402

NOW = datetime.now(timezone.utc).replace(second=0, microsecond=0, tzinfo=None)
FORECAST = ensemble(issued=(NOW - timedelta(minutes=7)).isoformat())
PLACE = {"column": 25, "row": 12}


@pytest.fixture(scope="module")
def content():
    return contents(FORECAST)


@pytest.fixture(scope="module")
def address(tmp_path_factory):
    return write(tmp_path_factory.mktemp("page") / "forecast.html", FORECAST).as_uri()


@pytest.fixture
def browser(driver, address):
    with opened(driver, address) as browser:
        wait(browser, lambda: shown(browser) is not None)
        yield browser


def wait(browser, condition):
    WebDriverWait(browser, 60, poll_frequency=0.05).until(lambda _: condition())


def shown(browser):
    """Returns the number of the layer and of the frame on the map, or None before the first one."""
    text = browser.execute_script("return document.documentElement.dataset.shown")
    return text and tuple(map(int, text.split(",")))


def at(browser, name):
    return browser.find_element("id", name)


def colours(browser):
    """Returns the pixels of the field, (H, W, 4)."""
    return pixels_of(browser, "field")


def pixels_of(browser, name):
    """Returns the pixels of a canvas, (H, W, 4); of a copy, since Chromium advises against reading one often."""
    width, height, values = browser.execute_script(
        """
        const own = document.getElementById(arguments[0]);
        const copy = new OffscreenCanvas(own.width, own.height).getContext("2d", { willReadFrequently: true });
        copy.drawImage(own, 0, 0);
        return [own.width, own.height, [...copy.getImageData(0, 0, own.width, own.height).data]];
        """,
        name,
    )
    return np.array(values, np.uint8).reshape(height, width, 4)


def click(browser, column, row, *, chosen=True):
    box = at(browser, "map")
    browser.execute_script("arguments[0].scrollIntoView({block: 'center'})", box)
    wide, high = browser.execute_script("return [arguments[0].clientWidth, arguments[0].clientHeight]", box)
    offset = round((column + 0.5) * wide / 40 - wide / 2), round((row + 0.5) * high / 30 - high / 2)
    pointer = webdriver.ActionChains(browser).move_to_element_with_offset(box, *offset)
    (pointer.click() if chosen else pointer).perform()


def place(browser):
    return browser.execute_script("return document.documentElement.dataset.place")


def rows(browser):
    """Returns the table of the place: headings, and cells by row."""
    text = "[...document.querySelectorAll('#numbers tr')].map(row => [...row.children].map(one => one.textContent))"
    heads, *cells = browser.execute_script(f"return {text}")
    return heads, cells


def test_the_map_shows_the_values_in_their_colours(browser, content):
    assert shown(browser) == (1, 4)
    table = content["palettes"][content["layers"][1]["palette"]]
    pixels, values = colours(browser), frame(content, content["layers"][1], 0)
    assert (pixels[np.isnan(values)] == 0).all()  # transparent, the hatching is seen
    by_value = dict(zip(table["values"], table["colours"], strict=True))
    for row, column in ((5, 30), (12, 25), (20, 10), (29, 39)):
        colour = by_value[values[row, column]] or "#f7f8f9"
        assert "#" + bytes(pixels[row, column, :3]).hex() == colour


def test_slider_and_layers(browser, content):
    slider = at(browser, "time")
    assert slider.get_attribute("max") == "9"
    moment = at(browser, "moment").text
    assert moment.startswith("forecast, +20 min, ")
    assert moment == slider.get_attribute("aria-valuetext")
    slider.send_keys(Keys.END)
    wait(browser, lambda: shown(browser) == (1, 9))
    assert at(browser, "moment").text.startswith("forecast, +120 min, ")
    last = colours(browser)
    Select(at(browser, "layer")).select_by_visible_text("Probability of 2 mm/h or more")
    wait(browser, lambda: shown(browser) == (4, 9))
    assert (colours(browser) != last).any()
    assert at(browser, "key").text.startswith("probability (%)")
    slider.send_keys(Keys.HOME)
    wait(browser, lambda: shown(browser) == (4, 0))
    assert at(browser, "moment").text.startswith("observed, -60 min, ")
    assert at(browser, "key").text.startswith("rain rate (mm/h)")  # what was observed is no probability


def test_the_animation_plays(browser):
    button = at(browser, "play")
    button.click()
    assert button.text == "Pause"
    seen = set()
    wait(browser, lambda: seen.add(shown(browser)[1]) or len(seen) == 10)
    button.click()
    assert button.text == "Play"


def test_the_value_under_the_pointer(browser, content):
    values = frame(content, content["layers"][1], 0)
    click(browser, **PLACE, chosen=False)
    text = at(browser, "value").text
    assert float(text.split()[0]) == pytest.approx(values[12, 25], rel=0.05)
    assert text.split()[1] == "mm/h"
    pytest.importorskip("pyproj")
    lon, lat = (np.array(part).reshape(33, 33) for part in content["lines"]["degrees"])
    north, east = text.split(" at ")[1].split()
    assert float(north.rstrip("°N")) == pytest.approx(lat[13, 20], abs=0.05)
    assert float(east.rstrip("°E")) == pytest.approx(lon[13, 20], abs=0.05)
    click(browser, 1, 1, chosen=False)
    assert at(browser, "value").text.startswith("no data at ")


def test_a_click_shows_the_range_of_the_ensemble(browser, content):
    click(browser, **PLACE)
    wait(browser, lambda: place(browser) == "25,12")
    wait(browser, lambda: browser.find_elements("css selector", "#series svg[role=img]"))
    charts = browser.find_elements("css selector", "#series svg[role=img]")
    assert [chart.accessible_name for chart in charts] == ["rain rate (mm/h)", "probability (%)"]
    assert len(charts[0].find_elements("css selector", ".band")) == 1
    assert "10 to 90 % of the members" in at(browser, "series").text
    heads, cells = rows(browser)
    assert heads[:3] == ["time", "Observed", "Mean of 5 members"]
    assert len(cells) == 10
    for title in ("Quantile at 0.9", "Probability of 0.5 mm/h or more"):
        layer = next(one for one in content["layers"] if one["title"] == title)
        column = heads.index(title)
        for t in range(6):
            expected = frame(content, layer, t)[12, 25]
            assert float(cells[4 + t][column].split()[0]) == pytest.approx(expected, rel=0.06, abs=0.5)
        assert [cells[t][column] for t in range(4)] == [""] * 4
    assert cells[1][1] == ""  # a frame that is absent
    click(browser, 1, 1)
    wait(browser, lambda: "No data at" in at(browser, "place").text)
    assert not at(browser, "series").is_displayed()


def test_all_can_be_done_by_keys(browser):
    reached = []
    for _ in range(12):
        webdriver.ActionChains(browser).send_keys(Keys.TAB).perform()
        element = browser.switch_to.active_element
        if element.tag_name == "body":
            break
        assert browser.execute_script("return getComputedStyle(arguments[0]).outlineStyle", element) != "none"
        reached.append(element.get_attribute("id") or element.tag_name)
    assert reached[:4] == ["layer", "play", "time", "map"]
    box = at(browser, "map")
    box.send_keys(Keys.ARROW_RIGHT, Keys.ARROW_RIGHT, Keys.ARROW_UP)
    box.send_keys(Keys.SHIFT, Keys.ARROW_LEFT)
    assert at(browser, "value").text.split(" at ")[0].endswith(("mm/h", "no data"))
    box.send_keys(Keys.ENTER)
    wait(browser, lambda: place(browser) == "12,14")
    box.send_keys(*[Keys.ARROW_LEFT] * 20, Keys.ENTER)  # the map ends
    wait(browser, lambda: place(browser) == "0,14")
    assert box.accessible_name.startswith("Map. Arrow keys move a cross")
    assert box.aria_role == "application"


def test_layer_and_place_are_those_of_the_address_when_the_page_is_loaded_again(browser, driver):
    Select(at(browser, "layer")).select_by_visible_text("Median")
    click(browser, **PLACE)
    wait(browser, lambda: place(browser) == "25,12")
    browser.refresh()
    wait(browser, lambda: place(browser) == "25,12")
    assert Select(at(browser, "layer")).first_selected_option.text == "Median"


@pytest.mark.parametrize("mode", ["light", "dark"])
@pytest.mark.parametrize("width", [320, 390, 1280])
def test_the_page_is_as_wide_as_the_screen_and_can_be_read(width, mode, browser):
    look(browser, width, mode)
    click(browser, **PLACE)
    wait(browser, lambda: browser.find_elements("css selector", "#series svg"))
    browser.execute_script("document.querySelectorAll('details').forEach(one => one.open = true)")
    inner, seen, whole = browser.execute_script(
        "const root = document.documentElement; return [innerWidth, root.clientWidth, root.scrollWidth]"
    )
    assert (inner, whole) == (width, seen)
    assert at(browser, "map").size["width"] >= min(width - 40, 500)
    assert all(at(browser, name).size["height"] >= 44 for name in ("layer", "play", "time"))
    selectors = ("#age", "label", "select", "button", "output", ".key", "#place", "td", "summary", ".chart text")
    for selector in (*selectors, ".legend", "footer p"):
        assert contrast(browser, selector) >= 4.5, selector


def test_dark_mode_is_dark(browser):
    light = colours(browser)
    look(browser, 1280, "dark")
    wait(browser, lambda: (colours(browser) != light).any())
    ground = browser.execute_script("return getComputedStyle(document.body).backgroundColor")
    assert luminance(ground) < 0.1
    changed = (colours(browser) != light).any(-1)
    assert (colours(browser)[changed][:, :3] == [0x22, 0x27, 0x2D]).all()  # the ground alone


def test_lines_of_the_map_are_drawn(browser):
    pytest.importorskip("pyproj")
    assert 0.004 < (pixels_of(browser, "drawn")[..., 3] > 100).mean() < 0.3


@pytest.mark.parametrize(
    ("minutes", "text"),
    [
        (10, ""),
        (65, r"This forecast is old: its newest frame is 6[56] min old, and frames come every 20 min\."),
        (190, "This forecast is over: its last frame was that of"),
        (-30, "The newest frame is in the future: check the clocks"),
    ],
)
def test_an_old_forecast_is_a_warning(driver, tmp_path, minutes, text):
    old = ensemble(issued=(NOW - timedelta(minutes=minutes)).isoformat(), members=2, kept=False)
    with opened(driver, write(tmp_path / "f.html", old).as_uri()) as browser:
        warning = at(browser, "warning")
        assert warning.aria_role == "alert" or not text
        assert warning.is_displayed() == bool(text)
        assert re.match(text, warning.text)
        assert at(browser, "age").text.startswith("Newest frame ")
        if text:
            assert contrast(browser, "#warning") >= 4.5
