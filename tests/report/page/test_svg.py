"""Charts as SVG in the page."""

import math
import re

from convlstm.report.chart_descriptions import Bars, Chart, Histogram, Line
from convlstm.report.page.svg import DOTS, Look, legend, looks, plots
from tests.support.pages import Reader, described

import pytest

LOOKS = looks(["a", "b", "c", "d"])


def drawn(chart):
    return Reader(plots("key", [chart], LOOKS)).root.all("svg")[0]


def chart(lines, **how):
    return drawn(Chart("T", "lead", "score", lines, **how))


def dots(svg):
    return [tag for tag in svg.all("path") if tag.attributes["class"].startswith("dot")]


def points(svg, style="c0"):
    (path,) = [path for path in svg.all("path") if path.attributes["class"] == f"line {style}"]
    return [tuple(map(float, pair.split())) for pair in path.attributes["d"][1:].split("L")]


def numbers(svg, side):
    """Returns the numbers at the y axis ("end") or below the x axis ("mid")."""
    return [
        tag.text() for tag in svg.all("text") if side in tag.attributes["class"] and "tick" in tag.attributes["class"]
    ]


def test_places_of_points():
    svg = chart({"a": Line([1, 2, 3], [0.0, 1.0, 0.5]), "b": Line([1, 3], [0.25, 0.25])})
    (x1, y1), (x2, y2), (x3, y3) = points(svg)
    assert x1 < x2 < x3
    assert x2 - x1 == pytest.approx(x3 - x2, abs=0.2)
    assert y1 > y3 > y2
    assert y1 - y3 == pytest.approx(y3 - y2, abs=0.2)
    assert points(svg, "c1")[0] == (x1, pytest.approx(y1 - (y1 - y2) / 4, abs=0.2))
    assert numbers(svg, "end")[:3] == ["0", "0.2", "0.4"]
    # The first line is drawn last, over the others.
    assert [tag.text() for tag in svg.all("title")] == [
        "T", "b, 1: 0.2500", "b, 3: 0.2500", "a, 1: 0.000", "a, 2: 1.000", "a, 3: 0.5000",
    ]  # fmt: skip


def test_a_chart_is_described_in_words():
    lines = {"a": Line([1, 2, 3], [0.5, None, 0.25]), "b": Line([1], [math.nan]), "c": Line([2], [3])}
    svg = chart(lines, note="less is better")
    ids = {tag.attributes["id"]: tag.text() for name in ("title", "desc") for tag in svg.all(name) if tag.attributes}
    assert svg.attributes["aria-labelledby"].split() == list(ids) == ["key0-title", "key0-desc"]
    assert ids["key0-desc"] == (
        "score against lead; less is better. a: from 0.5000 at 1 to 0.2500 at 3. b: no value. c: 3.000 at 2."
    )


def test_a_line_is_broken_at_missing_values():
    svg = chart({"a": Line([1, 2, 3, 4], [1.0, 2.0, math.inf, 1.0])})
    assert len([path for path in svg.all("path") if path.attributes["class"] == "line c0"]) == 2
    assert len(dots(svg)) == 3


def test_a_chart_without_a_value_says_so():
    assert "no value" in chart({"a": Line([1], [None]), "guide": Line([1], [1.0], role="guide")}).text()


def test_axes_of_a_chart():
    lines = {"a": Line([1, 2], [10.0, 10.5])}
    low = max(y for _, y in points(chart(lines)))
    assert "0" in numbers(chart(lines, from_zero=True), "end")
    assert max(y for _, y in points(chart(lines, from_zero=True))) < low
    marked = chart(lines, mark=12.0)
    assert [path for path in marked.all("path") if path.attributes["class"] == "mark"]
    assert "12.0" in numbers(marked, "end")
    assert "1.2" in chart(lines).text()
    assert "1.2" not in chart(lines, whole=True).text()
    decades = points(chart({"a": Line([1, 2, 3], [1.0, 10.0, 100.0])}, log_y=True))
    assert decades[0][1] - decades[1][1] == pytest.approx(decades[1][1] - decades[2][1], abs=0.2)
    assert len(dots(chart({"a": Line([1], [3.0])}))) == 1
    zero = numbers(chart({"a": Line([1, 2], [0.0, 0.0])}), "end")
    assert (zero[0], [text for text in zero if text.startswith("-")]) == ("0", [])


def test_a_single_value_has_round_numbers_around_it():
    svg = chart({"a": Line([2], [145.167])})
    assert len(numbers(svg, "end")) > 2
    assert max(map(len, numbers(svg, "end"))) <= 3


def test_an_x_without_a_value_keeps_its_place_on_the_axis():
    assert "30" in numbers(chart({"a": Line([10, 20, 30], [1.0, math.nan, math.nan])}), "mid")


def test_an_x_axis_may_be_logarithmic_fall_and_have_ticks_of_its_own():
    line = {"a": Line([1, 4, 16], [1.0, 2.0, 3.0])}
    first, second, third = (x for x, _ in points(chart(line, log_x=True)))
    assert second - first == pytest.approx(third - second, abs=0.2) != 0
    first, second, third = (x for x, _ in points(chart(line, falling=True)))
    assert first > second > third
    assert numbers(chart(line, log_x=True, ticks=[1, 4, 16]), "mid") == ["1", "4", "16"]
    many = list(range(1, 21))
    assert numbers(chart({"a": Line(many, [1.0] * 20)}, ticks=many), "mid") == ["4", "8", "12", "16", "20"]
    words = described(chart({"a": Line([0, 1, 10], [1.0, 2.0, 3.0])}, log_x=True))
    assert words.endswith("a: from 2.000 at 1 to 3.000 at 10.")


def test_an_axis_covers_its_span():
    line = {"a": Line([1, 2], [0.4, 0.5])}
    assert not {"0", "1.0"} & {*numbers(chart(line), "end")}
    assert {"0", "1.0"} <= {*numbers(chart(line, span=(0.0, 1.0)), "end")}


def test_values_below_the_least_one_are_left_out():
    svg = chart({"a": Line([1, 2, 3], [1.0, 0.5, 0.01])}, least=0.1)
    assert described(svg).endswith("a: from 1.000 at 1 to 0.5000 at 2.")


def test_bars_behind_lines_are_logarithmic():
    line = {"a": Line([0, 1], [0.0, 1.0])}
    bars = chart(line, bars=Bars([0, 0.5, 1], [50, 0, 5], "d")).all("path")
    faint = [tag.attributes["d"] for tag in bars if tag.attributes["class"] == "bar faint c3"]
    tops = [float(re.search(r"V([\d.]+)H", path)[1]) for path in faint]
    foot = max(y for _, y in points(chart(line)))
    assert foot - tops[0] == pytest.approx(2 * (foot - tops[1]), abs=0.2)


def test_a_histogram():
    svg = drawn(Histogram("T", "rank", "share", [0.1, 0.4, 0.0], "b", "flat is best", 0.3))
    bars = [tag for tag in svg.all("path") if tag.attributes["class"] == "bar c1"]
    assert [tag.text() for tag in bars] == ["0: 0.1000", "1: 0.4000", "2: 0.000"]
    first, second, _ = (float(re.search(r"V([\d.]+)H", tag.attributes["d"])[1]) for tag in bars)
    (mark,) = [tag for tag in svg.all("path") if "mark" in tag.attributes["class"]]
    assert second < float(mark.attributes["d"].split()[1].partition("H")[0]) < first
    assert described(svg) == (
        "share against rank; flat is best. Below all members 10.0%, above all 0.0%; flat is 30.0% each."
    )
    empty = drawn(Histogram("T", "rank", "share", [], "b", "flat is best", 0.3))
    assert "no value" in empty.text()
    assert "mark" not in str([tag.attributes for tag in empty.all("path")])


def test_lines_differ_in_more_than_their_colours():
    many = looks([str(n) for n in range(8)] + ["persistence"])
    assert many["persistence"] == Look("persistence")
    assert many["6"].style == many["0"].style == "c0"
    assert len(set(many.values())) == 9
    assert len({look.dot for name, look in many.items() if int(name, 36) < 6}) == 6
    assert looks(["x", "persistence", "y"])["y"].style == "c1"
    lines = {"b": Line([1, 2], [1.0, 2.0]), "guide": Line([1, 2], [1.0, 2.0], role="guide")}
    assert [tag.attributes["d"].endswith(DOTS[1]) for tag in dots(chart(lines))] == [True, True]


def test_lines_of_a_forecaster_share_its_colour():
    lines = {"b, error": Line([1, 2], [1.0, 2.0], "b"), "b, spread": Line([1, 2], [2.0, 1.0], "b", dashed=True)}
    svg = chart(lines)
    assert points(svg, "c1")[0][1] == pytest.approx(points(svg, "c1 broken")[1][1])
    key = Reader(legend([Chart("T", "x", "y", lines)], LOOKS)).root.all("li")
    assert [item.text() for item in key] == ["b, error ", "b, spread "]
    assert [item.all("path")[0].attributes["class"] for item in key] == ["line c1", "line c1 broken"]


def test_a_few_of_many_points_are_marked():
    svg = chart({"a": Line(range(1, 301), [float(n % 7) for n in range(300)])})
    assert len(dots(svg)) == 8
    lone = [None] * 50 + [1.0] + [None] * 50 + [2.0] * 60
    assert "a, 51: 1.000" in [tag.text() for tag in dots(chart({"a": Line(range(1, 162), lone)}))]
    assert dots(chart({"a": Line([1, 2], [1.0, 2.0], dots=False)})) == []
