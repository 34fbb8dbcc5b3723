"""HTML from Python."""

import json
import math

from convlstm.report.page.markup import Markup, data, element, table
from tests.support.pages import ODD, Reader

import pytest


def test_text_is_escaped_everywhere():
    made = element(
        "p", ODD, ["a", None, element("b", 3)], title=ODD, hidden=True, lang=None, aria_label="x", class_="y"
    )
    (tag,) = Reader(made).root.inside
    assert tag.attributes == {"title": ODD, "hidden": None, "aria-label": "x", "class": "y"}
    assert (tag.words, tag.all("b")[0].words, tag.all("script")) == (ODD + "a", "3", [])
    assert element("p", Markup("<i></i>")) == "<p><i></i></p>"
    assert element("br") == "<br>"


def test_forbidden_characters_are_replaced():
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
