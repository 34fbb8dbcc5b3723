"""report.html as a whole: complete, safe, readable for all, also with bad or odd input."""

import base64
import hashlib
import json
import re

from tests.support.pages import ODD, Rain, cells, evaluation, of, page, read, run

import pytest


@pytest.fixture(scope="module")
def rain():
    return evaluation((ODD, "second"), rain=Rain())


def test_a_page_is_complete_and_needs_no_other_file(rain, tmp_path):
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


def test_one_lead_of_one_sequence(tmp_path):
    root = read(page(tmp_path, evaluation(rain=Rain(), sequences=1, horizon=1, keep=1), rain=Rain()))
    assert "1 sequence of split test, 1 frame ahead" in root.all("header")[0].text()
    assert root.all("input")[0].attributes["max"] == "3"


def test_three_hundred_leads(tmp_path):
    root = read(page(tmp_path, evaluation(rain=Rain(), sequences=1, horizon=300, size=(8, 8), keep=1), rain=Rain()))
    assert root.all("input")[0].attributes["max"] == "302"
    content = json.loads(root.all("script", class_="film-data")[0].words)
    assert len(content["labels"]) == len(content["panels"][0]["frames"]) == 303
    heads, _ = cells(of("leads", root), "MSE per frame by lead time (h); lower is better")
    assert heads[-1] == "+25"


@pytest.mark.parametrize(("size", "wide"), [((2, 200), True), ((200, 2), False), ((1, 1), False), ((2, 2), False)])
def test_frames_of_odd_sizes(size, wide, tmp_path):
    for rain in (None, Rain()):
        root = read(page(tmp_path, evaluation(rain=rain, size=size, horizon=2, missing=False), rain=rain))
        panels = root.all("article")[0].all("div")
        assert any(tag.attributes["class"] == ("panels wide" if wide else "panels") for tag in panels)
        image = root.all("img")[0].attributes
        assert (int(image["height"]), int(image["width"])) == size
