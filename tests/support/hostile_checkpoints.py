"""Texts and headers with which a stranger's checkpoint attacks the programs that load it."""

from __future__ import annotations

import json
import struct

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
