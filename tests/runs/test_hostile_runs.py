"""Runs that a stranger made: their files are read with limits, and a run is listed whatever its neighbours are."""

from __future__ import annotations

import json
import time
import warnings

from convlstm.report import write_pictures
from convlstm.report.page import run_sections
from convlstm.runs.__main__ import main
from convlstm.runs.summary import read
from tests.support.hostile_runs import ATTACKS, KINDS, SECRET, TEXTS, attack
from tests.support.pages import evaluation
from tests.support.run_files import write_run

import pytest


def run_of(folder):
    return write_run(folder, rows=[(10, 0.5), (20, 0.25)], starts=[{"status": "finished"}], state={"step": 20})


@pytest.mark.parametrize(("name", "kind"), ATTACKS)
def test_a_hostile_file_stops_neither_the_list_nor_the_report_of_its_neighbour(name, kind, tmp_path, capsys):
    run_of(tmp_path / "runs" / "mine")
    attack(run_of(tmp_path / "runs" / "other"), name, kind)
    begin = time.monotonic()
    assert main([str(tmp_path / "runs")]) == 0
    listed = capsys.readouterr().out
    assert "mine" in listed
    assert "\x1b" not in listed
    assert main([str(tmp_path / "runs"), "--json", "--sort", "best"]) == 0
    described = {entry["folder"].rpartition("/")[2]: entry for entry in json.loads(capsys.readouterr().out)}
    assert (described["mine"]["status"], described["mine"]["step"], described["mine"]["best"]) == ("finished", 20, 0.25)

    runs = {"mine": read(tmp_path / "runs" / "mine")}
    others = run_sections.others_of(runs)
    page = "".join(map(str, run_sections.beside_others(runs, others)))
    every = runs | others
    page += "".join(map(str, [run_sections.facts(every, {}), run_sections.configurations(every)]))
    page += "".join(map(str, run_sections.training(every)))
    page.encode()
    assert SECRET not in listed + json.dumps(described) + page
    assert time.monotonic() - begin < 10


@pytest.mark.parametrize("name", TEXTS)
@pytest.mark.parametrize("kind", KINDS)
def test_a_file_that_is_not_read_makes_the_run_unreadable(name, kind, tmp_path):
    run = run_of(tmp_path / "run")
    attack(run, name, kind)
    assert read(run).status.startswith(f"unreadable: {name.rpartition('/')[2]}: it is ")


@pytest.mark.parametrize("kind", [*TEXTS["metrics.csv"], *KINDS])
def test_a_broken_training_log_costs_only_its_picture(kind, tmp_path):
    run = run_of(tmp_path / "run")
    attack(run, "metrics.csv", kind)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        written = write_pictures(tmp_path, evaluation(keep=0), log=run / "metrics.csv")
    left_out = ["is left out, so there is no training.png" in str(warning.message) for warning in caught]
    assert (any(left_out), "training.png" in [path.name for path in written]) in {(True, False), (False, True)}
    assert any(left_out) or kind.startswith("a score")
