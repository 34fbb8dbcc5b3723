"""The list of forecasts in a folder: what is deleted, and what never is."""

from __future__ import annotations

import time

from convlstm.cli.forecast_ledger import NAME, Ledger
from tests.support.radar_archives import time_of

import pytest


def names(folder):
    return sorted(path.name for path in folder.glob("forecast_*.npy"))


def name(index):
    return f"forecast_{str(time_of(index)).replace('-', '').replace(':', '')}"


@pytest.fixture
def folder(tmp_path):
    """Returns a function that writes the forecast of a number as two files and adds it to a list."""

    def write(ledger, number):
        paths = [ledger.folder / f"{name(number)}{ending}" for ending in (".npy", ".json")]
        for path in paths:
            path.write_text(f"{number}")
        ledger.add(name(number), time_of(number), paths)
        return ledger.prune()

    return write


def test_the_last_forecasts_are_kept(tmp_path, folder):
    ledger = Ledger(tmp_path, keep=2)
    deleted = [folder(ledger, n) for n in range(4)]
    assert deleted == [[], [], [name(0)], [name(1)]]
    assert sorted(path.name for path in tmp_path.iterdir() if path.name != NAME) == sorted(
        f"{name(n)}{end}" for n in (2, 3) for end in (".npy", ".json")
    )
    assert ledger.last == time_of(3)
    again = Ledger(tmp_path, keep=1)
    assert again.last == time_of(3)
    assert again.prune() == [name(2)], "a restart knows what was written before"


def test_forecasts_are_kept_for_hours(tmp_path, folder, monkeypatch):
    ledger, now = Ledger(tmp_path, keep_hours=2), time.time()
    for n in range(3):
        monkeypatch.setattr(time, "time", lambda n=n: now + 3600 * n)
        assert folder(ledger, n) == []
    monkeypatch.setattr(time, "time", lambda: now + 3600 * 3.5)
    assert ledger.prune() == [name(0), name(1)]
    assert names(tmp_path) == [f"{name(2)}.npy"]


def test_what_it_has_not_written_stays(tmp_path, folder):
    ledger = Ledger(tmp_path, keep=1)
    folder(ledger, 0)
    (tmp_path / f"{name(0)}.npy").write_text("changed by hand")
    (tmp_path / f"{name(9)}.npy").write_text("copied by hand")
    (tmp_path / "notes.txt").write_text("mine")
    link = tmp_path / f"{name(0)}.json"
    link.rename(tmp_path / "elsewhere.json")
    link.symlink_to("elsewhere.json")
    assert folder(ledger, 1) == []
    left = {path.name for path in tmp_path.iterdir()}
    assert {f"{name(0)}.npy", f"{name(0)}.json", f"{name(9)}.npy", "notes.txt", "elsewhere.json"} <= left


@pytest.mark.parametrize(
    "text",
    [
        "no JSON",
        "{}",
        '{"forecasts": {"../x": {"issued": "2020-01-01", "written": 1, "files": {"../x": [1, 1]}}}}',
        '{"forecasts": {"a": {"issued": "2020-01-01", "written": 1, "files": {"b": [1, 1]}}}}',
        '{"forecasts": {"a": {"issued": "x", "written": 1, "files": {}}}}',
    ],
)
def test_a_list_that_cannot_be_used_deletes_nothing(tmp_path, folder, capsys, text):
    (tmp_path / NAME).write_text(text)
    ledger = Ledger(tmp_path, keep=1)
    assert "cannot be used, so earlier forecasts are not deleted" in capsys.readouterr().out
    assert (ledger.last, ledger.prune()) == (None, [])
