"""Evaluations and runs to write pages of, and a reader of pages."""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

from convlstm.architectures.baselines import Persistence, Zeros
from convlstm.evaluation.scoring import Evaluation, evaluate
from convlstm.report import write_page

import numpy as np
import yaml
from PIL import Image

ODD = "<script>alert('a')</script><!--\"&amp;"
VOID = ("br", "img", "input", "link", "meta")


@dataclass
class Rain:
    """Rain up to 60 mm/h, five minutes apart."""

    units: str = "mm/h"
    thresholds: Sequence[float] = (0.5, 2.0, 5.0, 10.0)
    pixel_km: float | None = 2.0
    frame_interval: float | None = 5.0
    timed: bool = True

    def physical(self, x: np.ndarray) -> np.ndarray:
        return 60 * np.asarray(x)

    def times(self, split: str, index: int) -> np.ndarray | None:
        start = np.datetime64("2010-08-26T12:00") + np.timedelta64(60 * index, "m")
        return start + np.arange(999) * np.timedelta64(5, "m") if self.timed else None


def evaluation(
    names: Sequence[str] = ("model",),
    *,
    sequences: int = 3,
    inputs: int = 3,
    horizon: int = 4,
    size: tuple[int, int] = (24, 32),
    channels: int = 1,
    rain: Any = None,
    missing: bool = True,
    keep: int = 2,
    more: Mapping[str, Any] | None = None,
) -> Evaluation:
    """Returns an evaluation on blobs that move right: fading forecasts under `names`, others in `more`, baselines."""
    rng = np.random.default_rng(0)
    height, width = size
    y, x = np.mgrid[:height, :width]
    frames = np.zeros((sequences, inputs + horizon, height, width, channels), np.float32)
    for n in range(sequences):
        for _ in range(4):
            row, column, speed = rng.uniform(0, height), rng.uniform(0, width), rng.uniform(0.5, 2)
            for t in range(inputs + horizon):
                near = (y - row) ** 2 + (x - column - speed * t) ** 2
                frames[n, t] += rng.uniform(0.4, 0.6) * np.exp(-near / (height * 1.5))[..., None]
    mask = np.ones(frames.shape, bool)
    if missing:
        mask[:, :, : height // 4, : width // 4] = False
    batch = {
        "inputs": frames[:, :inputs], "targets": frames[:, inputs:],
        "input_mask": mask[:, :inputs], "mask": mask[:, inputs:],
    }  # fmt: skip
    models = {name: fading(0.9 - 0.2 * k) for k, name in enumerate(names)}
    others = {"persistence": Persistence()} | ({} if rain else {"zeros": Zeros()})
    return evaluate(models | dict(more or {}) | others, [batch], rain=rain, ssim=False, keep=keep, cases=1)


def fading(share: float) -> Any:
    """Returns a forecaster that repeats the last frame, multiplied by `share` for each step."""

    def forecast(inputs, horizon):
        last = np.asarray(inputs)[:, -1:]
        return np.concatenate([last * share**t for t in range(1, horizon + 1)], axis=1).astype(np.float32)

    return forecast


def run(folder: Path, *, rate: float = 0.001, steps: int = 30, extra: dict[str, Any] | None = None) -> Path:
    """Makes a run's folder with only the files that a page reads, and returns its best checkpoint."""
    best = folder / "checkpoints" / "best"
    best.mkdir(parents=True)
    config = {
        "model": {"_target_": "tests.support.tiny.Fade"},
        "trainer": {"max_steps": 30, "monitor": "val_loss"},
        "name": "x",
    }
    config |= {"schedule": {"learning_rate": rate}} | (extra or {})
    (best / "state.json").write_text(json.dumps({"step": steps}))
    for place in (folder, best):
        (place / "config.yaml").write_text(yaml.safe_dump(config))
    (folder / "metrics.csv").write_text(
        "step,train_loss,val_loss,seconds\n10,0.9,,5.0\n20,0.5,0.6,10.0\n" + f"{steps},0.4,0.5,3725.0\n"
    )
    start = {
        "started": "2026-01-02T03:04:05+00:00", "command": "python train.py", "status": "finished",
        "code": {"commit": "0123456789abcdef", "changed": True}, "versions": {"mlx": "9.8.7"},
        "hardware": {"processor": "Abacus 3000", "cores": 2, "memory_gib": 7.5, "device": "beads"},
    }  # fmt: skip
    (folder / "run.json").write_text(json.dumps({"starts": [start]}))
    return best


def page(folder: Path, result: Evaluation, **about: Any) -> Path:
    """Writes a page and returns its path."""
    path = folder / "report.html"
    write_page(path, result, **about)
    return path


@dataclass
class Tag:
    """An element of a page."""

    name: str
    attributes: dict[str, str | None]
    inside: list[Tag] = field(default_factory=list)
    words: str = ""

    def all(self, tag_name: str, /, **attributes: str) -> list[Tag]:
        """Returns every element of a name inside, at any depth, that has some attributes."""
        elements = []
        for tag in self.inside:
            fits = all(tag.attributes.get(key.rstrip("_")) == value for key, value in attributes.items())
            elements += [tag] if tag.name == tag_name and fits else []
            elements += tag.all(tag_name, **attributes)
        return elements

    def text(self) -> str:
        """Returns the text inside."""
        return self.words + " ".join(tag.text() for tag in self.inside)


class Reader(HTMLParser):
    """A parser of pages into tags, which fails if they are not closed in their order."""

    def __init__(self, text: str):
        super().__init__()
        self.root = Tag("", {})
        self.open = [self.root]
        self.feed(text)
        self.close()
        assert self.open == [self.root]

    def handle_starttag(self, tag, attrs):
        assert len({key for key, _ in attrs}) == len(attrs), f"{tag} has an attribute twice"
        new = Tag(tag, dict(attrs))
        self.open[-1].inside.append(new)
        if tag not in VOID:
            self.open.append(new)

    def handle_endtag(self, tag):
        assert self.open.pop().name == tag

    def handle_data(self, data):
        self.open[-1].words += data


def read(path: Path) -> Tag:
    """Returns a page as tags."""
    return Reader(path.read_text(encoding="utf-8")).root


def of(name: str, tag: Tag) -> Tag:
    """Returns the section of that id."""
    return next(section for section in tag.all("section") if section.attributes["id"] == name)


def cells(section: Tag, caption: str) -> tuple[list[str], dict[str, list[str]]]:
    """Returns the headings of a table's columns, and its cells by the headings of the rows."""
    for table in section.all("table"):
        if table.all("caption")[0].text() == caption:
            heads = [head.text() for head in table.all("thead")[0].all("th")]
            rows = [
                (row.all("th")[0].text(), [c.text() for c in row.all("td")]) for row in table.all("tbody")[0].all("tr")
            ]
            return heads, dict(rows)
    raise AssertionError(f"no table '{caption}'")


def charts(section: Tag) -> dict[str, Tag]:
    """Returns the charts of a section by title."""
    return {tag.all("title")[0].text(): tag for tag in section.all("svg", role="img")}


def described(svg: Tag) -> str:
    """Returns the description of a chart."""
    return svg.all("desc")[0].text()


def names(root: Tag) -> list[str]:
    """Returns the ids of the sections of a page."""
    return [tag.attributes["id"] or "" for tag in root.all("section")]


def picture(address: str) -> np.ndarray:
    """Returns the RGB pixels of a picture inside a page."""
    kind, _, content = address.partition(",")
    assert kind == "data:image/png;base64"
    with Image.open(io.BytesIO(base64.b64decode(content, validate=True))) as image:
        return np.asarray(image.convert("RGB"))
