"""The pages in docs/ and the README: links lead somewhere, keys and choices that are named exist."""

from __future__ import annotations

import re

from tests.support.project import PROJECT

import pytest
import yaml

DOCS = PROJECT / "docs"
PAGES = [PROJECT / "README.md", PROJECT / "CONTRIBUTING.md", *sorted(DOCS.glob("*.md"))]
CONFIGS = PROJECT / "configs"
GROUPS = sorted(path.name for path in CONFIGS.iterdir() if path.is_dir() and path.name != "experiment")

# Files and attributes whose names look like keys, and `model.output`, which only converted checkpoints have.
NO_KEYS = ("py", "yaml", "safetensors", "stream", "ranks", "output")


def anchors(text):
    """The anchors that a page's headings have."""
    headings = re.findall(r"^#+ (.*)$", re.sub(r"```.*?```", "", text, flags=re.DOTALL), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page):
    for link in re.findall(r"\]\((?!https?:)([^)\s]+)\)", page.read_text(encoding="utf-8")):
        path, _, anchor = link.partition("#")
        there = page if not path else page.parent / path
        assert there.exists(), link
        if anchor:
            assert anchor in anchors(there.read_text(encoding="utf-8")), link


def test_the_index_names_every_page():
    listed = re.findall(r"^\| \[(\S+\.md)\]", (DOCS / "README.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert sorted(listed) == sorted(path.name for path in DOCS.glob("*.md") if path.name != "README.md")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_keys_and_choices_exist(page):
    text = page.read_text(encoding="utf-8")
    known = {group: set() for group in GROUPS}
    for group in GROUPS:
        for path in (CONFIGS / group).glob("*.yaml"):
            known[group] |= set(yaml.safe_load(path.read_text(encoding="utf-8")))
    for group, key in re.findall(rf"(?<![\w./])({'|'.join(GROUPS)})\.(\w+)(?=[=.`,;) ])", text):
        if key not in NO_KEYS:
            assert key in known[group], f"{group}.{key}"
    for group, choice in re.findall(rf"(?<![\w.])({'|'.join([*GROUPS, 'experiment'])})=([a-z]\w*)(?=[` )])", text):
        # A page may tell how to add one.
        own = f"`configs/{group}/{choice}.yaml`" in text
        assert own or (CONFIGS / group / f"{choice}.yaml").is_file(), f"{group}={choice}"
