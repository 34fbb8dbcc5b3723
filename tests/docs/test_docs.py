"""The pages in docs/ and the README: their links, keys and choices exist."""

from __future__ import annotations

import re

from tests.support.project import PROJECT

import pytest
import yaml

DOCS = PROJECT / "docs"
PAGES = [PROJECT / "README.md", PROJECT / "CONTRIBUTING.md", *sorted(DOCS.glob("*.md"))]
CONFIGS = PROJECT / "configs"
GROUPS = sorted(path.name for path in CONFIGS.iterdir() if path.is_dir() and path.name != "experiment")

# Names of files and attributes that look like keys, `model.output`, which only converted checkpoints have, and
# `loss.delta` of a class that a reader writes, and a placeholder.
NO_KEYS = ("py", "yaml", "safetensors", "stream", "ranks", "output", "delta", "KEY")


def anchors(text):
    """Returns the anchors of a page's headings."""
    headings = re.findall(r"^#+ (.*)$", re.sub(r"```.*?```", "", text, flags=re.DOTALL), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_exist(page):
    for link in re.findall(r"\]\((?!https?:)([^)\s]+)\)", page.read_text(encoding="utf-8")):
        path, _, anchor = link.partition("#")
        target = page if not path else page.parent / path
        assert target.exists(), link
        if anchor:
            assert anchor in anchors(target.read_text(encoding="utf-8")), link


def test_the_index_lists_every_page():
    listed = re.findall(r"^\| \[(\S+\.md)\]", (DOCS / "README.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert sorted(listed) == sorted(path.name for path in DOCS.glob("*.md") if path.name != "README.md")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_keys_and_choices_exist(page):
    text = page.read_text(encoding="utf-8")
    keys = {group: set() for group in GROUPS}
    for group in GROUPS:
        for path in (CONFIGS / group).glob("*.yaml"):
            keys[group] |= set(yaml.safe_load(path.read_text(encoding="utf-8")))
    for group, key in re.findall(rf"(?<![\w./])({'|'.join(GROUPS)})\.(\w+)(?=[=.`,;) ])", text):
        if key not in NO_KEYS:
            assert key in keys[group], f"{group}.{key}"
    for group, choice in re.findall(rf"(?<![\w.])({'|'.join([*GROUPS, 'experiment'])})=([a-z]\w*)(?=[` )])", text):
        example = f"configs/{group}/{choice}.yaml`" in text  # of a choice that a reader adds
        assert example or (CONFIGS / group / f"{choice}.yaml").is_file(), f"{group}={choice}"
