"""Keras's models: their order in time, branches, directions, activations, and files without settings."""

from __future__ import annotations

import json
from pathlib import Path

import convlstm
from convlstm.architectures.convlstm_sequence import ConvLSTMSequence
from convlstm.convert import ConversionError, convert, keras
from convlstm.convert.__main__ import main
from convlstm.convert.keras_settings import RecurrentLayer, arguments, recurrent_layers
from tests.support.keras_files import keras_file

import mlx.core as mx
import numpy as np
import pytest

h5py = pytest.importorskip("h5py")

# A functional model that Keras 3.15 wrote: a backward layer with even kernels and hard_sigmoid, a bidirectional one
# with relu, an activation, a layer with a kernel of 1x2 and dropout; and its outputs for random frames.
SAVED = Path(__file__).parent / "keras_3"


def test_a_model_of_keras_has_keras_outputs(tmp_path, capsys):
    assert main([str(SAVED / "model.keras"), str(tmp_path / "run")]) == 0
    told = capsys.readouterr().out
    assert "left out, since they are no ConvLSTM2D: nothing" in told
    assert "in the order of the input's time. Those of Keras run backwards" in told
    model, saved = convlstm.load(tmp_path / "run"), np.load(SAVED / "forecast.npz")
    outputs, states = model(mx.array(saved["x"]))
    np.testing.assert_allclose(np.array(outputs)[:, ::-1], saved["y"], atol=2e-6)
    assert len(states[1]) == 2  # of both directions
    assert model.layers[2].dropout == 0.25


@pytest.mark.parametrize("form", [".keras", ".h5"])
def test_a_backward_layer_turns_those_after_it(form, tmp_path, rng):
    path = tmp_path / f"model{form}"
    keras_file(path, rng, [(2, 3, 3), (3, 4, 3), (4, 2, 3)], form, go_backwards=True)
    _, layers, _ = keras.read(path)
    assert [layer.get("reverse", False) for layer in layers] == [True, False, True]


def test_the_order_of_old_weights_is_that_of_their_names(tmp_path, rng):
    path = tmp_path / "old.h5"
    with h5py.File(path, "w") as file:
        for name, (C, O) in {"alpha": (3, 2), "zeta": (1, 3)}.items():
            shapes = {"kernel:0": (3, 3, C, 4 * O), "recurrent_kernel:0": (3, 3, O, 4 * O), "bias:0": (4 * O,)}
            for part, shape in shapes.items():
                file[f"{name}/{name}/{part}"] = rng.normal(size=shape).astype(np.float32)
        file.attrs["layer_names"] = [b"zeta", b"norm", b"alpha"]
    given = {"activation": "tanh", "recurrent_activation": "hard_sigmoid_keras2"}
    arrays, layers, _ = keras.read(path, **given)
    assert [(layer["in_channels"], layer["out_channels"]) for layer in layers] == [(1, 3), (3, 2)]
    assert [layer["recurrent_activation"] for layer in layers] == ["hard_sigmoid_keras2"] * 2
    assert convert(arrays, layers=layers).model(mx.zeros((1, 2, 5, 5, 1)))[0].shape == (1, 2, 1, 1, 2)
    with h5py.File(path, "a") as file:
        file.attrs["layer_names"] = [b"zeta"]
    with pytest.raises(ConversionError, match="its layer_names lack alpha"):
        keras.read(path, **given)


@pytest.mark.parametrize("given", [{}, {"activation": "tanh"}, {"recurrent_activation": "sigmoid"}])
def test_weights_without_settings_need_the_activations(given, tmp_path, rng):
    path = tmp_path / "model.weights.h5"
    keras_file(path, rng, [(2, 3, 3)], ".weights.h5")
    with pytest.raises(ConversionError, match="does not say which activations the layers have"):
        keras.read(path, **given)
    with pytest.raises(ValueError, match=r"'activation' must be one of tanh, sigmoid, .* but got 'swish'"):
        keras.read(path, activation="swish", recurrent_activation="sigmoid")


def layer(name, *sources, kind="ConvLSTM2D", old=False, **settings):
    """The description of a layer in a functional model, of Keras 3 or of Keras 2."""
    if old:
        calls = [[[source, 0, 0, {}] for source in sources]] if sources else []
    else:
        tensors = [{"class_name": "__keras_tensor__", "config": {"keras_history": [s, 0, 0]}} for s in sources]
        calls = [{"args": tensors, "kwargs": {"training": False}}] if sources else []
    return {"class_name": kind, "config": {"name": name} | settings, "inbound_nodes": calls}


def test_data_and_not_the_file_order_the_layers():
    for old in (False, True):
        chain = [layer("b", "n", old=old), layer("n", "a", kind="Dropout", old=old), layer("a", "frames", old=old)]
        assert [part.name for part in recurrent_layers(chain)] == ["a", "b"]
        assert [part.number for part in recurrent_layers(chain)] == [1, 0]


@pytest.mark.parametrize("old", [False, True])
@pytest.mark.parametrize(
    ("branches", "text"),
    [
        ([("a", "frames"), ("b", "a"), ("c", "a")], "layer 'c' and layer 'b' read the same data"),
        ([("a", "frames"), ("b", "frames")], "layer 'b' and layer 'a' read the same data"),
        ([("a", "frames"), ("b", "a", "frames")], "layer 'b' is called with 2 tensors"),
    ],
)
def test_branches_are_refused(branches, text, old):
    with pytest.raises(ConversionError, match=f"its layers are no chain: {text}"):
        recurrent_layers([layer(*names, old=old) for names in branches])


def test_branches_after_the_last_layer_do_not_matter():
    chain = [layer("a", "frames"), layer("b", "a"), layer("x", "b", kind="Conv2D"), layer("y", "b", "x", kind="Add")]
    assert [part.name for part in recurrent_layers(chain)] == ["a", "b"]


def test_a_circle_in_a_damaged_file_ends():
    recurrent_layers([layer("a", "x"), layer("x", "y", kind="Add"), layer("y", "x", kind="Add")])


@pytest.mark.parametrize(
    ("settings", "text"),
    [
        ({"merge_mode": None}, "'both' has merge_mode=None, but ours has concat, sum, mul, ave"),
        ({"layer": {"go_backwards": True}}, "'both' is Bidirectional with go_backwards=True"),
        ({"backward_layer": {"activation": "relu"}}, r"directions of different settings \(activation\)"),
    ],
)
def test_directions_that_ours_does_not_have(settings, text):
    inner = {"activation": "tanh", "go_backwards": False}
    of = {
        key: {"class_name": "ConvLSTM2D", "config": inner | settings.get(key, {})}
        for key in ("layer", "backward_layer")
    }
    both = layer("both", "frames", kind="Bidirectional", **settings | of)
    with pytest.raises(ConversionError, match=text):
        recurrent_layers([both])


def test_a_layer_that_returns_its_last_step_ends_the_chain():
    chain = [layer("a", "frames", return_sequences=False), layer("b", "a")]
    with pytest.raises(ConversionError, match="'a' has return_sequences=False, but layers follow"):
        recurrent_layers(chain)
    assert len(recurrent_layers(chain[:1])) == 1


@pytest.mark.parametrize("backwards", [False, True])
@pytest.mark.parametrize("merge", [None, "concat", "ave"])
def test_a_last_layer_returns_its_last_step_as_keras_does(backwards, merge):
    of = RecurrentLayer("a", "ConvLSTM2D", 0, {"padding": "same", "return_sequences": False}, merge)
    options = arguments(of, reverse=backwards, version="3.4.1", hard_sigmoid=None)
    assert options["return_sequences"] is False
    assert not keras.reversed_at_the_end([options])
    last = ConvLSTMSequence([{"in_channels": 2, "out_channels": 3, "kernel_size": 3} | options])
    every = ConvLSTMSequence([{"in_channels": 2, "out_channels": 3, "kernel_size": 3} | options | {"merge": None}])
    every.layers[0].return_sequences = True
    every.update(last.parameters())
    x = mx.random.normal((1, 4, 5, 6, 2), key=mx.random.key(0))
    # Keras returns the step that each direction computes last.
    sequences = every(x)[0] if merge else [every(x)[0]]
    ends = [sequence[:, 0 if backwards ^ (n == 1) else -1] for n, sequence in enumerate(sequences)]
    expected = {None: ends[0], "concat": mx.concatenate(ends, axis=-1), "ave": sum(ends) / len(ends)}[merge]
    np.testing.assert_allclose(last(x)[0], expected, atol=1e-6)


@pytest.mark.parametrize(
    ("version", "given", "ours"),
    [
        ("2.15.0", None, "hard_sigmoid_keras2"),
        ("3.4.1", None, "hard_sigmoid"),
        (None, "hard_sigmoid_keras2", "hard_sigmoid_keras2"),
        (None, "hard_sigmoid", "hard_sigmoid"),
    ],
)
def test_hard_sigmoid_is_that_of_the_version(version, given, ours):
    of = RecurrentLayer("a", "ConvLSTM2D", 0, {"recurrent_activation": "hard_sigmoid", "dropout": 0.0})
    result = arguments(of, reverse=False, version=version, hard_sigmoid=given)
    assert result["recurrent_activation"] == ours
    assert not {"dropout", "state_activation", "reverse"} & set(result)


@pytest.mark.parametrize(
    ("settings", "text"),
    [
        ({"recurrent_activation": "hard_sigmoid"}, "does not say which version of Keras wrote it"),
        ({"activation": "swish"}, "activation='swish', but ours computes only tanh, sigmoid, hard_sigmoid"),
        ({"activation": {"class_name": "Mine"}}, "activation={'class_name': 'Mine'}, but ours computes only"),
        ({"data_format": "channels_first"}, "data_format='channels_first'"),
    ],
)
def test_layers_that_compute_something_else(settings, text, tmp_path, rng):
    keras_file(tmp_path / "model.keras", rng, [(2, 3, 3)], ".keras", **settings)
    with pytest.raises(ConversionError, match=text):
        keras.read(tmp_path / "model.keras")


def test_layers_that_the_settings_lack_are_named(tmp_path, rng):
    keras_file(tmp_path / "model.h5", rng, [(2, 3, 3)], ".h5")
    with h5py.File(tmp_path / "model.h5", "a") as file:
        described = json.loads(file.attrs["model_config"])
        described["config"]["layers"] = [part for part in described["config"]["layers"] if part["config"] == {}]
        described["config"]["layers"].append({"class_name": "Dense", "config": {"name": "dense"}})
        file.attrs["model_config"] = json.dumps(described)
    with pytest.raises(ConversionError, match="that its settings do not describe: model_weights/conv_lstm2d/"):
        keras.read(tmp_path / "model.h5")
