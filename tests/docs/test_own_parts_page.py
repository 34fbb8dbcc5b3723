"""docs/own_parts.md: its files and its commands, as a reader types them in a folder of their own."""

from __future__ import annotations

import re
import shlex
import sys

from convlstm.checkpoints import tensors
from convlstm.runs.__main__ import main as list_runs
from tests.support.project import PROJECT
from tests.support.tiny import call

import mlx.core as mx
import pytest

pytestmark = pytest.mark.usefixtures("without_compilation")


@pytest.fixture
def page(tmp_path, monkeypatch):
    """Returns the page; the test runs in a folder with the files that it describes."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    text = (PROJECT / "docs" / "own_parts.md").read_text(encoding="utf-8")
    (code,) = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    (tmp_path / "my_parts.py").write_text(code)
    (tmp_path / "my_parts.py").chmod(0o644)
    for name, content in re.findall(r"`(\w+/\w+/\w+\.yaml)`:\n\n```yaml\n(.*?)```", text, re.DOTALL):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(content)
    yield text
    sys.modules.pop("my_parts", None)


@pytest.mark.filterwarnings("default:configurations also come")
def test_every_command_runs(page, tmp_path, monkeypatch, capsys):
    lines = [shlex.split(line) for line in re.findall(r"^    convlstm (.*)$", page, re.MULTILINE)]
    outputs = []
    for name, *arguments in lines:
        if name == "runs":
            assert list_runs(arguments) == 0
            outputs.append(capsys.readouterr().out)
            continue
        status, out, err = call(name, monkeypatch, capsys, *arguments)
        assert status == 0, (name, arguments, out + err)
        outputs.append(out)
    assert len(outputs) == 10
    huber, tuned, coloured, resumed, listed = outputs[1], *outputs[-4:]
    assert "finished at step 40" in huber
    assert "frozen      2 arrays do not change: encoder.weight, encoder.bias" in tuned
    for line in re.findall(r"^    (anew .*)$", page, re.MULTILINE):
        assert line in coloured
    assert "init        1 of 4 arrays from" in coloured
    assert "from step 40 on" in resumed
    assert re.search(r"^tuned +finished .*~runs/waves/checkpoints/best", listed, re.MULTILINE)

    first = tensors.read(tmp_path / "runs" / "waves" / "checkpoints" / "best" / "model.safetensors")
    last = tensors.read(tmp_path / "runs" / "tuned" / "checkpoints" / "last" / "model.safetensors")
    same = {name for name in first if mx.array_equal(first[name], last[name]).item()}
    assert same == {"encoder.weight", "encoder.bias"}
