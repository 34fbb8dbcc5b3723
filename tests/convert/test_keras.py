"""Keras's ConvLSTM2D layers."""

from __future__ import annotations

import io
import json
import zipfile

import convlstm
from convlstm.convert import ConversionError, convert, keras
from convlstm.convert.__main__ import main
from tests.support import reference
from tests.support.keras_files import keras_file
from tests.support.reference import close, normal

import numpy as np
import pytest

pytest.importorskip("h5py")


@pytest.mark.parametrize(
    ("form", "names"),
    [
        (".keras", None),
        (".keras", ["conv_lstm2d_1", "conv_lstm2d_2"]),  # the second model of a session
        (".keras", ["last", "first"]),
        (".h5", None),
        (".h5", ["last", "first"]),
        (".weights.h5", None),
    ],
)
def test_keras_layers(form, names, tmp_path, capsys, rng):
    path = tmp_path / f"model{form}"
    cells = keras_file(path, rng, [(2, 3, 3), (3, 4, 5)], form, names)
    given = ["--padding", "same", "--activation", "tanh", "--recurrent-activation", "sigmoid"]
    options = given if form == ".weights.h5" else []
    assert main([str(path), str(tmp_path / "run"), *options]) == 0
    assert "left out, since they are no ConvLSTM2D: batch_normalization" in capsys.readouterr().out
    x = normal(rng, (2, 4, 6, 7, 2))
    expected = np.array(x, np.float64)
    for kernel, recurrent, bias in cells:
        weights = {"Wx": kernel.transpose(3, 0, 1, 2), "Wh": recurrent.transpose(3, 0, 1, 2), "bias": bias}
        state = (np.zeros((2, 6, 7, recurrent.shape[2])),) * 2
        outputs = []
        for t in range(4):
            state = reference.cell(expected[:, t], *state, {k: a.astype(np.float64) for k, a in weights.items()})
            outputs.append(state[0])
        expected = np.stack(outputs, axis=1)
    outputs, _ = convlstm.load(tmp_path / "run")(x)
    close(outputs, expected, 1e-4)


def test_settings_of_keras_layers(tmp_path, rng):
    path = tmp_path / "model.keras"
    keras_file(path, rng, [(2, 3, 3)], ".keras", padding="valid", strides=[2, 1], go_backwards=True)
    arrays, layers, _ = keras.read(path)
    assert layers == [
        {
            "in_channels": 2,
            "out_channels": 3,
            "kernel_size": [3, 3],
            "bias": True,
            "peepholes": False,
            "padding": "valid",
            "stride": [2, 1],
            "dilation": [1, 1],
            "reverse": True,
        }
    ]
    assert convert(arrays, layers=layers).model(normal(rng, (1, 2, 7, 7, 2)))[0].shape == (1, 2, 3, 5, 3)


def test_a_sequential_model_of_old_is_a_list(tmp_path, rng):
    h5py = pytest.importorskip("h5py")
    keras_file(tmp_path / "model.h5", rng, [(2, 3, 3)], ".h5")
    with h5py.File(tmp_path / "model.h5", "a") as file:
        layer = {"class_name": "ConvLSTM2D", "config": {"name": "conv_lstm2d"}}
        file.attrs["model_config"] = json.dumps({"class_name": "Sequential", "config": [layer]})
    _, layers, _ = keras.read(tmp_path / "model.h5", padding="same")
    assert (layers[0]["padding"], layers[0]["stride"], layers[0]["dilation"]) == ("valid", [1, 1], [1, 1])


@pytest.mark.parametrize("form", [".keras", ".h5", ".weights.h5"])
def test_keras_layers_within_others_are_refused(form, tmp_path, rng):
    h5py = pytest.importorskip("h5py")
    keras_file(tmp_path / "one.weights.h5", rng, [(2, 3, 3)], ".weights.h5")
    old = "model_weights/bidirectional/sequential/bidirectional/{}_conv_lstm2d/conv_lstm_cell/{}"
    buffer = io.BytesIO()
    with h5py.File(tmp_path / "one.weights.h5") as one, h5py.File(buffer, "w") as file:
        for side in ("backward", "forward"):
            for n, part in enumerate(("kernel", "recurrent_kernel", "bias")):
                new = f"layers/bidirectional/{side}_layer/cell/vars/{n}"
                file[old.format(side, part) if form == ".h5" else new] = one[f"layers/conv_lstm2d/cell/vars/{n}"][()]
        inner = {"class_name": "ConvLSTM2D", "config": {"name": "conv_lstm2d"}}
        layer = {"class_name": "TimeDistributed", "config": {"name": "bidirectional", "layer": inner}}
        config = json.dumps({"class_name": "Sequential", "config": {"layers": [layer]}})
        if form == ".h5":
            file.attrs["model_config"] = config
    path = tmp_path / f"model{form}"
    path.write_bytes(buffer.getvalue())
    if form == ".keras":
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("config.json", config)
            archive.writestr("model.weights.h5", buffer.getvalue())
    named = "layers/bidirectional/backward_layer" if form == ".weights.h5" else r"bidirectional \(TimeDistributed\)"
    with pytest.raises(ConversionError, match=f"within others, which are not converted: {named}"):
        keras.read(path)


def test_files_of_keras_that_cannot_be_read(tmp_path):
    h5py = pytest.importorskip("h5py")
    for name in ("a.h5", "a.keras"):
        (tmp_path / name).write_bytes(b"damaged")
        with pytest.raises(ConversionError, match="cannot be read"):
            keras.read(tmp_path / name)
    with h5py.File(tmp_path / "b.h5", "w") as file:
        file["layers/dense/vars/0"] = np.zeros((3, 4))
    with pytest.raises(ConversionError, match="has no ConvLSTM2D layers"):
        keras.read(tmp_path / "b.h5")
