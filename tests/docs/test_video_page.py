"""docs/video.md: its files, its commands and its Python, as a reader types them, with a short training."""

from __future__ import annotations

import json
import re
import shlex

from convlstm.datasets.video import decode_video
from tests.support.project import PROJECT
from tests.support.tiny import call

import numpy as np
import pytest

SHORT = ("trainer.max_steps=2", "trainer.validate_every=2", "model.hidden_channels=[4]", "data.progress=false")

pytestmark = pytest.mark.usefixtures("without_compilation")


@pytest.fixture
def page(tmp_path, monkeypatch):
    """Returns the page; the test runs in a folder with the clips that its first lines make."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CONVLSTM_DATA", str(tmp_path / "data"))
    text = (PROJECT / "docs" / "video.md").read_text(encoding="utf-8")
    make, _ = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    exec(make, {})
    return text


def test_every_command_of_the_example_runs(page, tmp_path, monkeypatch, capsys):
    pytest.importorskip("imageio_ffmpeg")
    example = page[page.index("## An example") : page.index("## Frames")]
    lines = [shlex.split(line) for line in re.findall(r"^    python (.*)$", example, re.MULTILINE)]
    assert [line[0] for line in lines] == ["train.py", "evaluate.py", "forecast.py", "forecast.py"]
    for name, *arguments in lines:
        short = SHORT if name == "train.py" else ()
        status, out, err = call(name.removesuffix(".py"), monkeypatch, capsys, *arguments, *short)
        assert status == 0, out + err
    assert (tmp_path / "runs" / "balls" / "evaluation" / "report.html").is_file()
    assert len(decode_video(tmp_path / "ball07_forecast.gif")) == 15
    assert decode_video(tmp_path / "ball07_forecast.mp4").shape == (10, 256, 256, 3)
    scores = json.loads((tmp_path / "runs" / "balls" / "evaluation" / "metrics.json").read_text())
    mse = {name: scores["forecasters"][name]["scores"]["mse_per_frame"]["overall"] for name in ("persistence", "zeros")}
    for name, value in mse.items():  # those that the page names
        assert re.search(rf"\b{value:.1f}\b", example), (name, value)
    _, code = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    names: dict = {}
    exec(code, names)
    assert names["batch"]["inputs"].shape == (8, 5, 32, 32, 3)
    assert names["forecast"].shape == (10, 32, 32, 3)
    assert 0 <= np.min(names["forecast"]) <= np.max(names["forecast"]) <= 1
