"""The digits and the published sequences of Moving-MNIST, and the record of them."""

import json

from convlstm.datasets import MovingMNIST
from convlstm.datasets.digits import Digits
from tests.support.moving_digits import SQUARES, frames, small

import numpy as np
import pytest


def test_builtin_digits_and_their_record():
    record = MovingMNIST(digits="builtin", train_sequences=5, root="absent").describe()
    assert json.loads(json.dumps(record)) == record
    assert record["digits"] == "builtin"
    assert record["test"] == "generated"
    assert record["digit_images"] == {"train": 4500, "validation": 500, "test": 1000}
    assert record["sequences"] == {"train": 5, "validation": 1000, "test": 10000}
    assert len(record["digits_sha256"]) == 64


def test_the_record_tells_configurations_apart():
    assert small().describe() == small().describe()
    for change in (
        {"digits": Digits(SQUARES.train[::-1], SQUARES.test)},
        {"frame_size": 33},
        {"digit_size": 9},
        {"num_digits": 1},
        {"step": 0.2},
        {"input_frames": 9},
        {"target_frames": 9},
        {"test_sequences": 5},
    ):
        assert small(**change).describe() != small().describe()


def test_auto_falls_back_with_a_warning(tmp_path):
    with pytest.warns(UserWarning, match=r"Built-in digits drawn from fonts are used") as warned:
        data = MovingMNIST(root=tmp_path, mirrors=[])
    assert data.describe()["digits"] == "builtin"
    assert warned[0].filename == __file__


def test_mirrors_and_timeout_reach_the_download(tmp_path):
    import socket

    with socket.create_server(("127.0.0.1", 0)) as silent:
        mirror = f"http://127.0.0.1:{silent.getsockname()[1]}"
        with pytest.raises(FileNotFoundError, match=f"{mirror}.*no answer within 0.05 s"):
            MovingMNIST(root=tmp_path, digits="mnist", mirrors=[mirror], timeout=0.05)


def test_mnist(mnist_root):
    data = MovingMNIST(root=mnist_root, digits="mnist", mirrors=[])
    assert data.describe()["digits"] == "mnist"
    assert data.describe()["digit_images"] == {"train": 55000, "validation": 5000, "test": 10000}
    batch = next(data.stream("validation", 100))
    assert batch["targets"].shape == (100, 10, 64, 64, 1)
    assert batch["targets"].max() == 1.0
    # All-zero forecasts score about 174 summed over a frame's pixels, by the published test file.
    assert (batch["targets"].astype(np.float64) ** 2).sum(axis=(2, 3, 4)).mean() == pytest.approx(174, rel=0.06)


@pytest.fixture
def published(tmp_path):
    """A folder with a file like the published one, of five sequences, and the file's array."""
    sequences = np.random.default_rng(0).integers(0, 256, (20, 5, 64, 64)).astype(np.uint8)
    np.save(tmp_path / "mnist_test_seq.npy", sequences)
    return tmp_path, sequences


def from_file(root, **arguments):
    with pytest.warns(UserWarning, match=r"Built-in digits drawn from fonts are used"):
        return MovingMNIST(**{"root": root, "mirrors": [], **arguments})


def test_the_published_test_file(published):
    root, sequences = published
    data = from_file(root)
    assert data.describe()["test"] == "mnist_test_seq.npy"
    assert data.size("test") == data.describe()["sequences"]["test"] == 5
    batch = next(data.stream("test", 5))
    wanted = sequences.transpose(1, 0, 2, 3)[..., None].astype(np.float32) / np.float32(255)
    np.testing.assert_array_equal(batch["inputs"], wanted[:, :10])
    np.testing.assert_array_equal(batch["targets"], wanted[:, 10:])


def test_the_published_file_serves_shorter_and_fewer_sequences(published):
    root, sequences = published
    data = from_file(root, input_frames=4, target_frames=3, test_sequences=2, dtype="uint8")
    assert data.size("test") == 2
    np.testing.assert_array_equal(frames(data, "test", 1), sequences[:7, 1])


@pytest.mark.parametrize(
    "change",
    [{"frame_size": (64, 65)}, {"num_digits": 3}, {"digit_size": 20}, {"step": 0.2}, {"target_frames": 11}],
)
def test_the_published_file_is_ignored_if_it_does_not_fit(published, change):
    data = from_file(published[0], **change)
    assert data.describe()["test"] == "generated"
    assert data.size("test") == 10000


def test_the_published_file_is_ignored_for_built_in_digits(published):
    assert MovingMNIST(root=published[0], digits="builtin").describe()["test"] == "generated"


@pytest.mark.parametrize("array", [np.zeros((5, 20, 64, 64), np.uint8), np.zeros((20, 5, 64, 64), np.float32)])
def test_a_published_file_of_another_shape(tmp_path, array):
    np.save(tmp_path / "mnist_test_seq.npy", array)
    with pytest.raises(ValueError, match=r"must be a uint8 array of \(20, N, 64, 64\) but is .*Delete it or set"):
        from_file(tmp_path)


def test_a_damaged_published_file(published):
    path = published[0] / "mnist_test_seq.npy"
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(ValueError, match=r"mnist_test_seq.npy cannot be read .*Delete it or set data.root"):
        from_file(published[0])
    # NumPy raises neither ValueError nor OSError for this header.
    path.write_bytes(b"\x93NUMPY\x01\x00v\x00{" + bytes(200))
    with pytest.raises(ValueError, match=r"mnist_test_seq.npy cannot be read"):
        from_file(published[0])


def test_a_published_file_that_is_cut_off_meanwhile(published):
    """A mapped file would end the process with SIGBUS."""
    data = from_file(published[0])
    path = published[0] / "mnist_test_seq.npy"
    path.write_bytes(path.read_bytes()[:500])
    with pytest.raises(ValueError, match=r"mnist_test_seq.npy cannot be read any more .*is cut off"):
        data.sample("test", 0)


def test_a_published_file_in_the_order_of_fortran(published):
    path = published[0] / "mnist_test_seq.npy"
    np.save(path, np.asfortranarray(np.load(path)))
    with pytest.raises(ValueError, match="must be in the order of C"):
        from_file(published[0])
