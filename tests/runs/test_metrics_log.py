"""metrics.csv and metrics.jsonl."""

from __future__ import annotations

import errno
import json
import math
import os

from convlstm.runs import metrics_log as module
from convlstm.runs.folder import LAST, RunFolder
from convlstm.runs.metrics_log import MetricsLog, numbers
from convlstm.runs.progress import Progress

import mlx.nn as nn
import mlx.optimizers as optim
import pytest

COLUMNS = ["step", "loss", "score"]


@pytest.fixture
def place(tmp_path):
    return tmp_path / "metrics.csv"


def lines(place):
    return [json.loads(line) for line in place.with_suffix(".jsonl").read_text().splitlines()]


def test_rows_have_all_digits_and_blanks_for_missing_values(place):
    log = MetricsLog(place, COLUMNS)
    log.add({"step": 1, "loss": 0.1 + 0.2})
    log.add({"step": 2, "loss": 1e-9, "score": 3})
    assert place.read_text() == "step,loss,score\n1,0.30000000000000004,\n2,1e-09,3\n"
    assert lines(place) == [{"step": 1, "loss": 0.1 + 0.2}, {"step": 2, "loss": 1e-9, "score": 3}]


def test_values_that_are_not_finite_are_null_in_json(place):
    log = MetricsLog(place, COLUMNS)
    log.add({"step": 1, "loss": math.nan, "score": math.inf})
    assert place.read_text().splitlines()[1] == "1,nan,inf"
    assert lines(place) == [{"step": 1, "loss": None, "score": None}]


def test_rows_after_the_step_and_a_torn_line_are_dropped(place):
    log = MetricsLog(place, COLUMNS)
    log.add({"step": 1, "loss": 0.1 + 0.2})
    log.add({"step": 2, "loss": 1e-9, "score": 3})
    with place.open("ab") as file:
        file.write(b"7,1,2,3\n8,1\n\xc2\xb2,1,2\n\xff,1,2\n3,0.5,1.2")
    assert [row["step"] for row in MetricsLog.read(place)] == ["1", "2"], "the rest of the last number may be missing"

    log = MetricsLog(place, ["step", "loss", "more"], step=1)
    assert log.earlier_rows == [{"step": 1, "loss": 0.1 + 0.2}]
    log.add({"step": 2, "loss": 0.5, "more": 1})
    assert place.read_text() == "step,loss,more\n1,0.30000000000000004,\n2,0.5,1\n"
    assert lines(place) == [{"step": 1, "loss": 0.1 + 0.2}, {"step": 2, "loss": 0.5, "more": 1}]

    assert MetricsLog(place, ["step"]).earlier_rows == []
    assert place.read_text() == "step\n"
    place.write_text("")
    assert MetricsLog.read(place) == []
    assert sorted(path.name for path in place.parent.iterdir()) == ["metrics.csv", "metrics.jsonl"]


@pytest.mark.parametrize(
    "noise", ["\x04X\r\x86", '1"2\n3"4', "\0", "9" * 200_000, '"'], ids=lambda text: repr(text)[:8]
)
def test_noise_is_no_row(place, noise):
    place.write_bytes(f"step,loss\n1,0.5\n{noise}\n2,0.25\n{noise}".encode())
    assert MetricsLog.read(place) == [{"step": "1", "loss": "0.5"}, {"step": "2", "loss": "0.25"}]


def test_missing_json_lines_are_written_from_the_rows(place):
    place.write_text("step,loss,score\n1,0.5,\n2,nan,7\n")
    MetricsLog(place, COLUMNS, step=9)
    assert lines(place) == [{"step": 1, "loss": 0.5}, {"step": 2, "loss": None, "score": 7}]
    assert place.read_text() == "step,loss,score\n1,0.5,\n2,nan,7\n"


def test_a_full_disk_tears_no_row_and_loses_none(place, monkeypatch):
    log = MetricsLog(place, COLUMNS)
    log.add({"step": 1, "loss": 0.5})
    before, write = place.read_bytes(), os.write

    def full(descriptor, text):
        if len(text) > 3:
            return write(descriptor, text[:3])  # the disk's last bytes
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(module.os, "write", full)
        for step in (2, 3):
            with pytest.raises(OSError, match="No space left on device") as raised:
                log.add({"step": step, "loss": 0.25})
            assert raised.value.filename.startswith(str(place.with_suffix("")))
            assert place.read_bytes() == before

    log.add({"step": 4, "score": 1})
    assert place.read_text() == "step,loss,score\n1,0.5,\n2,0.25,\n3,0.25,\n4,,1\n"
    assert [row["step"] for row in lines(place)] == [1, 2, 3, 4]


def test_a_flush_puts_all_rows_on_the_disk(place, monkeypatch):
    flushed, sync = [], module.files.sync

    def counted(descriptor):
        flushed.append(os.fstat(descriptor).st_size)
        sync(descriptor)

    def full(descriptor, text):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    log = MetricsLog(place, COLUMNS)
    monkeypatch.setattr(module.files, "sync", counted)
    log.add({"step": 1, "loss": 0.5})
    assert flushed == []
    with monkeypatch.context() as patch:
        patch.setattr(module.os, "write", full)
        for write in (lambda: log.add({"step": 2, "loss": 0.25}), log.flush):
            with pytest.raises(OSError, match="No space left on device"):
                write()
    log.flush()
    assert flushed == [place.stat().st_size, place.with_suffix(".jsonl").stat().st_size]
    assert place.read_text() == "step,loss,score\n1,0.5,\n2,0.25,\n"


def test_a_checkpoint_waits_for_the_rows_before_it(tmp_path, monkeypatch):
    run = RunFolder(tmp_path, {"model": {}}, COLUMNS, step=0, keep=1, on_full_disk="warn")
    model, optimizer, write = nn.Linear(2, 1), optim.SGD(0.1), os.write

    def full(descriptor, text):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(module.os, "write", full)
        with pytest.warns(UserWarning, match=r"the row of step 3 was not written, training continues: .*No space"):
            run.add({"step": 3})
        with pytest.warns(
            UserWarning, match=r"the checkpoint of step 3 was not written, training continues: .*No space"
        ):
            assert not run.save(LAST, model, optimizer, Progress(step=3), None)
        assert not (tmp_path / LAST).exists()
    assert os.write is write
    assert run.save(LAST, model, optimizer, Progress(step=3), None)
    assert (tmp_path / LAST).exists()
    assert (tmp_path / "metrics.csv").read_text() == "step,loss,score\n3,,\n"


def test_a_disk_that_is_full_from_the_start_leaves_the_file(place, monkeypatch):
    place.write_text("step,loss,score\n1,0.5,\n2,0.25,\n")
    before = place.read_bytes()

    def full(path, text):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))

    monkeypatch.setattr(module.files, "replace", full)
    with pytest.raises(OSError, match="No space left on device"):
        MetricsLog(place, COLUMNS, step=1)
    assert place.read_bytes() == before


def test_numbers_of_a_row_of_text():
    row = {"step": "12", "loss": "1e-09", "score": "", "odd": "abc", "low": "-3", "worst": "inf"}
    found = numbers(row)
    assert found == {"step": 12, "loss": 1e-9, "low": -3, "worst": math.inf}
    assert type(found["step"]) is int
