"""The data set in docs/own_data.md runs unchanged, and the README's input exists."""

from __future__ import annotations

import re

from convlstm.datasets.video import read_video
from tests.support.project import PROJECT

import numpy as np
import yaml


def blocks(page, language):
    return re.findall(rf"```{language}\n(.*?)```", (PROJECT / page).read_text(encoding="utf-8"), re.DOTALL)


def test_the_example_of_an_own_data_set(tmp_path):
    (code,), (configuration,) = blocks("docs/own_data.md", "python"), blocks("docs/own_data.md", "yaml")
    given = yaml.safe_load(configuration)
    assert given.pop("_target_") == "my_fields.MyFields"
    series = np.random.default_rng(0).uniform(0, 40, (120, 8, 12))
    series[96, 2, 3] = series[102, 4, 5] = np.nan
    np.save(tmp_path / given["path"], series)
    names = {}
    exec(code, names)
    data = names["MyFields"](**given | {"path": tmp_path / given["path"]})

    # Of 120 frames, training has 70, validation 25 and test 25, in windows of 15.
    assert [data.size(split) for split in ("train", "validation", "test")] == [56, 11, 11]
    batch = next(iter(data.stream("test", 4, seed=0, epoch=0, start=0)))
    assert batch["inputs"].shape == (4, 5, 8, 12, 1)
    assert batch["targets"].shape == batch["mask"].shape == (4, 10, 8, 12, 1)
    np.testing.assert_allclose(batch["inputs"][0, 0, :, :, 0], series[95] / 40, rtol=1e-6)
    # Frame 96 is an input of the first sequence, frame 102 a target: a missing input counts as 0.
    assert batch["inputs"][0, 1, 2, 3, 0] == 0
    assert not batch["mask"][0, 2, 4, 5, 0]
    assert np.count_nonzero(batch["mask"]) == batch["mask"].size - 3
    assert data.describe()["transform"] == {"name": "Linear", "scale": 40.0, "units": "raw"}


def test_the_digit_in_the_readme_has_the_size_of_the_quickstart():
    assert "input=examples/digit.gif" in (PROJECT / "README.md").read_text(encoding="utf-8")
    frames = read_video(PROJECT / "examples" / "digit.gif")
    assert frames.shape == (10, 32, 32, 1)
    assert (frames.min(), frames.max()) == (0, 255)
