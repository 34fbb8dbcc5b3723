"""The plugin in pysteps itself, where it is installed: pip install 'convlstm[cpu,pysteps]'."""

import re
import sys
import warnings

import convlstm.pysteps_plugin
from convlstm.datasets.transforms import Reflectivity
from tests.architectures.test_sprog import rain
from tests.support.project import PROJECT

import numpy as np
import pytest

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    pysteps = pytest.importorskip("pysteps")
# pysteps has filters of its own, and its dependencies warn.
pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.fixture(scope="module")
def method():
    convlstm.pysteps_plugin.register()
    return pysteps.nowcasts.get_method("ConvLSTM")


@pytest.fixture(scope="module")
def fields():
    """Returns fields in dBR and their metadata as pysteps makes them of mm/h."""
    rates = Reflectivity().inverse(np.array(rain())[0, ..., 0]).astype(float)
    metadata = {"unit": "mm/h", "transform": None, "threshold": 0.1, "zerovalue": 0.0}
    return pysteps.utils.transformation.dB_transform(rates, metadata, threshold=0.1, zerovalue=-15.0)


def test_get_method_gives_the_forecast(method):
    assert method is convlstm.pysteps_plugin.forecast
    assert "already" in convlstm.pysteps_plugin.register()


def test_it_takes_the_place_of_pysteps_steps(method, fields):
    precip, metadata = fields
    velocity = pysteps.motion.get_method("LK")(precip[-3:])
    options = {"n_ens_members": 4, "timestep": 5, "kmperpixel": 1, "seed": 1}
    ours = method(precip[-3:], velocity, 3, ckpt="steps", metadata=metadata, **options)
    theirs = pysteps.nowcasts.get_method("steps")(precip[-3:], velocity, 3, precip_thr=-10.0, **options)
    assert ours.shape == theirs.shape == (4, 3, 96, 128)
    assert ours.min() == pytest.approx(np.nanmin(theirs))
    known = np.isfinite(theirs)
    wet = [float((x[known] > -10).mean()) for x in (ours, theirs)]
    assert wet[0] == pytest.approx(wet[1], rel=0.1)
    assert ours[known].mean() == pytest.approx(theirs[known].mean(), abs=0.5)


def test_back_through_pysteps_to_rates(method, fields):
    precip, metadata = fields
    rates, told = pysteps.utils.conversion.to_rainrate(precip, metadata)
    in_decibels = method(precip, None, 2, ckpt="extrapolation", metadata=metadata)
    as_rates, _ = pysteps.utils.conversion.to_rainrate(in_decibels, metadata)
    np.testing.assert_allclose(method(rates, None, 2, ckpt="extrapolation", metadata=told), as_rates, rtol=1e-4)


def test_members_are_blended(tmp_path, capsys):
    sys.path.insert(0, str(PROJECT / "examples"))
    try:
        from pysteps_blending import main
    finally:
        sys.path.remove(str(PROJECT / "examples"))
    line = ["--members=3", "--leads=3", "--size=64", f"--out={tmp_path / 'blended.npy'}"]
    scores = main(line)
    blended = np.load(tmp_path / "blended.npy")
    assert blended.shape == (3, 3, 64, 64)
    assert np.isfinite(blended).mean() > 0.95
    assert np.abs(blended[0] - blended[1]).max() > 1
    # Between its sources, at worst.
    assert (scores["blended"] < np.maximum(scores["members"], scores["weather model"])).all()
    assert "CRPS in mm/h; members (3, 3, 64, 64), blended (3, 3, 64, 64)" in capsys.readouterr().out


def test_the_python_of_the_page_runs(capsys):
    (block,) = re.findall(
        r"```python\n(.*?)```", (PROJECT / "docs" / "pysteps.md").read_text(encoding="utf-8"), re.DOTALL
    )
    names = {}
    exec(block, names)
    assert "(12, 6, 96, 128)" in capsys.readouterr().out
    assert names["probability"].shape == (6, 96, 128)
    # The shower goes on to the east by four pixels a step.
    columns = np.arange(128)
    centres = (names["in_mmh"].mean(axis=0) * columns).sum(axis=(1, 2)) / names["in_mmh"].mean(axis=0).sum(axis=(1, 2))
    np.testing.assert_allclose(centres, 66 + 4 * np.arange(1, 7), atol=4)
