"""The table of attacks: it is long, and it notices what an attack must not achieve."""

from __future__ import annotations

from fault_tests.attacks import listed
from fault_tests.attacks.stage import SECRET, Attack, Stage, Templates

import pytest


@pytest.fixture
def stage(tmp_path, monkeypatch):
    monkeypatch.setattr(Templates, "__init__", lambda self, folder: setattr(self, "seconds", 5.0))
    return Stage(tmp_path / "stage", Templates(tmp_path))


def test_there_are_many_attacks_with_different_names():
    names = [(attack.kind, attack.name) for attack in listed()]
    assert len(names) == len(set(names)) > 120


@pytest.mark.parametrize(
    ("code", "harmless", "lost"),
    [
        ("import os; os.mkdir('../canary')", None, "a stranger's code has run"),
        ("print(open('../victim/secret').read())", None, "a text of another file appears"),
        ("open('copy', 'w').write(open('../victim/secret').read())", None, "a text of another file appears"),
        ("open('../victim/secret', 'a').write('more')", None, "another file has changed"),
        ("print('\\x1b[2J')", None, "a control character reaches the terminal"),
        ("1 / 0", None, "a traceback"),
        ("import os; os.abort()", None, "it ended with status -6"),
        ("import sys; sys.exit(1)", None, "it ended without a message"),
        ("import sys; sys.exit('refused')", True, "it ended with status 1: refused"),
        ("print('all is well')", False, "it ended with status 0: all is well"),
        (
            "import os; os.mkdir('../out'); open('../out/a', 'w'); exit('refused')",
            False,
            "has written results",
        ),
        ("print('all is well')", True, ""),
        ("import sys; sys.exit('refused')", False, ""),
    ],
)
def test_what_an_attack_achieves_is_lost(code, harmless, lost, stage):
    found, _, _ = stage.perform(Attack("a row", "a name", lambda stage: ["-c", code], harmless))
    assert lost in found if lost else not found
    assert SECRET not in found or lost
