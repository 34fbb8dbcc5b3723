"""The frame of a page of HTML that needs no other file: its head, and a policy that forbids all requests."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from convlstm.report.page.markup import Markup, element

STYLE = Path(__file__).with_name("page.css")
"""The styles that all pages share."""


def document(title: str, body: Any, *, generator: str, style: str, scripts: Sequence[str]) -> str:
    """Returns a page as text.

    Args:
        title: Its title.
        body: What is in it, before the scripts.
        generator: The program that writes it, as the head names it.
        style: Its styles.
        scripts: The sources of its scripts, in the order in which they run. Others do not run, see the policy.
    """
    allowed = " ".join(map(_hash, scripts))
    policy = f"default-src 'none'; img-src data:; style-src {_hash(style)}; script-src {allowed}; base-uri 'none'"
    head = [
        element("meta", charset="utf-8"),
        element("meta", http_equiv="Content-Security-Policy", content=policy),
        element("meta", name="generator", content=generator),
        element("meta", name="viewport", content="width=device-width, initial-scale=1"),
        element("meta", name="color-scheme", content="light dark"),
        element("title", title),
        element("link", rel="icon", href="data:,"),
        element("style", Markup(style)),
    ]
    body = [body, [element("script", Markup(script)) for script in scripts]]
    return f"<!DOCTYPE html>\n{element('html', element('head', head), element('body', body), lang='en')}\n"


def _hash(source: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(source.encode()).digest()).decode()}'"
