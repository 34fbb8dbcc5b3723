"""Forecasts as animations in the page."""

import base64
import json

from convlstm.report.page import films, frames
from convlstm.report.rain_scale import rain_scale
from convlstm.report.shown_sequences import selected
from tests.support.pages import ODD, Rain, evaluation, of, page, picture, read

import numpy as np
import pytest


@pytest.fixture(scope="module")
def rain():
    return evaluation((ODD, "second"), rain=Rain())


@pytest.fixture(scope="module")
def digits():
    return evaluation(missing=False)


def test_pictures_shrink_to_the_budget(rain):
    field = films.Field(Rain(), "test", 2.0)
    shown = [film for kind, example in selected(rain) for film in films.films_of(kind, example, field)]
    scales = films.scales_of(shown, "mm/h")
    whole = films.drawn_films(shown, scales)
    assert (whole.times, whole.sizes[0]) == (1, (32, 24))
    small = films.drawn_films(shown, scales, budget=3 * whole.album.size // 4)
    assert small.album.size <= 3 * whole.album.size // 4
    assert small.times > 1


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
    # The inputs are stored once, and so is the frame that persistence repeats.
    assert len({panel["frames"][0] for panel in content["panels"]}) == 1
    assert len(set(content["panels"][3]["frames"][3:])) == 1
    images = article.all("img")
    assert images[0].attributes["src"] == films.source(pictures[content["panels"][0]["frames"][3]])
    assert images[0].attributes["alt"] == f"truth, sequence {example.index}: {content['labels'][3]}"
    slider = article.all("input")[0].attributes
    assert (slider["min"], slider["max"], slider["value"]) == ("0", "6", "3")
    assert slider["aria-valuetext"] == content["labels"][3]
    score = films.films_of("best", example, films.Field(Rain(), "test", 2.0))[0].scores
    assert score[ODD][-1] == pytest.approx(rain.best[0].score)
    assert content["scores"][0] is None
    assert content["scores"][1][0] == f"CSI at 2 mm/h {float(f'{score[ODD][0]:.4g}'):#.4g}".rstrip(".")


def test_the_legend_has_the_classes_and_missing_pixels(rain, tmp_path):
    root = read(page(tmp_path, rain, rain=Rain()))
    key = root.all("div", class_="key")[0]
    words = [item.text() for item in key.all("li")]
    assert (words[0], words[4], words[-2:]) == ("below 0.1", "2\u20135", ["100 or more", "missing"])
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


def test_sixteen_sequences_stay_below_fifteen_megabytes(tmp_path, rng):
    """Noise at every pixel is the worst case."""
    result = evaluation(sequences=1, keep=0)
    result.best, result.worst = [], []
    noise = {"inputs": rng.random((2, 96, 96, 3)).astype(np.float32)}
    example = type(evaluation().examples[0])
    for n in range(16):
        forecasts = {name: rng.random((6, 96, 96, 3)).astype(np.float32) for name in ("model", "persistence")}
        truth = rng.random((6, 96, 96, 3)).astype(np.float32)
        result.examples.append(example(n, noise["inputs"], truth, truth, forecasts))
    path = page(tmp_path, result)
    assert path.stat().st_size < 15_000_000
    assert len(read(path).all("article")) == 16
    assert "1/" not in of("forecasts", read(path)).text()
