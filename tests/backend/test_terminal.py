"""Text whose control characters must not reach a terminal."""

from __future__ import annotations

import io
import sys

from convlstm.backend.terminal import printable, printable_output
from convlstm.runs.__main__ import main
from tests.support.forecast_runs import write_run

import pytest


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("plain ä 漢 \t\n", "plain ä 漢 \t\n"),
        ("\x1b[31mred", "\\x1b[31mred"),
        ("\x9b2J\x7f\0\b", "\\x9b2J\\x7f\\x00\\x08"),
        ("a\rb", "a\\rb"),
        ("\u202egnp.exe", "\\u202egnp.exe"),
    ],
)
def test_control_characters_are_written_as_escapes(text, expected):
    assert printable(text) == expected
    assert printable("\r\x1b", rewriting=True) == "\r\\x1b"


def test_output_is_printable_for_a_while(monkeypatch):
    out, err = io.StringIO(), io.StringIO()
    monkeypatch.setattr(sys, "stdout", out)
    monkeypatch.setattr(sys, "stderr", err)
    with printable_output():
        print("\x1b[1mbold")
        print("\rbar\x1b[A", file=sys.stderr)
    print("\x1b")
    assert (out.getvalue(), err.getvalue()) == ("\\x1b[1mbold\n\x1b\n", "\rbar\\x1b[A\n")


def test_closed_streams_stay_closed(monkeypatch):
    monkeypatch.setattr(sys, "stdout", None)
    with printable_output():
        print("nowhere")
        assert sys.stdout is None


def test_the_list_of_runs_shows_no_escape_sequence(tmp_path, capsys):
    write_run(tmp_path / "a\x1b]0;title\x07")
    main([str(tmp_path)])
    out, err = capsys.readouterr()
    assert not set(out + err) & set("\x1b\x07")
