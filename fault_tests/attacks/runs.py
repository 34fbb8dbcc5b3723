"""Attacks with a stranger's run: its files, its links, its names, and what it does to its neighbours."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from fault_tests.attacks.stage import SECRET, Attack, Stage
from tests.support import hostile_runs
from tests.support.strangers import DATA, describe

ESCAPES = {
    "a title": "\x1b]0;owned\x07",
    "a cleared screen": "\x1b[2J",
    "a C1 sequence": "\x9b2J",
    "a line feed": "a\nb",
    "a turned text": "a\u202eb",
    "HTML": "<script>alert(1)<&'\"",
    "a long name": "n" * 200,
}


def attacks() -> Iterator[Attack]:
    """Yields the attacks of this module."""
    for file, kind in hostile_runs.ATTACKS:
        yield Attack(f"a run's {Path(file).name}", kind, partial(_listed, file, kind), harmless=True)
        if file != "checkpoints/last/state.json":
            yield Attack(f"a neighbour's {file}", kind, partial(_neighbour, file, kind), harmless=True)
    for name, text in ESCAPES.items():
        yield Attack("names that act on a terminal", f"runs: {name}", partial(_named, text), harmless=True)
        yield Attack("names that act on a terminal", f"evaluate: {name}", partial(_evaluated, text), harmless=None)
        yield Attack("names that act on a terminal", f"convert: {name}", partial(_converted, text))
        yield Attack("names that act on a terminal", f"data: {name}", partial(_data, text))
    yield Attack("names that act on a terminal", "runs: no UTF-8", _bytes, harmless=True)
    for link in ("symbolic", "hard"):
        for file in ("report.html", "metrics.json", "metrics.csv", "lead_times.png"):
            yield Attack("links in a run", f"{link}: {file}", partial(_link, link, file), harmless=None)
    for folder in ("evaluation", "forecasts", "checkpoints"):
        yield Attack("links in a run", folder, partial(_folder_link, folder), harmless=None)
    for file in ("report.html", "metrics.json", "metrics.csv", "lead_times.png"):
        yield Attack("foreign files in the folder of results", file, partial(_foreign, file))
    for key, value in DATA_VALUES.items():
        yield Attack("values that name other files", key, partial(_value, *value), harmless=None)


DATA_VALUES = {
    "root": ("root", "SECRET"),
    "an interpolation": ("digits", "${oc.env:HOME}"),
    "a resolver": ("digits", "${oc.decode:${oc.env:HOME}}"),
    "a missing value": ("digits", "???"),
    "a mirror": ("mirrors", "http://127.0.0.1:9/"),
    "a class in a list": ("digits", [{"_target_": "os.system", "command": "true"}]),
}


def _listed(file: str, kind: str, stage: Stage) -> list[str]:
    stage.digits("mine")
    hostile_runs.attack(stage.digits("other"), file, kind)
    return ["runs", str(stage.folder / "runs")]


def _neighbour(file: str, kind: str, stage: Stage) -> list[str]:
    hostile_runs.attack(stage.digits("other"), file, kind)
    return stage.evaluate(stage.digits("mine"))


def _named(text: str, stage: Stage) -> list[str]:
    run = stage.digits(text.replace("/", ""))
    (run / "run.json").write_text(json.dumps({"starts": [{"status": text, "command": text, "host": text}]}))
    return ["runs", str(stage.folder / "runs")]


def _bytes(stage: Stage) -> list[str]:
    stage.digits(os.fsdecode(b"a\xff\xfe"))
    return ["runs", str(stage.folder / "runs")]


def _evaluated(text: str, stage: Stage) -> list[str]:
    run = stage.digits()
    renamed = run.with_name(text.replace("/", "").replace("\n", ""))
    run.rename(renamed)
    return stage.evaluate(renamed)


def _converted(text: str, stage: Stage) -> list[str]:
    path = stage.work / f"{text.replace('/', '')}.npz"
    path.write_bytes(b"no weights")
    return ["convert", str(path), str(stage.out)]


def _data(text: str, stage: Stage) -> list[str]:
    run = stage.digits()
    describe(run / "checkpoints" / "best", data=DATA | {"digits": text})
    return stage.evaluate(run)


def _link(how: str, file: str, stage: Stage) -> list[str]:
    run = stage.digits()
    (run / "evaluation").mkdir()
    if how == "symbolic":
        (run / "evaluation" / file).symlink_to(stage.secret)
    else:
        os.link(stage.secret, run / "evaluation" / file)
    return ["evaluate", f"ckpt={run}", "examples=[]"]


def _folder_link(folder: str, stage: Stage) -> list[str]:
    run = stage.digits()
    if folder == "checkpoints":
        (run / folder).rename(stage.victim / folder)
    (run / folder).symlink_to(stage.victim / folder if folder == "checkpoints" else stage.victim)
    return (
        ["evaluate", f"ckpt={run}", "examples=[]"]
        if folder != "forecasts"
        else [
            *("forecast", f"ckpt={run}", f"input={stage.templates.frames}"),
        ]
    )


def _foreign(file: str, stage: Stage) -> list[str]:
    (stage.victim / file).write_text(f"{SECRET}, which is not from an evaluation")
    return ["evaluate", f"ckpt={stage.digits()}", "examples=[]", f"out={stage.victim}"]


def _value(key: str, value: object, stage: Stage) -> list[str]:
    run = stage.digits()
    text = json.loads(json.dumps(value).replace("SECRET", str(stage.secret)))
    describe(run / "checkpoints" / "best", data=DATA | {key: text})
    return stage.evaluate(run)
