"""The runs behind the forecasts in the page."""

import os
import shlex
import sys

from convlstm.report.page import run_sections
from tests.support.pages import ODD, Rain, cells, evaluation, of, page, read, run

import pytest


@pytest.fixture(scope="module")
def rain():
    return evaluation((ODD, "second"), rain=Rain())


def test_runs_beside_each_other_and_beside_others(rain, tmp_path):
    runs = tmp_path / "runs"
    checkpoints = {ODD: run(runs / "a"), "second": run(runs / "b", rate=0.003)}
    run(runs / "c", rate=0.1)
    (runs / "notes").mkdir()
    (runs / "link").symlink_to(runs / "c")
    root = read(page(tmp_path, rain, checkpoints=checkpoints, record={"steps": {ODD: 20}}, rain=Rain()))
    section = of("runs", root)
    heads, rows = cells(section, "Runs, and the keys of the configuration in which they differ")
    assert heads == ["run", "evaluated", "status", "step", "best validation", "schedule.learning_rate"]
    assert rows == {
        ODD: ["yes", "finished", "30 of 30", "val_loss 0.5000 at 30", "0.001"],
        "second": ["yes", "finished", "30 of 30", "val_loss 0.5000 at 30", "0.003"],
        "c": ["no", "finished", "30 of 30", "val_loss 0.5000 at 30", "0.1"],
    }
    heads, rows = cells(section, "Training, code and machine")
    assert heads == ["", ODD, "second", "this evaluation"]
    assert rows["checkpoint of step"][:2] == ["20", "-"]
    assert rows["trained for"][0] == "1 h 2 min"
    assert rows["commit"][0] == "0123456789abcdef, with changes"
    assert (rows["processor"][0], rows["memory (GiB)"][0], rows["versions"][0]) == ("Abacus 3000", "7.5", "mlx 9.8.7")
    heads, rows = cells(section, "Configuration; keys in colour differ")
    assert rows["schedule.learning_rate"] == ["0.001", "0.003"]
    assert [tag.text() for tag in section.all("span", class_="differs")] == ["schedule.learning_rate"]
    charts = of("training", root).all("svg", role="img")
    assert [tag.all("title")[0].text() for tag in charts] == ["Training loss", "Validation loss"]
    assert "second: from 0.6000 at 20 to 0.5000 at 30." in charts[1].all("desc")[0].text()
    assert root.all("h1")[0].text() == f"Forecasts of {ODD}, second"


def test_a_checkpoint_alone_has_a_page(rain, tmp_path):
    alone = run(tmp_path / "runs" / "a").rename(tmp_path / "alone")
    root = read(page(tmp_path, rain, checkpoints={ODD: alone}, rain=Rain()))
    assert "There is no other run beside this one." in of("runs", root).text()
    assert cells(of("runs", root), "Configuration")[1]["schedule.learning_rate"] == ["0.001"]
    assert not [tag for tag in root.all("section") if tag.attributes["id"] == "training"]


def test_the_newest_of_many_other_runs_are_shown(rain, tmp_path, monkeypatch):
    monkeypatch.setattr(run_sections, "MOST_OTHERS", 2)
    runs = tmp_path / "runs"
    best = run(runs / "a")
    for n, name in enumerate("bcd"):
        run(runs / name)
        os.utime(runs / name / "config.yaml", (n, n))
    rows = cells(of("runs", read(page(tmp_path, rain, checkpoints={ODD: best}, rain=Rain()))),
                 "Runs, and the keys of the configuration in which they differ")[1]  # fmt: skip
    assert list(rows) == ["a", "c", "d"]


def test_a_run_alone_is_called_by_its_name_beside_others(tmp_path):
    best = run(tmp_path / "runs" / "mine")
    run(tmp_path / "runs" / "theirs", rate=0.5)
    root = read(page(tmp_path, evaluation(), checkpoints={"model": best}))
    _, rows = cells(of("runs", root), "Runs, and the keys of the configuration in which they differ")
    assert list(rows) == ["mine", "theirs"]


def test_settings_and_command_of_the_evaluation(tmp_path):
    record = {"split": "test", "data": {"name": ODD, "thresholds": [0.5, 2]}, "members": {"perturbed": 3}}
    root = read(page(tmp_path, evaluation(), record=record))
    section = of("runs", root)
    _, rows = cells(section, "Settings and data of this evaluation")
    assert rows == {"split": ["test"], "data.name": [ODD], "data.thresholds": ["[0.5, 2]"], "members.perturbed": ["3"]}
    _, rows = cells(section, "Training, code and machine")
    assert rows["command"] == [shlex.join(sys.orig_argv)]
    assert "Written 20" in root.all("header")[0].text()
    assert "Settings" not in of("runs", read(page(tmp_path, evaluation()))).text()
