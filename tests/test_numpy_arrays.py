"""Arrays of NumPy, which models and layers do not take, are refused in our own words."""

from convlstm.architectures.baselines import BASELINES
from convlstm.architectures.convgru import ConvGRU, ConvGRUCell
from convlstm.architectures.convlstm_sequence import ConvLSTMSequence
from convlstm.architectures.st_lstm import STLSTMCell
from convlstm.architectures.trajgru import TrajGRU, TrajGRUCell
from convlstm.layers import ConvLSTM, ConvLSTMCell
from tests.test_contract import MODELS

import numpy as np
import pytest

LAYERS = (ConvLSTM, ConvGRU, TrajGRU)
CELLS = (ConvLSTMCell, ConvGRUCell, TrajGRUCell, STLSTMCell)
FRAMES = np.zeros((1, 3, 8, 12, 2), np.float32)
CALLS = {
    **{name: lambda x, build=build: build(2)(x, 2) for name, build in MODELS.items()},
    **{name: lambda x, build=build: build()(x, 2) for name, build in BASELINES.items()},
    **{kind.__name__: lambda x, kind=kind: kind(2, 4, 3)(x) for kind in LAYERS},
    **{kind.__name__: lambda x, kind=kind: kind(2, 4, 3)(x[:, 0]) for kind in CELLS},
    "sequence": lambda x: ConvLSTMSequence([{"in_channels": 2, "out_channels": 3}])(x),
}


@pytest.mark.parametrize("dtype", [np.float32, np.uint8])
@pytest.mark.parametrize("name", CALLS)
def test_arrays_of_numpy_are_refused(name, dtype):
    text = r"^\[\w+\] expected an array of MLX but got numpy\.ndarray\. Convert it: mx\.array\(x\)\.$"
    with pytest.raises(TypeError, match=text):
        CALLS[name](FRAMES.astype(dtype))


@pytest.mark.parametrize("name", [name for name, call in CALLS.items() if not name.endswith("Cell")])
def test_lists_are_refused_in_the_same_words(name):
    text = r"^\[\w+\] expected an array of MLX but got list\. Convert it: mx\.array\(x\)\.$"
    with pytest.raises(TypeError, match=text):
        CALLS[name](FRAMES.tolist())
