"""report.html in a real Chromium, without a network: the slider moves, the animation plays, no request is made."""

from __future__ import annotations

import json
from itertools import pairwise

from convlstm.architectures.ensemble import Ensemble
from tests.support import tiny
from tests.support.browser import contrast, look, luminance, opened, skip_without_browser
from tests.support.pages import ODD, Rain, evaluation, page, run

import pytest

skip_without_browser()

from selenium import webdriver  # noqa: E402
from selenium.common.exceptions import TimeoutException  # noqa: E402
from selenium.webdriver.common.keys import Keys  # noqa: E402
from selenium.webdriver.support.wait import WebDriverWait  # noqa: E402


@pytest.fixture(scope="module")
def address(tmp_path_factory):
    """The address of a page with all sections, of two runs, one of them with an odd name."""
    folder = tmp_path_factory.mktemp("page")
    checkpoints = {
        ODD: run(folder / "runs" / "a"),
        "a_name_as_long_as_" + "x" * 80: run(folder / "runs" / "b", rate=0.2),
    }
    members = Ensemble([tiny.Fade(0.9, 0.0), tiny.Fade(0.6, 0.01)])
    result = evaluation(tuple(checkpoints), rain=Rain(), horizon=6, more={"ensemble": members})
    return page(folder, result, checkpoints=checkpoints, rain=Rain(), record={"steps": {}}).as_uri()


@pytest.fixture
def browser(driver, address):
    """The page on a desktop in light mode; checks at the end that there was no error and no request."""
    with opened(driver, address) as browser:
        yield browser


class Film:
    """The parts of a sequence in the page."""

    def __init__(self, browser, n=0):
        (self.film, *_) = browser.find_elements("css selector", ".film")[n:]
        self.browser = browser
        self.slider, self.button = self.find("input")[0], self.find("button")[0]
        self.images, self.output = self.find("img"), self.find("output")[0]
        self.content = json.loads(self.find(".film-data")[0].get_property("textContent"))
        self.pictures = json.loads(browser.find_element("id", "pictures").get_property("textContent"))

    def find(self, selector):
        return self.film.find_elements("css selector", selector)

    def at(self):
        return int(self.slider.get_property("value"))

    def holds(self, at):
        """Returns True if the whole film shows a frame."""
        label = self.content["labels"][at]
        sources = ["data:image/png;base64," + self.pictures[panel["frames"][at]] for panel in self.content["panels"]]
        return (
            [image.get_property("src") for image in self.images] == sources
            and all(image.get_property("alt").endswith(label) for image in self.images)
            and self.output.text == self.slider.get_attribute("aria-valuetext") == label
            and all(image.get_property("naturalWidth") == 32 for image in self.images)
            and ("ahead" in self.film.get_attribute("class").split()) == (at >= self.content["first"])
        )

    def wait(self, condition):
        WebDriverWait(self.browser, 20, poll_frequency=0.05).until(lambda _: condition())


def test_the_slider_moves_every_panel(browser):
    film = Film(browser)
    assert (film.at(), film.holds(3)) == (3, True)
    scores = [caption.text for caption in film.find(".score")]
    assert scores[0] == ""
    assert scores[1:] == [told[0] for told in film.content["scores"][1:]]
    film.slider.send_keys(Keys.ARROW_RIGHT)
    assert (film.at(), film.holds(4)) == (4, True)
    assert film.find(".score")[1].text == film.content["scores"][1][1]
    film.slider.send_keys(Keys.HOME)
    assert (film.at(), film.holds(0)) == (0, True)
    assert film.find(".score")[1].text == ""
    film.slider.send_keys(Keys.END)
    assert (film.at(), film.holds(8)) == (8, True)
    box = film.slider.size
    webdriver.ActionChains(browser).move_to_element_with_offset(
        film.slider, -box["width"] // 2 + 2, 0
    ).click().perform()
    assert (film.at(), film.holds(0)) == (0, True)
    assert Film(browser, 1).holds(3)


def test_the_animation_plays_and_pauses(browser):
    film = Film(browser)
    film.button.click()
    assert film.button.text == "Pause"
    seen = set()

    def all_seen():
        seen.add(film.at())
        return len(seen) == len(film.content["labels"])

    film.wait(all_seen)
    film.button.click()
    assert film.button.text == "Play"
    assert film.button.get_attribute("aria-label").startswith("Play sequence")
    stopped = film.at()
    assert film.holds(stopped)
    with pytest.raises(TimeoutException):
        WebDriverWait(browser, 1).until(lambda _: film.at() != stopped)


def test_the_animation_is_slow_if_reduced_motion_is_wanted(browser):
    """The page's timers are compared; the clock may run late."""
    browser.execute_script(
        "window.waits = []; const set = setTimeout;"
        "window.setTimeout = (f, ms) => { waits.push(ms); return set(f, 0); };"
    )
    film = Film(browser)
    for motion, frame in (("no-preference", 300), ("reduce", 1000)):
        look(browser, 1280, "light", motion)
        browser.execute_script("waits.length = 0")
        film.button.click()
        film.wait(lambda: len(browser.execute_script("return waits")) > 9)
        film.button.click()
        assert set(browser.execute_script("return waits")) == {frame, 4 * frame}


def test_the_slider_stops_the_animation(browser):
    film = Film(browser)
    film.button.click()
    film.wait(lambda: film.at() == 5)
    film.slider.send_keys(Keys.HOME)
    assert (film.button.text, film.at(), film.holds(0)) == ("Play", 0, True)


def test_all_can_be_done_by_keys(browser):
    reached = []
    for _ in range(80):
        webdriver.ActionChains(browser).send_keys(Keys.TAB).perform()
        element = browser.switch_to.active_element
        if element.tag_name == "body":
            break
        assert browser.execute_script("return getComputedStyle(arguments[0]).outlineStyle", element) != "none"
        reached.append(element.get_attribute("class") or element.tag_name)
    films = len(browser.find_elements("css selector", ".film"))
    assert (reached.count("button"), reached.count("input")) == (films, films)
    assert {"a", "summary", "scroll"} <= set(reached)
    film = Film(browser)
    film.button.send_keys(Keys.SPACE)
    assert film.button.text == "Pause"
    film.wait(lambda: film.at() > 3)


@pytest.mark.parametrize("mode", ["light", "dark"])
@pytest.mark.parametrize("width", [320, 390, 1280])
def test_the_page_is_as_wide_as_the_screen_and_can_be_read(width, mode, browser):
    look(browser, width, mode)
    browser.execute_script("document.querySelectorAll('details').forEach(one => one.open = true)")
    inner, seen, whole = browser.execute_script(
        "const root = document.documentElement; return [innerWidth, root.clientWidth, root.scrollWidth]"
    )
    assert (inner, whole) == (width, seen)
    tables = browser.find_elements("css selector", ".scroll")
    assert all(table.size["width"] <= width for table in tables)
    if width < 500:
        assert any(
            browser.execute_script("return arguments[0].scrollWidth > arguments[0].clientWidth", t) for t in tables
        )
    captions = browser.execute_script(
        "return [...document.querySelectorAll('caption span')].map(one => one.getBoundingClientRect().right)"
    )
    assert max(captions) <= width
    assert {"scales", "ensemble"} <= {
        one.get_attribute("id") for one in browser.find_elements("css selector", "section")
    }
    for selector in ("body", ".note", "a", "summary", "td", "button", ".score", ".plot span", ".chart text", "output"):
        assert contrast(browser, selector) >= 4.5, selector


def test_dark_mode_is_dark(browser):
    def ground():
        return browser.execute_script("return getComputedStyle(document.body).backgroundColor")

    light = ground()
    look(browser, 1280, "dark")
    assert luminance(ground()) < 0.1 < 0.8 < luminance(light)


def test_an_odd_name_runs_nothing(browser):
    """A dialogue would make all further calls fail, and a refused script would be in the log."""
    assert browser.execute_script("return document.scripts.length") == 2 + len(
        browser.find_elements("css selector", ".film")
    )
    assert ODD in browser.find_element("css selector", "h1").text


@pytest.mark.parametrize("mode", ["light", "dark"])
def test_lines_and_bars_stand_out(mode, browser):
    """3:1, as WCAG 2 demands of graphics."""
    look(browser, 1280, mode)
    styles = [f"c{n}" for n in range(6)] + ["persistence", "extrapolation", "zeros", "truth", "guide"]
    grounds = browser.execute_script(
        """
        const plot = document.querySelector(".plot");
        const ground = getComputedStyle(plot).backgroundColor;
        return arguments[0].map(name => {
          const line = document.createElementNS("http://www.w3.org/2000/svg", "path");
          line.setAttribute("class", "line " + name);
          plot.querySelector("svg").append(line);
          return [getComputedStyle(line).stroke, ground];
        });
        """,
        styles,
    )
    for style, (stroke, ground) in zip(styles, grounds, strict=True):
        low, high = sorted([luminance(stroke), luminance(ground)])
        assert (high + 0.05) / (low + 0.05) >= 3, style


def test_headings_follow_each_other(browser):
    levels = [int(one.tag_name[1]) for one in browser.find_elements("css selector", "h1, h2, h3, h4")]
    assert (levels[0], levels.count(1)) == (1, 1)
    assert all(below <= above + 1 for above, below in pairwise(levels))


def test_charts_have_names(browser):
    charts = browser.find_elements("css selector", "svg[role=img]")
    assert len(charts) > 5
    for chart in charts:
        assert chart.accessible_name
        assert chart.size["width"] > 100
