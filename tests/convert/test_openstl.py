"""Models of OpenSTL and predrnn-pytorch: the same forecasts, there and back."""

from __future__ import annotations

from convlstm.architectures.convlstm_sequence import ConvLSTMSequence
from convlstm.architectures.convlstm_stack import ConvLSTMStack
from convlstm.architectures.predrnn import PredRNN
from convlstm.architectures.simvp import SimVP
from convlstm.convert import ConversionError, convert, to_state_dict, write_state_dict
from tests.support.reference import close, normal

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from tests.support import torch_predrnn  # noqa: E402
from tests.support.torch_openstl import NETWORKS, arrays_of, openstl_stack  # noqa: E402

from torch import nn  # noqa: E402


@pytest.mark.parametrize("legacy", [False, True])
def test_the_stack_forecasts_as_openstl(legacy, rng):
    network = openstl_stack()
    found = convert(arrays_of(network), patch_size=2, legacy=legacy)
    assert isinstance(found.model, ConvLSTMStack)
    x = normal(rng, (2, 4, 8, 12, 2))
    with torch.no_grad():
        expected = network(torch_predrnn.patches(x, 2).float(), 3, legacy)
    close(found.model(x, 3), torch_predrnn.pixels(expected, 2), 1e-4)
    assert found.dead == sorted(n for n in arrays_of(network) if "conv_o" in n or ".conv_last" in n)


@pytest.mark.parametrize("kind", ["predrnn", "predrnn with norms", "predrnn_v2"])
def test_predrnn_forecasts_as_the_published_code(kind, rng):
    network = NETWORKS[kind]()
    found = convert(arrays_of(network), patch_size=2)
    assert isinstance(found.model, PredRNN)
    assert (found.model.decoupling is not None) == (kind == "predrnn_v2")
    x = normal(rng, (2, 4, 8, 12, 1))
    patches = torch_predrnn.patches(x, 2).float()
    with torch.no_grad():
        frames, _ = network(lambda t, frame: patches[:, t] if t < 4 else frame, 6)
    close(found.model(x, 3), torch_predrnn.pixels(frames[:, -3:], 2), 1e-4)
    assert found.dead == []


@pytest.mark.parametrize("kind", ["simvp", "simvp_incepu"])
def test_simvp_forecasts_as_openstl(kind, rng):
    network = NETWORKS[kind]()
    found = convert(arrays_of(network))
    assert isinstance(found.model, SimVP)
    x = normal(rng, (2, 3, 8, 12, 2))
    with torch.no_grad():
        expected = network(torch.tensor(np.array(x.transpose(0, 1, 4, 2, 3))))
    close(found.model(x, 3).transpose(0, 1, 4, 2, 3), expected.numpy(), 1e-4)


@pytest.mark.parametrize("kind", NETWORKS)
def test_there_and_back_is_exact(kind):
    network = NETWORKS[kind]()
    arrays = arrays_of(network)
    found = convert(arrays, patch_size=2)
    back = to_state_dict(found.model, found.description)
    assert set(back) == set(arrays)
    for name, array in back.items():
        assert array.dtype == arrays[name].dtype
        assert np.array_equal(array, np.zeros_like(arrays[name]) if name in found.dead else arrays[name]), name
    network.load_state_dict({name: torch.tensor(array) for name, array in back.items()})  # asks for each of them


def test_weights_of_another_model(tmp_path):
    with pytest.raises(ConversionError, match=r"belong to no known model \(layer1.weight, ...\). Known are"):
        convert({"layer1.weight": np.zeros(3)})


def test_a_model_without_a_counterpart(tmp_path):
    with pytest.raises(ConversionError, match="Persistence has no counterpart elsewhere"):
        to_state_dict(nn.Identity(), {"_target_": "convlstm.architectures.baselines.Persistence"})
    model = ConvLSTMStack(1, (3,), kernel_size=3, patch_size=2, bias=True)
    with pytest.raises(ConversionError, match=r"no counterpart elsewhere: layers\.0\.cell\.bias"):
        to_state_dict(model, {"_target_": "convlstm.architectures.convlstm_stack.ConvLSTMStack"})
    with pytest.raises(ConversionError, match="has an unknown ending"):
        write_state_dict(tmp_path / "a.txt", {"a": np.zeros(2)})


def test_settings_that_a_state_dict_cannot_hold_are_refused():
    layers = [{"in_channels": 2, "out_channels": 3, "kernel_size": 3, "stride": [2, 2], "peepholes": False}]
    description = {"_target_": "convlstm.architectures.convlstm_sequence.ConvLSTMSequence", "layers": layers}
    with pytest.raises(ConversionError, match=r"ndrplz's ConvLSTM always has stride=1 but this model has \[2, 2\]"):
        to_state_dict(ConvLSTMSequence(layers), description)
    description = {"_target_": "convlstm.architectures.predrnn.PredRNN", "forget_bias": 0.0}
    with pytest.raises(ConversionError, match=r"PredRNN always has forget_bias=1 but this model has 0.0"):
        to_state_dict(PredRNN(1, (3,), kernel_size=3, forget_bias=0.0), description)
