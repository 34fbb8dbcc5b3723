"""The experiments of the literature on Moving-MNIST: their settings, and two steps of each."""

from __future__ import annotations

from tests.support.project import PROJECT
from tests.support.tiny import call

import hydra
import mlx.core as mx
import pytest
import yaml

SMALL_STACK = ["model.hidden_channels=[2,2]", "model.kernel_size=3"]
SMALL = {
    "openstl_convlstm_s": SMALL_STACK,
    "openstl_predrnn": SMALL_STACK,
    "openstl_simvp": ["model.hidden_channels=2", "model.translator_channels=4", "model.blocks=2", "model.levels=2"],
    "shi2015_moving_mnist": ["model.hidden_channels=[2,2,2]", "model.kernel_size=3"],
}
FEW = ["data.digits=builtin", "data.frame_size=16", "data.digit_size=8", "data.train_sequences=8"]
FEW += ["data.validation_sequences=2", "trainer.batch_size=2", "trainer.max_steps=2", "trainer.validate_every=2"]


def composed(name):
    with hydra.initialize_config_dir(str(PROJECT / "configs"), version_base="1.3"):
        return hydra.compose("train", [f"experiment={name}"])


@pytest.mark.parametrize("name", ["openstl_convlstm_s", "openstl_predrnn", "openstl_simvp"])
def test_openstl_trains_one_cycle_over_two_hundred_epochs(name):
    config = composed(name)
    assert config.trainer.max_steps == 200 * config.data.train_sequences // config.trainer.batch_size
    assert (config.trainer.batch_size, config.trainer.max_grad_norm) == (16, None)
    assert (config.data.input_frames, config.data.target_frames, config.data.frame_size) == (10, 10, 64)
    rate = hydra.utils.instantiate(config.schedule)
    beta = hydra.utils.instantiate(config.optimizer.beta1)
    top = 0.3 * config.trainer.max_steps - 1
    highest = 1e-3 if name == "openstl_simvp" else 5e-4
    assert float(rate(mx.array(0))) == pytest.approx(highest / 25, rel=1e-5)
    assert float(rate(mx.array(top))) == pytest.approx(highest, rel=1e-5)
    assert float(rate(mx.array(config.trainer.max_steps - 1))) == pytest.approx(highest / 25e4, rel=1e-2)
    assert float(beta(mx.array(0))) == pytest.approx(0.95)
    assert float(beta(mx.array(top))) == pytest.approx(0.85)
    if name != "openstl_simvp":
        shares = [hydra.utils.instantiate(config.sampling)(mx.array(step)).tolist() for step in (0, 25_000, 50_000)]
        assert shares == [[1.0], [0.5], [0.0]]


@pytest.mark.usefixtures("without_compilation")  # which would take longer than the two steps
@pytest.mark.parametrize("name", SMALL)
def test_two_steps_of_each(name, tmp_path, monkeypatch, capsys):
    line = [f"experiment={name}", f"output={tmp_path}", "name=run", *SMALL[name], *FEW]
    status, out, err = call("train", monkeypatch, capsys, *line)
    assert status == 0, out + err
    saved = yaml.safe_load((tmp_path / "run" / "config.yaml").read_text())
    assert saved["loss"]["_target_"].endswith("BinaryCrossEntropy" if "shi" in name else "MeanSquaredError")
    rows = (tmp_path / "run" / "metrics.csv").read_text().splitlines()
    assert rows[-1].startswith("2,")
