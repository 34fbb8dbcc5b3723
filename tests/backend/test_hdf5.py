"""HDF5 files that are not complete in themselves are refused before data are read."""

from __future__ import annotations

import time

from convlstm.backend.hdf5 import MOST_OBJECTS, check_self_contained
from tests.support.hdf5_strangers import WAYS, replace, write_secret

import numpy as np
import pytest

h5py = pytest.importorskip("h5py")


def refusal(path):
    """Returns the text with which a file is refused, within 10 s."""
    began = time.monotonic()
    with h5py.File(path, "r") as file, pytest.raises(ValueError, match=r"^has ") as caught:
        check_self_contained(file)
    assert time.monotonic() - began < 10
    return str(caught.value)


@pytest.fixture
def path(tmp_path):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["a/b/data"] = np.zeros((4, 5))
    return tmp_path / "a.h5"


def test_usual_files_pass(path):
    with h5py.File(path, "a") as file:
        data = np.zeros((10, 10), np.int32)
        file.create_dataset("gzip", data=data, compression="gzip", shuffle=True, fletcher32=True)
        file.create_dataset("lzf", data=data, compression="lzf")
        file.create_dataset("scaled", data=data, scaleoffset=0)
        file.create_dataset("chunked", data=data, chunks=(5, 5), maxshape=(None, 10))
        file["soft"] = h5py.SoftLink("/a/b/data")
        file["nowhere"] = h5py.SoftLink("/nothing")
        file["hard"] = file["a/b/data"]
        file["a/b/circle"] = file["a"]
        file["type"] = np.dtype("f4")
    with h5py.File(path, "r") as file:
        check_self_contained(file)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("name", ["top", "a/b/data"])
def test_what_is_not_in_the_file(tmp_path, path, way, name):
    secret = write_secret(tmp_path / "secret", (4, 5), "f8")
    with h5py.File(path, "a") as file:
        file["top"] = np.zeros((4, 5))
        replace(file, name, way, secret)
    text = refusal(path)
    assert {"u": "filter", "v": "other files", "e": "", "s": "another file"}[way[0]] in text


def test_an_external_link_of_a_group(tmp_path, path):
    secret = write_secret(tmp_path / "secret", (4, 5), "f8")
    with h5py.File(path, "a") as file:
        file["a/c"] = h5py.ExternalLink(str(secret / "secret.h5"), "/group")
    assert refusal(path) == "has a link to another file, '/a/c', which is not followed"


def test_a_link_to_a_pipe_is_not_opened(tmp_path, path):
    import os

    os.mkfifo(tmp_path / "pipe")
    with h5py.File(path, "a") as file:
        file["a/c"] = h5py.ExternalLink(str(tmp_path / "pipe"), "/group")
    assert "'/a/c'" in refusal(path)


def test_too_many_objects_or_levels(tmp_path):
    with h5py.File(tmp_path / "many.h5", "w") as file:
        target = file.create_group("target")
        for number in range(MOST_OBJECTS):
            target[str(number)] = h5py.SoftLink("/target")
    assert refusal(tmp_path / "many.h5") == "has more than 20,000 objects or 50 levels of groups"
    with h5py.File(tmp_path / "deep.h5", "w") as file:
        file.create_group("/".join("a" * 60))
    assert "50 levels" in refusal(tmp_path / "deep.h5")
