"""The program's name, and the command lines that it prints and starts."""

import shlex
import sys

from convlstm.cli.command_line import assignment, command, program, restart, typed

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser


@pytest.mark.parametrize(
    ("started", "argv", "name", "words", "process"),
    [
        (["python", "train.py", "a=1"], ["train.py", "a=1"], "train.py", ["python", "evaluate.py"], ["train.py"]),
        (
            ["/v/python", "/v/bin/convlstm", "train", "a=1"],
            ["convlstm train", "a=1"],
            "convlstm train",
            ["convlstm", "evaluate"],
            ["/v/bin/convlstm", "train"],
        ),
        (
            ["python", "-X", "dev", "-m", "convlstm.cli", "train", "name=train"],
            ["convlstm train", "name=train"],
            "convlstm train",
            ["convlstm", "evaluate"],
            ["-X", "dev", "-m", "convlstm.cli", "train"],
        ),
    ],
)
def test_a_program_is_named_and_started_again_as_it_was_started(started, argv, name, words, process, monkeypatch):
    monkeypatch.setattr(sys, "orig_argv", started)
    monkeypatch.setattr(sys, "argv", argv)
    assert program() == name
    assert typed("evaluate") == words
    assert restart(["b=2"]) == [sys.executable, *process, "b=2"]


def test_a_script_elsewhere_is_named_with_its_folder(tmp_path, monkeypatch):
    (tmp_path / "evaluate.py").touch()
    monkeypatch.setattr(sys, "argv", [str(tmp_path / "train.py")])
    assert program() == "train.py"
    assert typed("evaluate") == ["python", str(tmp_path / "evaluate.py")]


@pytest.mark.parametrize("value", ["runs/a", "/my runs/b", 'a "quoted" one', "übung", "a=b", 3, "it's"])
def test_values_come_back_from_a_command_line(value, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["train.py"])
    words = shlex.split(command("evaluate", "split=test", ckpt=value))
    assert words[:3] == ["python", "evaluate.py", "split=test"]
    assert words[3] == assignment("ckpt", value)
    assert OverridesParser.create().parse_override(words[3]).value() == value
