"""The site of the documentation: mkdocs.yml names every page and no other, and the reference names what exists."""

from __future__ import annotations

import re
from importlib import import_module

from tests.support.project import PROJECT

import pytest
import yaml

DOCS = PROJECT / "docs"


class Loader(yaml.SafeLoader):
    """Reads mkdocs.yml without MkDocs: tags that name a Python object are skipped."""


Loader.add_multi_constructor("tag:yaml.org,2002:python/", lambda loader, suffix, node: suffix)


def settings():
    return yaml.load((PROJECT / "mkdocs.yml").read_text(encoding="utf-8"), Loader)


def leaves(nav):
    """Yields the pages of a navigation."""
    for entry in nav:
        if isinstance(entry, str):
            yield entry
        else:
            for value in entry.values():
                yield from [value] if isinstance(value, str) else leaves(value)


def test_the_navigation_has_every_page_once_and_no_other():
    tutorials = {f"tutorials/{path.stem}.md" for path in (DOCS / "tutorials").glob("*.py")}
    pages = {path.relative_to(DOCS).as_posix() for path in DOCS.rglob("*.md")}
    assert len(tutorials) == 4
    assert sorted(leaves(settings()["nav"])) == sorted(pages | tutorials)


def test_files_that_the_settings_name_exist():
    given = settings()
    assert [path for path in (given["docs_dir"], *given["hooks"]) if not (PROJECT / path).exists()] == []
    assert f"/{given['site_dir']}/" in (PROJECT / ".gitignore").read_text(encoding="utf-8").splitlines()


def test_the_site_asks_for_nothing_from_elsewhere():
    given = settings()
    assert given["theme"]["font"] is False
    assert not {"extra_css", "extra_javascript", "extra"} & set(given)


@pytest.mark.parametrize("page", sorted((DOCS / "api").glob("*.md")), ids=lambda page: page.stem)
def test_the_reference_names_what_exists_and_is_described(page):
    names = re.findall(r"^::: (\S+)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    assert names or page.name == "README.md"
    for name in names:
        module, _, last = name.rpartition(".")
        try:
            thing = getattr(import_module(module), last)
        except AttributeError:
            thing = import_module(name)
        assert thing.__doc__, name


def test_every_page_of_the_reference_is_in_its_list():
    listed = re.findall(r"\]\((\w+\.md)\)", (DOCS / "api" / "README.md").read_text(encoding="utf-8"))
    assert sorted(listed) == sorted(path.name for path in (DOCS / "api").glob("*.md") if path.name != "README.md")


def test_the_gallery_shows_every_picture_and_every_tutorial():
    page = (DOCS / "gallery.md").read_text(encoding="utf-8")
    shown = re.findall(r"\]\((gallery/\S+\.png)\)", page)
    pictures = sorted(path.relative_to(DOCS).as_posix() for path in (DOCS / "gallery").iterdir())
    assert sorted(shown) == pictures
    assert {path.rpartition("-")[0] for path in pictures} == {
        f"gallery/{p.stem}" for p in (DOCS / "tutorials").glob("*.py")
    }
