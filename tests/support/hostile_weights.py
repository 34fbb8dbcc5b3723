"""Files of weights with which a stranger attacks their conversion."""

from __future__ import annotations

import io
import json
import struct
import zipfile

import numpy as np
import pytest


def npy(shape, dtype="<f4", data=b"\0" * 16):
    file = io.BytesIO()
    np.lib.format.write_array_header_1_0(file, {"descr": dtype, "fortran_order": False, "shape": shape})
    return file.getvalue() + data


def zipped(parts, packing=zipfile.ZIP_DEFLATED):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", packing) as archive:
        for name, content in parts.items():
            archive.writestr(name, content)
    return file.getvalue()


def tensor_file(header, data=b"\0" * 16):
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + data


def h5(fill=lambda file: None, config=None):
    h5py = pytest.importorskip("h5py")
    buffer = io.BytesIO()
    with h5py.File(buffer, "w") as file:
        fill(file)
        if config is not None:
            file.attrs["model_config"] = config
    return buffer.getvalue()


def cell(file):
    for part, shape in {"0": (3, 3, 1, 8), "1": (3, 3, 2, 8), "2": (8,)}.items():
        file[f"layers/conv_lstm2d/cell/vars/{part}"] = np.zeros(shape, np.float32)


def claims(**settings):
    def fill(file):
        settings_of = {"shape": (10_000_000, 1_000_000), "dtype": "f4", "chunks": (10, 10)} | settings
        file.create_dataset("layers/conv_lstm2d/cell/vars/0", **settings_of)

    return fill


def packed_zeros(file):
    file.create_dataset("layers/conv_lstm2d/cell/vars/0", data=np.zeros((80_000_000,), "f4"), compression="gzip")


def outside(file):
    cell(file)
    file.create_dataset("layers/a/kernel", (16,), "u1", external=[("/etc/passwd", 0, 16)])


def link(file):
    h5py = pytest.importorskip("h5py")
    cell(file)
    file["layers/a"] = h5py.ExternalLink("/tmp/other.h5", "/")


def keras(config, weights=None):
    return lambda: zipped({"config.json": config, "model.weights.h5": h5(cell) if weights is None else weights()})


LAYER = {"class_name": "ConvLSTM2D", "config": {"name": "conv_lstm2d"}}
GOOD = json.dumps({"class_name": "Sequential", "config": {"layers": [LAYER]}})
DEEP = "[" * 100_000
ATTACKS = {
    "a.npz": {
        "36 TB": lambda: zipped({"a.npy": npy((9, 10**12))}),
        "more than a number holds": lambda: zipped({"a.npy": npy((2**40, 2**40, 2**40))}),
        "negative": lambda: zipped({"a.npy": npy((-1, -4))}),
        "a bomb": lambda: zipped({"a.npy": npy((75_000_000,), data=b"\0" * 300_000_000)}),
        "objects": lambda: zipped({"a.npy": npy((1,), "|O")}),
        "texts": lambda: zipped({"a.npy": npy((1,), "<U4")}),
        "dates": lambda: zipped({"a.npy": npy((1,), "<M8[s]")}),
        "a record": lambda: zipped({"a.npy": npy((1,), [("a", "<f4"), ("b", "|O")])}),
        "no array": lambda: zipped({"a.txt": b"hello"}),
        "cut off": lambda: zipped({"a.npy": npy((4,))})[:-30],
        "a broken header": lambda: zipped({"a.npy": npy((4,)).replace(b"(4,)", b"(4,\0")}),
        "half of an array": lambda: zipped({"a.npy": npy((4,), data=b"\0" * 8)}),
        "another version": lambda: zipped({"a.npy": b"\x93NUMPY\x09\x00" + b"\0" * 80}),
        "nothing": lambda: b"",
        "no parts": lambda: zipped({}),
    },
    "a.safetensors": {
        "36 TB": lambda: tensor_file({"a": {"dtype": "F32", "shape": [9, 10**9], "data_offsets": [0, 36 * 10**9]}}),
        "a long header": lambda: struct.pack("<Q", 1 << 62) + b"{}",
        "deep": lambda: tensor_file(b'{"a":' + DEEP.encode()),
        "a list": lambda: tensor_file([1]),
        "a long number": lambda: tensor_file(b'{"a": ' + b"9" * 5_000 + b"}"),
    },
    "a.keras": {
        "no settings": lambda: zipped({"model.weights.h5": h5(cell)}),
        "no weights": lambda: zipped({"config.json": GOOD}),
        "a list": keras("[]"),
        "a number": keras("5"),
        "a list of lists": keras('{"config": [[1], [2]]}'),
        "layers that are a text": keras('{"config": {"layers": "abc"}}'),
        "a layer without settings": keras('{"config": {"layers": [{"class_name": "ConvLSTM2D"}]}}'),
        "a name that is a list": keras('{"config": {"layers": [{"class_name": "a", "config": {"name": [1]}}]}}'),
        "settings that are a list": keras('{"config": {"layers": [{"class_name": "a", "config": [1]}]}}'),
        "strides that are a text": keras(GOOD.replace('"conv_lstm2d"', '"conv_lstm2d", "strides": "many"')),
        "deep": keras('{"config": ' + DEEP),
        "deep and complete": keras('{"config": ' + "[" * 900 + "]" * 900 + "}"),
        "a long number": keras('{"config": ' + "9" * 5_000 + "}"),
        "long settings": keras('{"config": "' + "x" * (20 << 20) + '"}'),
        "a bomb": lambda: zipped({"config.json": GOOD, "model.weights.h5": b"\0" * 300_000_000}),
        "weights that are none": keras(GOOD, lambda: b"hello"),
        "36 TB": keras(GOOD, lambda: h5(claims())),
        "a link": keras(GOOD, lambda: h5(link)),
        "nothing": lambda: b"",
    },
    "a.h5": {
        "40 TB": lambda: h5(claims()),
        "a bomb": lambda: h5(packed_zeros),
        "texts": lambda: h5(claims(dtype="S4", shape=(4,), chunks=None)),
        "another file's bytes": lambda: h5(outside),
        "a link": lambda: h5(link),
        "deep settings": lambda: h5(cell, DEEP[:60_000]),
        "settings that are a list": lambda: h5(cell, "[1]"),
        "settings that are numbers": lambda: h5(cell, [1, 2]),
        "a long number": lambda: h5(lambda f: f.create_dataset("9" * 5_000 + "/vars/0", data=np.zeros((3, 3, 1, 8)))),
        "nothing": lambda: b"",
    },
}
