"""HTML from Python. All text is escaped, so that no name of a run can become markup."""

from __future__ import annotations

import html
import json
import re
from collections.abc import Iterable, Sequence
from typing import Any

VOID = frozenset({"br", "col", "img", "input", "link", "meta"})
# Characters that no HTML document may hold, escaped or not.
_FORBIDDEN = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff\ufffe\uffff]")


class Markup(str):
    """Text that is HTML already."""

    __slots__ = ()


def text(value: Any) -> Markup:
    """Returns a value as text of a page; `Markup` stays unchanged."""
    if isinstance(value, Markup):
        return value
    return Markup(html.escape(_FORBIDDEN.sub("\ufffd", str(value)), quote=True))


def element(tag: str, /, *content: Any, **attributes: Any) -> Markup:
    """Returns an element of HTML.

    Args:
        tag: Name of the element, such as "p".
        content: Texts, `Markup`, or iterables of them; None is left out.
        attributes: Attributes, with underscores for hyphens and one underscore at the end if needed: `aria_label`,
            `class_`. True gives an attribute without a value; None and False are left out.
    """
    written = "".join(
        _attribute(key, value) for key, value in attributes.items() if value is not None and value is not False
    )
    if tag in VOID:
        return Markup(f"<{tag}{written}>")
    return Markup(f"<{tag}{written}>{''.join(_flat(content))}</{tag}>")


def _attribute(key: str, value: Any) -> str:
    name = key.rstrip("_").replace("_", "-")
    return f" {name}" if value is True else f' {name}="{text(value)}"'


def _flat(content: Iterable[Any]) -> Iterable[Markup]:
    for item in content:
        if isinstance(item, str) or not isinstance(item, Iterable):
            if item is not None:
                yield text(item)
        else:
            yield from _flat(item)


def data(value: Any, **attributes: Any) -> Markup:
    """Returns a value for the page's own script, as JSON in a `script` that is not run."""
    # A script must not contain "</script>" or "<!--", and HTML's escapes have no effect in it.
    safe = json.dumps(value, allow_nan=False, separators=(",", ":")).replace("<", "\\u003c")
    return element("script", Markup(safe), type="application/json", **attributes)


def table(
    heads: Sequence[Any],
    rows: Iterable[Sequence[Any]],
    *,
    caption: str,
    best: Iterable[tuple[int, int]] = (),
    numbers: bool = True,
) -> Markup:
    """Returns a table that scrolls on its own if it is wider than the page. The first cell of a row is its heading.

    Args:
        heads: Headings of the columns.
        rows: Cells, the same number in each row.
        caption: Title of the table.
        best: Row and column of the cells that are marked as the best, counted from 0 without the headings.
        numbers: True if the cells are numbers, which are aligned at the right. Default: True.
    """
    marked = set(best)

    def row(r: int, cells: Sequence[Any]) -> Markup:
        first, *others = cells
        return element(
            "tr",
            element("th", first, scope="row"),
            [
                element("td", element("strong", cell, " \u2605") if (r, c) in marked else cell)
                for c, cell in enumerate(others)
            ],
        )

    return element(
        "div",
        element(
            "table",
            element("caption", element("span", caption)),
            element("thead", element("tr", [element("th", head, scope="col") for head in heads])),
            element("tbody", [row(r, cells) for r, cells in enumerate(rows)]),
            class_="numbers" if numbers else "words",
        ),
        class_="scroll",
        role="region",
        tabindex="0",
        aria_label=caption,
    )
