"""Products of ensembles, scored as forecasts of their own."""

import re

from convlstm import products as made
from convlstm.architectures.baselines import Persistence
from convlstm.architectures.ensemble import Ensemble
from convlstm.datasets.channels import Channel, Channels
from convlstm.datasets.radar_echo import RadarEcho
from convlstm.datasets.readers.grid import Field
from convlstm.datasets.transforms import Linear
from convlstm.evaluation.scoring import evaluate
from convlstm.evaluation.tables import table
from convlstm.metrics import FieldMetrics, FrameMetrics, RainMetrics
from tests.support.sea import Sea
from tests.support.tiny import Fade

import mlx.core as mx
import numpy as np
import pytest

MODELS = (Fade(1.0, 0.0), Fade(0.9, 0.0), Fade(0.6, 0.0))
ALL = ["median", "pmm", "csi"]


def overall(scores):
    return {name: values["overall"] for name, values in scores.items()}


@pytest.fixture(scope="module")
def rain():
    """Returns synthetic rain with three thresholds, and a batch of it."""
    data = RadarEcho(
        frame_size=32, input_frames=3, target_frames=2, thresholds=[0.5, 2, 5], synthetic={"wet_share": 0.6}
    )
    return data, next(iter(data.stream("test", 3, truth=True)))


def test_products_of_rain_have_the_scores_of_their_values(rain):
    data, batch = rain
    ensemble = Ensemble(MODELS)
    result = evaluate(
        {"ensemble": ensemble, "persistence": Persistence()}, [batch], rain=data, products=ALL, keep=1, ssim=False
    )
    rows = ["ensemble", "ensemble median", "ensemble pmm", "ensemble csi", "persistence"]
    assert list(result.scores) == list(result.spectra) == list(result.coverage) == rows
    assert list(result.examples[0].forecasts) == rows
    assert list(result.ensembles[""]) == ["ensemble"]
    members = data.physical(np.array(ensemble(mx.array(batch["inputs"]), 2)))
    for name, field in {
        "median": np.median(members, axis=0),
        "pmm": made.single("pmm", members, []),
        "csi": made.single("csi", members, [0.5, 2, 5]),
    }.items():
        metrics = RainMetrics([0.5, 2, 5], pixel_km=data.pixel_km)
        metrics.update(field, batch["truth"], batch.get("mask"))
        found = result.scores[f"ensemble {name}"]
        assert {kind: found[kind]["overall"] for kind in metrics.compute()} == pytest.approx(
            overall(metrics.compute()), rel=1e-5, nan_ok=True
        )
        frames = FrameMetrics(ssim=False)
        frames.update(data.transform.forward(field), np.array(batch["targets"]), batch.get("mask"))
        assert found["mse_per_pixel"]["overall"] == pytest.approx(overall(frames.compute())["mse_per_pixel"], rel=1e-4)
        assert "crps_mmh" not in found
    text = table(result)
    assert "ensemble median" in text
    assert result.speed["ensemble pmm"] == result.speed["ensemble"]


def test_nothing_changes_for_the_others(rain):
    data, batch = rain
    without, beside = (
        evaluate({"ensemble": Ensemble(MODELS)}, [batch], rain=data, products=products) for products in ([], ["pmm"])
    )
    assert list(without.scores) == ["ensemble"]
    assert overall(without.scores["ensemble"]) == pytest.approx(overall(beside.scores["ensemble"]), nan_ok=True)


def test_products_of_frames_have_one_event(rng):
    inputs, targets = (rng.uniform(0.1, 0.9, (2, t, 12, 15, 1)).astype(np.float32) for t in (3, 2))
    ensemble = Ensemble(MODELS)
    result = evaluate({"e": ensemble}, [{"inputs": inputs, "targets": targets}], products=["csi"], keep=1)
    members = np.array(ensemble(mx.array(inputs), 2))
    expected = made.single("csi", members, [0.5])
    np.testing.assert_array_equal(result.examples[0].forecasts["e csi"], expected[0])


class Warmth:
    """A sea with a single field, whose scale is a real one."""

    channels = Channels([Channel(Field("sst", "degC"), Linear(minimum=0, maximum=40))])
    target_fields = (Field("sst", "degC"),)
    target_channels = (0,)
    thresholds = (20.0,)

    def physical(self, x, reference=None):
        return self.channels.physical(np.asarray(x), reference)


def test_products_of_a_field(rng):
    inputs, targets = (rng.uniform(0.1, 0.9, (2, t, 12, 15, 1)).astype(np.float32) for t in (3, 2))
    data, ensemble = Warmth(), Ensemble(MODELS)
    batch = {"inputs": inputs, "targets": targets, "truth": data.physical(targets)}
    result = evaluate({"e": ensemble}, [batch], fields=data, products=["csi", "median"], keep=1)
    members = data.physical(np.array(ensemble(mx.array(inputs), 2)))
    metrics = FieldMetrics([("sst", "degC")], (20.0,))
    metrics.update(made.single("csi", members, [20]), batch["truth"], None)
    found = result.scores["e csi"]
    assert {kind: found[kind]["overall"] for kind in metrics.compute()} == pytest.approx(overall(metrics.compute()))
    np.testing.assert_allclose(
        40 * result.examples[0].forecasts["e median"], np.median(members, axis=0)[0], rtol=1e-5, atol=1e-4
    )


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"products": ["mean"]}, "'products' must be a list of median, pmm, csi but got ['mean']."),
        ({"products": "csi"}, "'products' must be a list of median, pmm, csi but got 'csi'."),
        ({"products": ["csi"], "forecasters": {"p": Persistence()}}, "but none of the forecasters is one."),
        ({"products": ["csi"], "fields": Sea()}, "'fields' must have channels but got"),
    ],
)
def test_wrong_products(options, text):
    with pytest.raises(ValueError, match=re.escape(text)):
        evaluate(**({"forecasters": {"e": Ensemble(MODELS)}, "batches": []} | options))


def test_csi_needs_thresholds_of_a_single_field():
    data = Warmth()
    data.thresholds = ()
    with pytest.raises(ValueError, match="the product 'csi' needs thresholds and a single field"):
        evaluate({"e": Ensemble(MODELS)}, [], fields=data, products=["csi"])
