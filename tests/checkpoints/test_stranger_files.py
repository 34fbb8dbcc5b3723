"""Texts and headers in a stranger's checkpoint, none of which is trusted."""

from __future__ import annotations

import json
import struct

from convlstm.checkpoints import CheckpointError, load, read_config, restore, seal
from convlstm.models import EncoderForecaster
from tests.support.strangers import DESCRIPTION, refused, watched

import mlx.optimizers as optim
import pytest
from hypothesis import given
from hypothesis import strategies as st

TEXTS = {
    "apply": "model: !!python/object/apply:os.system ['touch it_ran']",
    "new": "model: !!python/object/new:marker.Model {}",
    "name": "model: !!python/name:os.system",
    "module": "model: !!python/module:marker",
    "object": "model: !!python/object:marker.Model {a: 1}",
    "tuple": "model: !!python/tuple [1, 2]",
    "own tag": "model: !os.system touch",
    "a bomb": "a: &a [x, x]\nb: &b [*a, *a]\nmodel: {c: [*b, *b]}",
    "a merge": "a: &a {x: 1}\nmodel: {<<: [*a, *a]}",
    "a circle": "model: &a {b: *a}",
    "a wrong date": "model: {a: 2020-99-99}",
    "no int": "model: {a: !!int ''}",
    "no bool": "model: {a: !!bool perhaps}",
    "no float": "model: {a: !!float ''}",
    "a key that is a list": "model: {? [a] : b}",
    "two documents": "model: {}\n---\nmodel: {}",
    "depth": "model: {a: " + "[" * 300 + "]" * 300 + "}",
    "nul": "model: {a: '\0'}",
    "a long one": "model: {a: '" + "x" * (1 << 18) + "'}",
}


@pytest.mark.parametrize("text", TEXTS.values(), ids=TEXTS)
def test_a_configuration_is_plain_values(text, last, secret, marker):
    (last / "config.yaml").write_text(text)
    seal(last)
    refused(secret, lambda: read_config(last), r"config\.yaml' is damaged: ", CheckpointError)
    refused(secret, lambda: load(last), r"config\.yaml' is damaged: ", CheckpointError)


@pytest.mark.parametrize(
    "text",
    ["", "[]", "null", "[" * 100_000, '{"step": 1e400}', '{"step": ' + "9" * 5000 + "}", "\ufeff{}", '{"step": NaN}'],
    ids=range(8),
)
def test_a_state_is_plain_values(text, last, secret):
    (last / "state.json").write_text(text)
    seal(last)
    refused(secret, lambda: load(last), r"state\.json' is damaged: ", CheckpointError)


def tensor_file(header, data=b"\0" * 16, length=None):
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text) if length is None else length) + text + data


def entry(shape=(4,), offsets=(0, 16), dtype="F32", **more):
    return {"dtype": dtype, "shape": list(shape), "data_offsets": list(offsets), **more}


HEADERS = {
    "shorter than its length": b"\x08\x00",
    "longest length": tensor_file({"a": entry()}, length=2**64 - 1),
    "negative length": tensor_file({"a": entry()}, length=2**63),
    "length beyond the end": tensor_file({"a": entry()}, length=1000),
    "length of nothing": tensor_file({"a": entry()}, length=0),
    "a header of 17 MB": tensor_file(b'{"a": "' + b" " * (17 << 20) + b'"}'),
    "negative offset": tensor_file({"a": entry(offsets=(-16, 0))}),
    "offset beyond the end": tensor_file({"a": entry(offsets=(16, 32))}),
    "offset far beyond the end": tensor_file({"a": entry(offsets=(2**62, 2**62 + 16))}),
    "offset of 2^64": tensor_file({"a": entry(offsets=(2**64, 2**64 + 16))}),
    "end before begin": tensor_file({"a": entry(offsets=(16, 0))}),
    "a gap": tensor_file({"a": entry((2,), (0, 8)), "b": entry((1,), (12, 16))}),
    "an overlap": tensor_file({"a": entry(), "b": entry()}),
    "bytes at the end": tensor_file({"a": entry()}, data=b"\0" * 20),
    "fewer bytes": tensor_file({"a": entry()}, data=b"\0" * 12),
    "negative shape": tensor_file({"a": entry((-4,))}),
    "two negatives": tensor_file({"a": entry((-2, -2))}),
    "a product that overflows": tensor_file({"a": entry((2**31 + 1, 2**33))}),
    "a product that wraps": tensor_file({"a": entry((2**32, 2**32, 4))}),
    "a huge empty one": tensor_file({"a": entry((2**62, 0), (0, 0))}, data=b""),
    "many axes": tensor_file({"a": entry((1,) * 40 + (4,))}),
    "another size": tensor_file({"a": entry((5,))}),
    "a type that is none": tensor_file({"a": entry(dtype="PICKLE")}),
    "a type that is a list": tensor_file({"a": entry(dtype=["F32"])}),
    "a shape of fractions": tensor_file({"a": entry((4.0,))}),
    "a shape of truths": tensor_file({"a": entry((True, 4))}),
    "a shape of text": tensor_file({"a": entry() | {"shape": "4"}}),
    "three offsets": tensor_file({"a": entry(offsets=(0, 8, 16))}),
    "a further key": tensor_file({"a": entry(path="../secret")}),
    "no shape": tensor_file({"a": {"dtype": "F32", "data_offsets": [0, 16]}}),
    "no mapping": tensor_file({"a": [1, 2]}),
    "a list": tensor_file([1, 2]),
    "a name twice": tensor_file(b'{"a":%b,"a":%b}' % ((json.dumps(entry()).encode(),) * 2)),
    "a name that moves the cursor": tensor_file({"\x1b[2Ja": entry()}),
    "no JSON": tensor_file(b"{a: 1}"),
    "no text": tensor_file(b"\xff\xfe\xfd"),
    "depth": tensor_file(b"[" * 100_000),
    "a long number": tensor_file(b'{"a": ' + b"9" * 10_000 + b"}"),
}


@pytest.mark.parametrize("content", HEADERS.values(), ids=HEADERS)
@pytest.mark.parametrize("file", ["model.safetensors", "optimizer.safetensors"])
def test_a_header_is_not_believed(file, content, last, secret):
    (last / file).write_bytes(content)
    seal(last)
    refused(secret, lambda: load(last), rf"{file}' is damaged: it", CheckpointError)


def test_text_in_messages_moves_no_cursor(last, secret):
    (last / "model.safetensors").write_bytes(HEADERS["a name that moves the cursor"])
    seal(last)
    with pytest.raises(CheckpointError) as caught:
        load(last)
    assert "\x1b" not in str(caught.value)
    assert r"'\x1b[2Ja'" in str(caught.value)


def test_restore_is_as_careful(last, secret):
    model = EncoderForecaster(**{name: value for name, value in DESCRIPTION.items() if name != "_target_"})
    optimizer = optim.Adam(0.1)
    optimizer.init(model.trainable_parameters())
    assert watched(secret, lambda: restore(last, model, optimizer))["step"] == 0
    (last / "optimizer.safetensors").write_bytes(HEADERS["two negatives"])
    seal(last)
    refused(secret, lambda: restore(last, model, optimizer), r"optimizer\.safetensors' is damaged", CheckpointError)


@pytest.mark.parametrize("file", ["model.safetensors", "state.json", "config.yaml"])
def test_changed_bytes_give_one_of_our_errors(file, last, secret):
    """Changes some bytes of a file and writes matching checksums."""
    content = (last / file).read_bytes()
    header = 8 + int.from_bytes(content[:8], "little") if file == "model.safetensors" else len(content)
    byte = st.sampled_from(b'\x00\xff{}[]",:-!&*09eE.~ \n') | st.integers(0, 255)
    failed = 0

    @given(changes=st.dictionaries(st.integers(0, header - 1), byte, min_size=1, max_size=5))
    def changed_bytes(changes):
        nonlocal failed
        changed = bytearray(content)
        for position, value in changes.items():
            changed[position] = value
        (last / file).write_bytes(changed)
        seal(last)
        try:
            model = watched(secret, lambda: load(last))
        except ValueError:
            failed += 1
        else:
            assert isinstance(model, EncoderForecaster)

    changed_bytes()
    assert failed > 30
