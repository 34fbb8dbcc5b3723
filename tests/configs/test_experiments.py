"""The experiments of the literature: their settings, and a step of each on small files."""

from __future__ import annotations

import re

from convlstm.cli import instantiation
from convlstm.datasets.transforms import Linear, Reflectivity
from tests.support.project import PROJECT
from tests.support.radar_files import write_mask, write_png, write_sevir
from tests.support.tiny import call

import hydra
import mlx.core as mx
import numpy as np
import pytest
import yaml
from omegaconf import OmegaConf

# Few pixels and channels.
SMALL_LEVELS = [f"model.{way}.{n}.channels={c}" for way in ("downsample", "upsample") for n, c in enumerate((2, 3, 3))]
ONE_STEP = ["trainer.max_steps=1", "trainer.validation_sequences=1", "data.progress=false"]
HKO7 = ["data.input_frames=2", "data.target_frames=2", "model.hidden_channels=[2,3,3]", *SMALL_LEVELS, *ONE_STEP]
SEVIR = ["data.input_frames=3", "data.target_frames=2", "data.stride=2", "model.hidden_channels=[2,2]", *ONE_STEP]


def composed(*overrides):
    with hydra.initialize_config_dir(str(PROJECT / "configs"), version_base="1.3"):
        return hydra.compose("train", list(overrides))


@pytest.fixture
def uncompiled():
    """Turns off MLX's compiler, which would take longer than the one step."""
    mx.disable_compile()
    yield
    mx.enable_compile()


@pytest.fixture
def hko7(tmp_path, monkeypatch, rng):
    """Writes six rainy frames of 60 x 60 with masks for each year from 2009 to 2015."""
    monkeypatch.setenv("CONVLSTM_DATA", str(tmp_path))
    for year in range(2009, 2016):
        for frame in range(6):
            name = f"{year}/06/01/RAD{year % 100:02d}060112{6 * frame:02d}00"
            pixels = rng.integers(0, 160, (60, 60), np.uint8)
            write_png(tmp_path / "hko7" / "radarPNG" / f"{name}.png", pixels)
            known = np.ones((60, 60))
            known[:5] = 0
            write_mask(tmp_path / "hko7" / "radarPNG_mask" / f"{name}.mask", known)
    return tmp_path


@pytest.fixture
def sevir(tmp_path, monkeypatch, rng):
    """Writes three events of nine frames of 8 x 12: in 2018, before June 2019, and after."""
    monkeypatch.setenv("CONVLSTM_DATA", str(tmp_path))
    write_sevir(tmp_path / "sevir", rng.integers(0, 255, (3, 8, 12, 9), np.uint8))
    catalog = tmp_path / "sevir" / "CATALOG.csv"
    text = catalog.read_text().replace("2018-05-02", "2019-03-02").replace("2018-05-03", "2019-06-03")
    catalog.write_text(text)
    return tmp_path


def trained(experiment, monkeypatch, capsys, folder, *overrides):
    """Runs train.py; returns the settings in its checkpoint."""
    line = [f"experiment={experiment}", f"output={folder}", "name=run", *overrides]
    status, out, err = call("train", monkeypatch, capsys, *line)
    assert status == 0, out + err
    assert "at step 1 of 1" in out
    rows = (folder / "run" / "metrics.csv").read_text().splitlines()
    values = dict(zip(rows[0].split(","), rows[-1].split(","), strict=True))
    assert np.isfinite(float(values["val_loss"]))
    return yaml.safe_load((folder / "run" / "config.yaml").read_text())


def test_hko_7_is_the_paper_s(hko7):
    config = composed("experiment=shi2017_hko7")
    data, trainer = config.data, config.trainer
    assert (data.input_frames, data.target_frames, data.frame_size, data.format) == (5, 20, None, "hko7_png")
    assert [path.rpartition("/")[2] for path in data.archive] == [str(year) for year in range(2009, 2015)]
    assert data.test_archive == str(hko7 / "hko7" / "radarPNG" / "2015")
    assert (trainer.batch_size, trainer.max_grad_norm, config.optimizer.betas[0]) == (4, 50, 0.5)
    assert (config.optimizer._target_, config.optimizer.bias_correction) == ("mlx.optimizers.Adam", True)
    rate = hydra.utils.instantiate(config.optimizer.learning_rate)
    assert [rate(mx.array(step)).item() for step in (0, 20000)] == pytest.approx([1e-4, 7e-5])
    # B-MSE + B-MAE summed over 480 x 480 pixels, times 1e-5.
    assert [config.loss.squared, config.loss.absolute] == pytest.approx([480 * 480 * 1e-5] * 2)
    loss = instantiation.instantiate(config, "loss")
    assert loss.bins == pytest.approx(Reflectivity().forward(np.array([0.5, 2, 5, 10, 30])), abs=1e-6)
    assert list(loss.weights) == [1, 1, 2, 5, 10, 30]


@pytest.mark.parametrize("model", ["shi2017", "convgru", "trajgru"])
def test_hko_7_takes_a_step(model, hko7, uncompiled, tmp_path, monkeypatch, capsys):
    overrides = [*HKO7, *([] if model == "shi2017" else [f"model={model}"])]
    overrides += ["model.links=2"] if model == "trajgru" else []
    settings = trained("shi2017_hko7", monkeypatch, capsys, tmp_path / "runs", *overrides)
    assert settings["model"]["cell"] == {"shi2017": "convlstm"}.get(model, model)


def test_hko_7_s_pictures_keep_their_values(hko7):
    config = composed("experiment=shi2017_hko7", *HKO7)
    data = instantiation.instantiate(config, "data")
    assert [data.size(split) for split in ("validation", "test")] == [3, 3]
    assert data.frame_shape == (60, 60, 1)
    assert {str(data.times("test", n)[0])[:4] for n in range(3)} == {"2015"}
    assert str(data.times("validation", 0)[0])[:4] == "2014"
    sample = data.sample("test", 0)
    assert not sample["mask"][:, :5].any()
    assert sample["mask"][:, 5:].all()
    # The picture's values over 255, except where there is too little rain to have a rate.
    pixels = np.round(sample["inputs"][:, 5:] * 255)
    assert np.abs(sample["inputs"][:, 5:] * 255 - pixels).max() < 1e-2
    assert pixels.max() > 150


def test_sevir_is_earthformer_s(sevir):
    config = composed("experiment=sevir_convlstm")
    data, trainer = config.data, config.trainer
    assert (data.input_frames, data.target_frames, data.stride, data.frame_size) == (13, 12, 12, None)
    assert data.split_dates == ["2019-01-01", "2019-06-01"]
    assert (trainer.batch_size, trainer.max_grad_norm, trainer.patience) == (32, 1.0, 20)
    assert trainer.max_steps == 100 * trainer.validate_every == 100 * (35718 // 32)
    assert (config.optimizer._target_, config.optimizer.weight_decay) == ("mlx.optimizers.AdamW", 0)
    assert config.optimizer.bias_correction
    rate = hydra.utils.instantiate(config.optimizer.learning_rate)
    assert [rate(mx.array(step)).item() for step in (22320, 111600)] == pytest.approx([1e-3, 1e-6])
    assert "ConvLSTM" in type(hydra.utils.instantiate(config.model).encoder[0]).__name__


def test_sevir_takes_a_step(sevir, uncompiled, tmp_path, monkeypatch, capsys):
    small = [*SEVIR, "trainer.batch_size=2", "trainer.accumulate=2"]
    trained("sevir_convlstm", monkeypatch, capsys, tmp_path / "runs", *small)


def test_sevir_s_events_are_split_by_date_and_divided_by_255(sevir):
    data = instantiation.instantiate(composed("experiment=sevir_convlstm", *SEVIR), "data")
    assert [data.size(split) for split in ("train", "validation", "test")] == [3, 3, 3]
    years = [str(data.times(split, 0)[0])[:7] for split in ("train", "validation", "test")]
    assert years == ["2018-05", "2019-03", "2019-06"]
    assert isinstance(data.transform, Linear)
    assert data.thresholds == [16, 74, 133, 160, 181, 219]
    import h5py

    with h5py.File(next(sevir.rglob("*.h5"))) as file:
        event = file["vil"][2][::-1]
    sample = data.sample("test", 1)
    frames = np.concatenate([sample["inputs"], sample["targets"]])[..., 0]
    np.testing.assert_allclose(frames, np.moveaxis(event, -1, 0)[2:7] / 255, atol=1e-6)


@pytest.mark.parametrize("name", sorted(path.stem for path in (PROJECT / "configs" / "experiment").glob("*.yaml")))
def test_every_experiment_composes_and_fits_its_types(name, monkeypatch, tmp_path):
    monkeypatch.setenv("CONVLSTM_DATA", str(tmp_path))
    config = composed(f"experiment={name}")
    config.name = "run"  # its default, the time, needs a start by Hydra
    instantiation.check_types(OmegaConf.to_container(config, resolve=True))
    first = (PROJECT / "configs" / "experiment" / f"{name}.yaml").read_text().splitlines()
    assert first[0] == "# @package _global_"
    assert re.match(r"# [A-Z]", first[1])
