"""Bins of losses in mm/h: they follow the transform of the data, and need rain."""

from types import SimpleNamespace

from convlstm.cli.rain_loss import fit_to_data
from convlstm.datasets.transforms import Linear, LogRain, Reflectivity
from tests.support.tiny import OVERRIDES, call

import hydra
import pytest
from omegaconf import OmegaConf

TO_UNIT = "convlstm.datasets.transforms.to_unit"


def bins(transform, described=None, values=(0.5, 2, 5, 10, 30)):
    """Returns the bins for data of a transform, which the configuration describes or leaves to the data."""
    section = {"_target_": TO_UNIT, "transform": "${oc.select:data.transform,null}", "values": list(values)}
    config = OmegaConf.create({"data": {"transform": described}, "loss": {"losses": [{"bins": section}]}})
    fit_to_data(config, SimpleNamespace(transform=transform))
    return hydra.utils.instantiate(config.loss.losses[0].bins, _convert_="all")


@pytest.mark.parametrize("transform", [Reflectivity(), Reflectivity(maximum=70.0), LogRain(0.05, 200.0)])
def test_bins_are_the_same_if_the_transform_is_written_out_or_not(transform):
    name = type(transform).__name__
    record = {key: value for key, value in transform.describe().items() if key != "name"}
    described = {"_target_": f"convlstm.datasets.transforms.{name}"} | record
    expected = transform.forward([0.5, 2, 5, 10, 30]).tolist()
    assert bins(transform) == bins(transform, described) == pytest.approx(expected)


def test_own_values_are_in_the_units_of_other_data():
    written_out = {"_target_": "convlstm.datasets.transforms.Linear", "scale": 255.0}
    for described in (None, written_out):
        assert bins(Linear(), described, (51, 102)) == pytest.approx([0.2, 0.4])


def test_another_transform_that_is_named_stays():
    section = {"_target_": TO_UNIT, "transform": {"_target_": "convlstm.datasets.transforms.LogRain"}, "values": [1]}
    config = OmegaConf.create({"data": {}, "loss": {"bins": section}})
    fit_to_data(config, SimpleNamespace())
    assert config.loss.bins.transform == {"_target_": "convlstm.datasets.transforms.LogRain"}


@pytest.mark.parametrize("loss", ["balanced", "b_mse", "b_mae", "balanced_csi"])
def test_data_without_rain_are_refused(monkeypatch, capsys, tmp_path, loss):
    line = [*OVERRIDES, f"loss={loss}", f"output={tmp_path}", "name=a", "trainer.max_steps=1"]
    status, _, err = call("train", monkeypatch, capsys, *line)
    assert status == 1
    assert f"loss={loss} is for rain: 'loss." in err
    assert "is in mm/h, but the data are values in [0, 1]. Choose another loss, such as loss=mse" in err
    assert "nterpolation" not in err
