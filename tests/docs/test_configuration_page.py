"""docs/configuration.md agrees with the files in configs/ and describes all of them."""

from __future__ import annotations

from docs.configuration_page import COMMANDS, CONFIGS, PAGE, WRITES, Page, arguments, choice, render, table

import pytest
import yaml


def keys(settings, prefix=""):
    """Yields the keys of a file, as they are written on the command line."""
    for name, value in settings.items():
        if name in ("defaults", "hydra", "_target_"):
            continue
        if isinstance(value, dict) and value and "_target_" not in value:
            yield from keys(value, f"{prefix}{name}.")
        elif not isinstance(value, dict):
            yield f"{prefix}{name}"


def test_the_page_is_up_to_date():
    assert PAGE.read_text(encoding="utf-8") == render(), f"docs/configuration.md is out of date: run `{WRITES}`."


def test_every_choice_of_every_group_is_described():
    page = PAGE.read_text(encoding="utf-8")
    files = list(CONFIGS.glob("*/*.yaml"))
    assert len(files) > 40
    assert [f.stem for f in files if f"\n### `{f.parent.name}={f.stem}`\n" not in page] == []


@pytest.mark.parametrize("command", COMMANDS)
def test_every_key_of_a_command_has_a_row(command):
    settings = yaml.safe_load((CONFIGS / f"{command}.yaml").read_text(encoding="utf-8"))
    lines = table(Page(CONFIGS / f"{command}.yaml"))
    assert [line.split("`")[1] for line in lines if line.startswith("| `")] == list(keys(settings))


@pytest.mark.parametrize("group", ["model", "data", "trainer", "schedule", "sampling", "optimizer"])
def test_every_key_of_a_choice_has_a_row(group):
    for path in (CONFIGS / group).glob("*.yaml"):
        text = "\n".join(choice(path, group))
        for key in keys(yaml.safe_load(path.read_text(encoding="utf-8"))):
            if not key.startswith(("downsample", "upsample")):
                assert f"| `{group}.{key}` |" in text or f"| `{group}.{key}.0" in text, (path, key)


def test_comments_reach_their_keys(tmp_path):
    (tmp_path / "base.yaml").write_text("_target_: convlstm.losses.Balanced\n# Said by the base.\nb: 0\n")
    (tmp_path / "mine.yaml").write_text(
        "# What it is\ndefaults:\n  - base\n  - _self_\n\n# Why this,\n# in two lines\na: 1\n# Under it.\n\nb: 2\n"
        "c:\n  # Inside.\n  d: [1, 2]\n  e: x | y\nlist:\n  - one\n  - two\nhydra: {x: 1}\nsquared: 1.0\n"
    )
    page = Page(tmp_path / "mine.yaml")
    assert (page.header, page.bases) == ("What it is.", ["base"])
    assert table(page, "g.")[3:] == [
        "| `g.a` | `1` | Why this, in two lines. Under it. |",
        "| `g.b` | `2` | Said by the base. |",
        "| `g.c.d` | `[1, 2]` | Inside. |",
        "| `g.c.e` | `x \\| y` |  |",
        "| `g.list` | `[one, two]` |  |",
        "| `g.squared` | `1.0` | Factor of the squared error. |",
    ]


def test_an_argument_without_a_comment_has_the_words_of_its_docstring():
    decommandions = arguments("convlstm.training.loop.Trainer")
    assert decommandions["max_steps"] == "Number of optimizer steps, skipped ones included."
    assert arguments("convlstm.datasets.transforms.LogRain") == {
        "minimum": "Rain rate of `y = 0` in mm/h.",
        "maximum": "Rain rate of `y = 1` in mm/h.",
    }
    assert arguments("mlx.optimizers.Adam") == {}
