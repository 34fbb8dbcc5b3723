"""report.html: what it shows, and that it is whole, safe, and of use to those who cannot see it."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import math
import re

from convlstm.report.page import films, frames
from convlstm.report.page.bars import bar_chart
from convlstm.report.page.chart import DOTS, GUIDE, Bars, Line, Look, line_chart, looks
from convlstm.report.page.markup import Markup, data, element, table
from convlstm.report.panel import GREY
from convlstm.report.rain import HATCH, MISSING, rain_scale
from convlstm.report.style import MISSING as SAND
from tests.support.pages import ODD, Rain, Reader, cells, evaluation, of, page, read, run

import numpy as np
import pytest
from PIL import Image


@pytest.fixture(scope="module")
def rain():
    return evaluation((ODD, "second"), rain=Rain())


@pytest.fixture(scope="module")
def digits():
    return evaluation(missing=False)


def picture(address):
    kind, _, content = address.partition(",")
    assert kind == "data:image/png;base64"
    with Image.open(io.BytesIO(base64.b64decode(content, validate=True))) as image:
        return np.asarray(image.convert("RGB"))


def colour(text):
    return tuple(int(text[k : k + 2], 16) for k in (1, 3, 5))


# Text and attributes.


def test_text_is_escaped_wherever_it_is():
    made = element(
        "p", ODD, ["a", None, element("b", 3)], title=ODD, hidden=True, lang=None, aria_label="x", class_="y"
    )
    (tag,) = Reader(made).root.inside
    assert tag.attributes == {"title": ODD, "hidden": None, "aria-label": "x", "class": "y"}
    assert (tag.words, tag.all("b")[0].words, tag.all("script")) == (ODD + "a", "3", [])
    assert element("p", Markup("<i></i>")) == "<p><i></i></p>"
    assert element("br") == "<br>"


def test_what_no_page_can_hold_is_replaced():
    assert element("p", "a\x00b\udc80c\x1bd\te\n") == "<p>a\ufffdb\ufffdc\ufffdd\te\n</p>"


def test_data_for_the_script_cannot_end_it():
    (tag,) = Reader(data(["</script><!--", ODD], id="x")).root.inside
    assert tag.attributes == {"type": "application/json", "id": "x"}
    assert json.loads(tag.words) == ["</script><!--", ODD]
    assert "<" not in tag.words
    with pytest.raises(ValueError):
        data([math.nan])


def test_tables_mark_the_best_and_can_be_scrolled_by_keys():
    (box,) = Reader(table(["a", "b"], [["x", 1], ["y", 2]], caption="C", best=[(1, 0)], numbers=False)).root.inside
    assert (box.attributes["tabindex"], box.attributes["role"], box.attributes["aria-label"]) == ("0", "region", "C")
    assert [strong.text() for strong in box.all("strong")] == ["2 \u2605"]
    assert box.all("table")[0].attributes["class"] == "words"
    assert 'class="numbers"' in table(["a"], [["x"]], caption="C")


# Charts.


def chart(lines, **how):
    how = {"title": "T", "x": "lead", "y": "score"} | how
    return Reader(line_chart("key", lines, **how)).root.all("svg")[0]


def dots(svg):
    return [tag for tag in svg.all("path") if tag.attributes["class"].startswith("dot")]


def points(svg, style):
    (path,) = [path for path in svg.all("path") if path.attributes["class"] == f"line {style}"]
    return [tuple(map(float, pair.split())) for pair in path.attributes["d"][1:].split("L")]


def test_a_chart_puts_points_where_they_belong():
    svg = chart({"a": Line([1, 2, 3], [0.0, 1.0, 0.5], Look("c0")), "b": Line([1, 3], [0.25, 0.25], Look("c1"))})
    (x1, y1), (x2, y2), (x3, y3) = points(svg, "c0")
    assert x1 < x2 < x3
    assert x2 - x1 == pytest.approx(x3 - x2, abs=0.2)
    assert y1 > y3 > y2
    assert y1 - y3 == pytest.approx(y3 - y2, abs=0.2)
    assert points(svg, "c1")[0] == (x1, pytest.approx(y1 - (y1 - y2) / 4, abs=0.2))
    assert [tag.text() for tag in svg.all("text")][:3] == ["0", "0.2", "0.4"]
    # The first line is drawn last, over the others.
    assert [tag.text() for tag in svg.all("title")] == [
        "T", "b, 1: 0.2500", "b, 3: 0.2500", "a, 1: 0.000", "a, 2: 1.000", "a, 3: 0.5000",
    ]  # fmt: skip


def test_a_chart_is_told_in_words():
    lines = {
        "a": Line([1, 2, 3], [0.5, None, 0.25], Look("c0")),
        "b": Line([1], [math.nan], Look("c1")),
        "c": Line([2], [3], Look("c2")),
    }
    svg = chart(lines, note="less is better")
    ids = {tag.attributes["id"]: tag.text() for name in ("title", "desc") for tag in svg.all(name) if tag.attributes}
    assert svg.attributes["aria-labelledby"].split() == list(ids) == ["key-title", "key-desc"]
    assert ids["key-desc"] == (
        "score against lead; less is better. a: from 0.5000 at 1 to 0.2500 at 3. b: no value. c: 3.000 at 2."
    )


def test_a_line_is_broken_where_there_is_no_value():
    svg = chart({"a": Line([1, 2, 3, 4], [1.0, 2.0, math.inf, 1.0], Look("c0"))})
    assert len([path for path in svg.all("path") if path.attributes["class"] == "line c0"]) == 2
    assert len(dots(svg)) == 3


def test_nothing_to_draw_is_said():
    assert "no value" in chart({"a": Line([1], [None], Look("c0"))}).text()


def test_axes_of_a_chart():
    lines = {"a": Line([1, 2], [10.0, 10.5], Look("c0"))}
    low = max(y for _, y in points(chart(lines), "c0"))
    assert "0" in [tag.text() for tag in chart(lines, from_zero=True).all("text")]
    assert max(y for _, y in points(chart(lines, from_zero=True), "c0")) < low
    marked = chart(lines, mark=12.0)
    assert [path for path in marked.all("path") if path.attributes["class"] == "mark"]
    assert "12.0" in [tag.text() for tag in marked.all("text")]
    assert "1.2" in chart(lines).text()
    assert "1.2" not in chart(lines, whole=True).text()
    decades = points(chart({"a": Line([1, 2, 3], [1.0, 10.0, 100.0], Look("c0"))}, log=True), "c0")
    assert decades[0][1] - decades[1][1] == pytest.approx(decades[1][1] - decades[2][1], abs=0.2)
    same = chart({"a": Line([1], [3.0], Look("c0"))})
    assert len(dots(same)) == 1
    zero = [tag.text() for tag in chart({"a": Line([1, 2], [0.0, 0.0], Look("c0"))}).all("text")]
    assert (zero[0], [text for text in zero if text.startswith("-")]) == ("0", [])


def test_a_single_value_has_round_numbers_around_it():
    svg = chart({"a": Line([2], [145.167], Look("c0"))})
    told = [tag.text() for tag in svg.all("text") if "end" in tag.attributes["class"]]
    assert len(told) > 2
    assert max(map(len, told)) <= 3


def test_a_line_without_a_value_keeps_its_place_on_the_axis():
    svg = chart({"a": Line([10, 20, 30], [1.0, math.nan, math.nan], Look("c0"))})
    assert "30" in [tag.text() for tag in svg.all("text") if "mid" in tag.attributes["class"]]


def test_an_x_axis_may_be_logarithmic_fall_and_have_ticks_of_its_own():
    line = {"a": Line([1, 4, 16], [1.0, 2.0, 3.0], Look("c0"))}
    first, second, third = (x for x, _ in points(chart(line, log_x=True), "c0"))
    assert second - first == pytest.approx(third - second, abs=0.2) != 0
    first, second, third = (x for x, _ in points(chart(line, falling=True), "c0"))
    assert first > second > third
    svg = chart(line, log_x=True, ticks=[1, 4, 16])
    told = [tag.text() for tag in svg.all("text") if "mid" in tag.attributes["class"]]
    assert told[:3] == ["1", "4", "16"]
    assert (
        chart({"a": Line([0, 1, 10], [1.0, 2.0, 3.0], Look("c0"))}, log_x=True)
        .all("desc")[0]
        .text()
        .endswith("a: from 2.000 at 1 to 3.000 at 10.")
    )


def test_an_axis_reaches_what_it_must():
    line = {"a": Line([1, 2], [0.4, 0.5], Look("c0"))}

    def ticks(svg):
        return {tag.text() for tag in svg.all("text") if "end" in tag.attributes["class"]}

    assert not {"0", "1.0"} & ticks(chart(line))
    assert {"0", "1.0"} <= ticks(chart(line, span=(0.0, 1.0)))


def test_bars_behind_lines_are_as_high_as_they_should_be():
    line = {"a": Line([0, 1], [0.0, 1.0], Look("c0"))}
    bars = chart(line, bars=Bars([0, 0.5, 1], [1.0, 0.0, 0.5], "c3")).all("path")
    faint = [tag.attributes["d"] for tag in bars if "faint" in tag.attributes["class"]]
    tops = [float(re.search(r"V([\d.]+)H", path)[1]) for path in faint]
    assert len(tops) == 2
    foot = max(y for _, y in points(chart(line), "c0"))
    assert foot - tops[0] == pytest.approx(2 * (foot - tops[1]), abs=0.2)


def test_a_bar_chart():
    how = {"title": "T", "x": "rank", "y": "share", "told": "flat.", "style": "c1"}
    svg = Reader(bar_chart("key", [0.1, 0.4, 0.0], mark=0.3, note="flat is best", **how)).root.all("svg")[0]
    bars = [tag for tag in svg.all("path") if tag.attributes["class"] == "bar c1"]
    assert [tag.text() for tag in bars] == ["0: 0.1000", "1: 0.4000", "2: 0.000"]
    first, second, _ = (float(re.search(r"V([\d.]+)H", tag.attributes["d"])[1]) for tag in bars)
    (mark,) = [tag for tag in svg.all("path") if "mark" in tag.attributes["class"]]
    assert second < float(mark.attributes["d"].split()[1].partition("H")[0]) < first
    assert svg.all("desc")[0].text() == "share against rank; flat is best. flat."
    for values in ([], [math.nan]):
        empty = Reader(bar_chart("key", values, **how)).root.all("svg")[0]
        assert "no value" in empty.text()
        assert "mark" not in str([tag.attributes for tag in empty.all("path")])


def test_lines_differ_in_more_than_their_colours():
    found = looks([str(n) for n in range(8)] + ["persistence"])
    assert found["persistence"] == Look("persistence")
    assert found["6"].style == found["0"].style == "c0"
    assert len(set(found.values())) == 9
    assert len({look.dot for name, look in found.items() if int(name, 36) < 6}) == 6
    assert looks(["x", "persistence", "y"])["y"].style == "c1"
    svg = chart({"a": Line([1, 2], [1.0, 2.0], found["1"]), "b": Line([1, 2], [1.0, 2.0], GUIDE)})
    assert [tag.attributes["d"].endswith(DOTS[1]) for tag in dots(svg)] == [True, True]


def test_of_many_points_a_few_are_marked():
    svg = chart({"a": Line(range(1, 301), [float(n % 7) for n in range(300)], Look("c0"))})
    assert len(dots(svg)) == 8
    lone = [None] * 50 + [1.0] + [None] * 50 + [2.0] * 60
    assert "a, 51: 1.000" in [tag.text() for tag in dots(chart({"a": Line(range(1, 162), lone, Look("c0"))}))]


# Frames.


@pytest.mark.parametrize(("units", "levels"), [("mm/h", None), ("dBZ", None), ("raw", None), ("mm/h", [1, 2, 5])])
def test_rain_has_the_colours_of_the_panels(units, levels, rng):
    field = rng.uniform(-5, 130, (9, 11)).astype(np.float32)
    scale = rain_scale("test", units, levels, [field])
    field[0, : len(scale.levels)] = scale.levels[:11]
    drawn = picture(films.source(base64.b64encode(frames.rain_png(field[..., None], scale)).decode()))
    np.testing.assert_allclose(drawn, 255 * scale.colours(scale.norm(field))[..., :3], atol=0.51)


def test_missing_rain_is_hatched():
    scale = rain_scale("test", "mm/h", None, [])
    drawn = picture(films.source(base64.b64encode(frames.rain_png(np.full((12, 12, 1), np.nan), scale)).decode()))
    assert {tuple(pixel) for pixel in drawn.reshape(-1, 3).tolist()} == {colour(HATCH), colour(MISSING)}


def test_frames_are_grey_and_sand_where_they_are_missing():
    frame = np.array([[0.0, 0.25], [1.5, np.nan]], np.float32)[..., None]
    drawn = picture(films.source(base64.b64encode(frames.frame_png(frame)).decode()))
    np.testing.assert_allclose(drawn[0], 255 * GREY(frame[0, :, 0])[:, :3], atol=1.01)
    assert drawn[1].tolist() == [[255] * 3, list(colour(SAND))]


def test_three_channels_are_colours(rng):
    frame = rng.uniform(0, 1, (4, 5, 3)).astype(np.float32)
    drawn = picture(films.source(base64.b64encode(frames.frame_png(frame)).decode()))
    np.testing.assert_allclose(drawn, 255 * frame, atol=0.51)


def test_frames_shrink_to_means():
    small = frames.shrunk(np.arange(12.0).reshape(1, 3, 4, 1), 2)
    assert small[0, ..., 0].tolist() == [[2.5, 4.5], [8.5, 10.5]]
    assert np.isnan(frames.shrunk(np.array([[np.nan, 1.0]])[..., None], 2)).all()
    assert frames.factor([(384, 100), (100, 769)], 384) == 3
    assert frames.factor([], 384) == 1


def test_pictures_are_kept_once():
    album = frames.Album()
    frame, made = np.zeros((2, 3)), []

    def png(frame):
        made.append(frame)
        return b"abc"

    assert [album.place(one, png) for one in (frame, frame + 1, frame.copy(), frame.reshape(3, 2))] == [0, 1, 0, 2]
    assert (album.pictures, album.size, len(made)) == (["YWJj"] * 3, 12, 3)


def test_pictures_shrink_to_the_budget(rain):
    shown = [films.film(kind, example, films.Field(Rain(), "test", 2.0)) for kind, example in films.chosen(rain)]
    whole = films.developed(shown, "CSI", "mm/h")
    assert (whole.times, whole.sizes[0]) == (1, (32, 24))
    small = films.developed(shown, "CSI", "mm/h", budget=3 * whole.album.size // 4)
    assert small.album.size <= 3 * whole.album.size // 4
    assert small.times > 1


# The whole page.


def test_a_page_is_whole_and_needs_nothing_else(rain, tmp_path):
    best = run(tmp_path / "runs" / "a")
    path = page(
        tmp_path, rain, checkpoints={ODD: best}, record={"steps": {ODD: 20}, "data": {"name": ODD}}, rain=Rain()
    )
    root = read(path)
    ids = [tag.attributes["id"] for name in ("section", "h2", "article", "title", "desc", "input", "script", "h3")
           for tag in root.all(name) if "id" in tag.attributes]  # fmt: skip
    every = re.findall(r' id="([^"]*)"', re.sub(r"<script.*?</script>", "", path.read_text(), flags=re.S))
    assert len(set(every)) == len(every)
    for name in ("svg", "img", "section", "article"):
        for tag in root.all(name):
            words = tag.attributes.get("aria-labelledby", "").split()
            assert set(words) <= set(ids)
            assert words or tag.attributes.get("alt") or tag.attributes.get("aria-hidden") == "true"
    for name in ("a", "link", "img", "script", "iframe", "image", "use", "source", "object", "embed", "form"):
        for tag in root.all(name):
            for key in ("href", "src", "srcset", "data", "action", "xlink:href"):
                assert (tag.attributes.get(key) or "#").startswith(("#", "data:"))
    assert {link.attributes["href"][1:] for link in root.all("a")} == {
        tag.attributes["id"] for tag in root.all("section")
    }
    for style in root.all("style"):
        assert "url(" not in style.words
        assert "@import" not in style.words
    assert not re.search(r' (style|on\w+)="', path.read_text())
    assert root.all("meta", name="viewport")[0].attributes["content"] == "width=device-width, initial-scale=1"
    assert root.all("html")[0].attributes["lang"] == "en"
    assert "prefers-color-scheme: dark" in root.all("style")[0].words
    assert not list(tmp_path.glob("*.tmp"))


def test_the_policy_allows_the_pages_own_script_alone(rain, tmp_path):
    root = read(page(tmp_path, rain, rain=Rain()))
    (policy,) = root.all("meta", **{"http-equiv": "Content-Security-Policy"})
    scripts = [tag for tag in root.all("script") if "type" not in tag.attributes]
    assert len(scripts) == 1
    for kind, (tag,) in (("script", scripts), ("style", root.all("style"))):
        digest = base64.b64encode(hashlib.sha256(tag.words.encode()).digest()).decode()
        assert f"{kind}-src 'sha256-{digest}'" in policy.attributes["content"]
    assert policy.attributes["content"].startswith("default-src 'none'; img-src data:;")


def test_an_odd_name_stays_a_name(rain, tmp_path):
    best = run(tmp_path / "runs" / "<img src=x onerror=alert(1)>", extra={"note": ODD})
    run(tmp_path / "runs" / "<b>beside")
    root = read(page(tmp_path, rain, checkpoints={ODD: best}, record={"split": ODD}, rain=Rain(), split=ODD))
    assert [tag.attributes.get("type") for tag in root.all("script")].count(None) == 1
    assert not [tag for tag in root.all("img") if tag.attributes["src"] == "x"]
    assert root.all("title")[0].text() == root.all("h1")[0].text() == "Forecasts of <img src=x onerror=alert(1)>"
    assert ODD in cells(of("scores", root), "Frames from 0 to 1, means")[1]
    assert ODD in root.all("header")[0].text()
    assert "<b>beside" in of("runs", root).text()
    assert cells(of("runs", root), "Configuration")[1]["note"] == [ODD]
    film = json.loads(root.all("script", class_="film-data")[0].words)
    assert film["panels"][1]["name"] == ODD


def test_scores_are_those_of_the_evaluation(rain, digits, tmp_path):
    root = read(page(tmp_path, rain, rain=Rain()))
    heads, rows = cells(of("scores", root), "Rain, means over the lead times")
    assert list(rows) == [ODD, "second", "persistence"]
    value = rain.scores["second"]["csi@2mmh"]["mean_over_leads"]
    assert rows["second"][heads.index("CSI 2 mm/h") - 1].startswith(f"{value:.3f}")
    marked = {name: cell for name, row in rows.items() for cell in row[:1]}
    best = max(rain.scores, key=lambda name: rain.scores[name]["csi@0.5mmh"]["mean_over_leads"])
    assert [name for name, cell in marked.items() if "\u2605" in cell] == [best]
    heads, rows = cells(of("scores", root), "All scores, over all lead times and pixels")
    assert heads[1:4] == list(rain.scores)
    names = [row[-1] for row in rows.values()]
    assert names == list(rain.scores["second"])
    assert rows["FSS at 2 mm/h, windows of 16 x 16 px"][-1] == "fss@2mmh_16px"
    assert rows["CSI-M, maxima of 4 x 4 px"][-1] == "csi_mean_pool4"
    heads, rows = cells(of("leads", root), "CSI at 2 mm/h by lead time (min); higher is better")
    assert heads[1:] == ["+5", "+10", "+15", "+20"]
    titles = [tag.all("title")[0].text() for tag in of("leads", root).all("svg", role="img")]
    assert titles[:3] == ["CSI at 0.5 mm/h", "CSI at 2 mm/h", "CSI at 5 mm/h"]
    assert {"bias at 2 mm/h", "MAE", "MSE per frame"} <= set(titles)

    root = read(page(tmp_path, digits))
    heads, rows = cells(of("leads", root), "MSE per frame by lead time (frames); lower is better")
    found = [float(cell.split()[0]) for cell in rows["model"]]
    assert found == pytest.approx(digits.scores["model"]["mse_per_frame"]["per_lead"], rel=1e-3)
    assert "Rain" not in of("scores", root).text()


def test_best_worst_and_chosen_sequences_are_shown_once(rain, tmp_path):
    root = read(page(tmp_path, rain, rain=Rain()))
    shown = {tag.attributes["data-sequence"]: tag.all("span", class_="tag")[0].text() for tag in root.all("article")}
    best, worst = rain.best[0].example.index, rain.worst[0].example.index
    expected = {str(best): "best", str(worst): "worst"}
    assert shown == expected | {str(n): "chosen" for n in range(2) if str(n) not in expected}
    assert len(root.all("article")) == len(shown)
    text = of("forecasts", root).text()
    assert f"Best and worst are those of {ODD} by CSI at 2 mm/h" in text


def test_a_film_has_the_frames_of_its_sequence(rain, tmp_path):
    root = read(page(tmp_path, rain, rain=Rain()))
    pictures = json.loads(root.all("script", id="pictures")[0].words)
    article = root.all("article")[0]
    example = rain.best[0].example
    content = json.loads(article.all("script", class_="film-data")[0].words)
    assert [panel["name"] for panel in content["panels"]] == ["truth", ODD, "second", "persistence"]
    start = 12 + example.index
    assert content["labels"][:4] == [
        f"input, -10 min, 2010-08-26 {start}:00 UTC", f"input, -5 min, 2010-08-26 {start}:05 UTC",
        f"input, now, 2010-08-26 {start}:10 UTC", f"forecast, +5 min, 2010-08-26 {start}:15 UTC",
    ]  # fmt: skip
    scale = rain_scale("test", "mm/h", None, [])
    for panel, frame in zip(content["panels"], [example.targets, *example.forecasts.values()], strict=True):
        assert len(panel["frames"]) == 7
        for place, field in zip(panel["frames"], 60 * np.concatenate([example.inputs, frame]), strict=True):
            expected = picture(films.source(base64.b64encode(frames.rain_png(field, scale)).decode()))
            np.testing.assert_array_equal(picture(films.source(pictures[place])), expected)
    # What was seen is there once, and so is the frame that persistence repeats.
    assert len({panel["frames"][0] for panel in content["panels"]}) == 1
    assert len(set(content["panels"][3]["frames"][3:])) == 1
    images = article.all("img")
    assert images[0].attributes["src"] == films.source(pictures[content["panels"][0]["frames"][3]])
    assert images[0].attributes["alt"] == f"truth, sequence {example.index}: {content['labels'][3]}"
    slider = article.all("input")[0].attributes
    assert (slider["min"], slider["max"], slider["value"]) == ("0", "6", "3")
    assert slider["aria-valuetext"] == content["labels"][3]
    score = films.film("best", example, films.Field(Rain(), "test", 2.0)).scores
    assert score[ODD][-1] == pytest.approx(rain.best[0].score)
    assert content["scores"][0] is None
    assert content["scores"][1][0] == f"CSI at 2 mm/h {float(f'{score[ODD][0]:.4g}'):#.4g}".rstrip(".")


def test_the_legend_has_classes_and_what_is_missing(rain, tmp_path):
    root = read(page(tmp_path, rain, rain=Rain()))
    key = root.all("div", class_="key")[0]
    words = [item.text() for item in key.all("li")]
    assert (words[0], words[4], words[-2:]) == ("below 0.1", "2\u20135", ["100 and more", "missing"])
    assert "rain rate (mm/h)" in key.text()
    scale = rain_scale("test", "mm/h", None, [])
    style = root.all("style")[0].words
    assert all(f".r{k} {{ background: {c}; }}" in style for k, c in enumerate(frames.colours(scale)[:-2]))
    dry = evaluation(rain=Rain(), missing=False)
    assert "missing" not in read(page(tmp_path, dry, rain=Rain())).all("div", class_="key")[0].text()
    grey = read(page(tmp_path, evaluation()))
    assert grey.all("p", class_="key")[0].text().strip() == "missing"
    assert not read(page(tmp_path, evaluation(missing=False))).all("p", class_="key")


def test_frames_without_times_are_counted(digits, tmp_path):
    labels = json.loads(read(page(tmp_path, digits)).all("script", class_="film-data")[0].words)["labels"]
    assert labels == ["input, t-2", "input, t-1", "input, t0", *(f"forecast, +{n}" for n in range(1, 5))]
    silent = Rain(frame_interval=None, timed=False)
    labels = json.loads(
        read(page(tmp_path, evaluation(rain=silent), rain=silent)).all("script", class_="film-data")[0].words
    )
    assert labels["labels"] == ["input, t-2", "input, t-1", "input, t0", *(f"forecast, +{n}" for n in range(1, 5))]


def test_a_page_without_sequences_or_runs(tmp_path):
    root = read(page(tmp_path, evaluation(keep=0, sequences=1), record={"data": {"name": "mine"}}, split="train"))
    assert len(root.all("article")) == 1
    result = evaluation(keep=0)
    result.best, result.worst = [], []
    root = read(page(tmp_path, result, split="train"))
    assert [tag.attributes["id"] for tag in root.all("section")] == ["scores", "leads", "runs"]
    assert root.all("h1")[0].text() == "Forecasts of model"
    assert "3 sequences of split train, 4 frames ahead" in root.all("header")[0].text()
    heads, rows = cells(of("runs", root), "Training, code and machine")
    assert heads == ["", "this evaluation"]
    assert "processor" in rows


def test_runs_are_told_beside_each_other_and_beside_others(rain, tmp_path):
    runs = tmp_path / "runs"
    checkpoints = {ODD: run(runs / "a"), "second": run(runs / "b", rate=0.003)}
    run(runs / "c", rate=0.1)
    (runs / "notes").mkdir()
    (runs / "link").symlink_to(runs / "c")
    root = read(page(tmp_path, rain, checkpoints=checkpoints, record={"steps": {ODD: 20}}, rain=Rain()))
    section = of("runs", root)
    heads, rows = cells(section, "Runs, and the keys of the configuration in which they differ")
    assert heads == ["run", "evaluated", "status", "step", "best validation", "schedule.learning_rate"]
    assert rows == {
        ODD: ["here", "finished", "30 of 30", "val_loss 0.5000 at 30", "0.001"],
        "second": ["here", "finished", "30 of 30", "val_loss 0.5000 at 30", "0.003"],
        "c": ["beside", "finished", "30 of 30", "val_loss 0.5000 at 30", "0.1"],
    }
    heads, rows = cells(section, "Training, code and machine")
    assert heads == ["", ODD, "second", "this evaluation"]
    assert rows["checkpoint of step"][:2] == ["20", "-"]
    assert rows["trained for"][0] == "1 h 2 min"
    assert rows["commit"][0] == "0123456789abcdef, with changes"
    assert (rows["processor"][0], rows["memory (GiB)"][0], rows["versions"][0]) == ("Abacus 3000", "7.5", "mlx 9.8.7")
    heads, rows = cells(section, "Configuration; keys in colour differ")
    assert rows["schedule.learning_rate"] == ["0.001", "0.003"]
    assert [tag.text() for tag in section.all("span", class_="differs")] == ["schedule.learning_rate"]
    charts = of("training", root).all("svg", role="img")
    assert [tag.all("title")[0].text() for tag in charts] == ["training loss", "validation loss"]
    assert "second: from 0.6000 at 20 to 0.5000 at 30." in charts[1].all("desc")[0].text()
    assert root.all("h1")[0].text() == f"Forecasts of {ODD}, second"


def test_a_checkpoint_alone_has_a_page(rain, tmp_path):
    alone = run(tmp_path / "runs" / "a").rename(tmp_path / "alone")
    root = read(page(tmp_path, rain, checkpoints={ODD: alone}, rain=Rain()))
    assert "There is no other run beside this one." in of("runs", root).text()
    assert cells(of("runs", root), "Configuration")[1]["schedule.learning_rate"] == ["0.001"]
    assert not [tag for tag in root.all("section") if tag.attributes["id"] == "training"]


def test_of_many_runs_beside_the_newest_are_told(rain, tmp_path, monkeypatch):
    import os

    from convlstm.report.page import about

    monkeypatch.setattr(about, "MOST_OTHERS", 2)
    runs = tmp_path / "runs"
    best = run(runs / "a")
    for n, name in enumerate("bcd"):
        run(runs / name)
        os.utime(runs / name / "config.yaml", (n, n))
    rows = cells(of("runs", read(page(tmp_path, rain, checkpoints={ODD: best}, rain=Rain()))),
                 "Runs, and the keys of the configuration in which they differ")[1]  # fmt: skip
    assert list(rows) == ["a", "c", "d"]


def test_sixteen_sequences_stay_below_fifteen_megabytes(tmp_path, rng):
    """Noise at every pixel is the worst there is."""
    result = evaluation(sequences=1, keep=0)
    result.best, result.worst = [], []
    noise = {"inputs": rng.random((2, 96, 96, 3)).astype(np.float32)}
    example = type(evaluation().examples[0])
    for n in range(16):
        forecasts = {name: rng.random((6, 96, 96, 3)).astype(np.float32) for name in ("model", "persistence")}
        result.examples.append(example(n, noise["inputs"], rng.random((6, 96, 96, 3)).astype(np.float32), forecasts))
    path = page(tmp_path, result)
    assert path.stat().st_size < 15_000_000
    assert len(read(path).all("article")) == 16
    assert "1/" not in of("forecasts", read(path)).text()
