import gzip
import hashlib
import http.server
import socket
import struct
import threading
import time

from convlstm.datasets.digits import (
    MD5,
    TEST_FILE,
    TRAIN_FILE,
    Digits,
    download,
    load_digits,
    mnist_files,
    read_idx,
    resize,
)
from convlstm.datasets.glyphs import draw_digits

import numpy as np
import pytest

IMAGES = np.arange(2 * 3 * 4, dtype=np.uint8).reshape(2, 3, 4)


def idx(array):
    return bytes([0, 0, 8, array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape) + array.tobytes()


BODY = gzip.compress(idx(IMAGES), mtime=0)  # without a time, so that the names of tests stay the same


BODY_MD5 = hashlib.md5(BODY).hexdigest()


@pytest.fixture
def server(monkeypatch):
    """A local server: `server.files[path] = (status, body, claimed length)`, and `server.asked` lists the paths."""
    monkeypatch.setenv("no_proxy", "*")

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            self.server.asked.append(self.path)
            status, body, length = self.server.files.get(self.path, (404, b"", 0))
            self.send_response(status)
            self.send_header("Content-Length", str(length))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.files, server.asked = {}, []
        server.url = f"http://127.0.0.1:{server.server_port}"
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def refused():
    """Returns an address on this machine without a server."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{probe.getsockname()[1]}"


def names(folder):
    return [path.name for path in folder.iterdir()]


@pytest.mark.parametrize("pack", [bytes, gzip.compress])
@pytest.mark.parametrize("array", [IMAGES, np.array([7, 2, 1], np.uint8)])
def test_read_idx(tmp_path, pack, array):
    (tmp_path / "file").write_bytes(pack(idx(array)))
    np.testing.assert_array_equal(read_idx(tmp_path / "file"), array)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (BODY[:-9], r"file is a damaged gzip file \(.*\). Download it again"),
        (b"\x00\x00\x0d\x01" + bytes(8), "must be an IDX file of unsigned bytes but starts with 00000d01"),
        (b"", "must be an IDX file of unsigned bytes"),
        (idx(IMAGES)[:-1], r"must hold 24 values for \(2, 3, 4\) but has 23"),
    ],
)
def test_read_idx_errors(tmp_path, data, message):
    (tmp_path / "file").write_bytes(data)
    with pytest.raises(ValueError, match=message):
        read_idx(tmp_path / "file")


def test_download(tmp_path, server):
    server.files["/mnist/a.gz"] = (200, BODY, len(BODY))
    root = tmp_path / "new" / "folder"
    path = download("a.gz", root, BODY_MD5, mirrors=[server.url + "/mnist/"])
    assert path == root / "a.gz"
    assert names(root) == ["a.gz"]
    np.testing.assert_array_equal(read_idx(path), IMAGES)


@pytest.mark.parametrize(
    "first",
    [(404, b"", 0), (200, BODY[:-5], len(BODY)), (200, BODY[:-5], len(BODY) - 5), (200, b"<html>", 6)],
    ids=["missing", "cut off", "truncated", "another file"],
)
def test_download_tries_the_next_mirror(tmp_path, server, first):
    server.files["/1/a.gz"] = first
    server.files["/2/a.gz"] = (200, BODY, len(BODY))
    path = download("a.gz", tmp_path, BODY_MD5, mirrors=[f"{server.url}/1", f"{server.url}/2"])
    assert server.asked == ["/1/a.gz", "/2/a.gz"]
    assert path.read_bytes() == BODY
    assert names(tmp_path) == ["a.gz"]


def test_a_failed_download_gives_the_reason_and_leaves_no_file(tmp_path, server):
    wrong = b"<html>"
    server.files["/1/a.gz"] = (200, wrong, len(wrong))
    server.files["/2/a.gz"] = (200, BODY[:-5], len(BODY))
    mirrors = [f"{server.url}/{number}" for number in (1, 2, 3)] + [refused()]
    with pytest.raises(FileNotFoundError) as caught:
        download("a.gz", tmp_path, BODY_MD5, mirrors=mirrors)
    message = str(caught.value)
    assert f"a.gz is not in {tmp_path} and was not downloaded" in message
    assert f"/1/a.gz: expected md5 {BODY_MD5} but found {hashlib.md5(wrong).hexdigest()}" in message
    assert f"/2/a.gz: ended after {len(BODY) - 5} of {len(BODY)} bytes" in message
    assert "/3/a.gz: HTTP Error 404" in message
    assert "refused" in message
    assert "Put the file there, set data.root to a folder that has it, or set data.digits=builtin" in message
    assert names(tmp_path) == []


def test_download_into_a_folder_that_cannot_be_written(tmp_path, server):
    server.files["/a.gz"] = (200, BODY, len(BODY))
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(FileNotFoundError, match=r"cannot be written there .*Set data.root to a folder that"):
        download("a.gz", tmp_path / "file" / "folder", BODY_MD5, mirrors=[server.url])


def test_a_mirror_that_does_not_answer_in_time(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as silent:
        begin = time.perf_counter()
        with pytest.raises(FileNotFoundError, match=r"no answer within 0.2 s"):
            download("a.gz", tmp_path, BODY_MD5, mirrors=[f"http://127.0.0.1:{silent.getsockname()[1]}"], timeout=0.2)
        assert time.perf_counter() - begin < 2


def test_the_second_file_is_not_tried_if_the_first_fails(tmp_path, server):
    with pytest.raises(FileNotFoundError, match=TRAIN_FILE):
        mnist_files(tmp_path, mirrors=server.url)
    assert server.asked == [f"/{TRAIN_FILE}.gz"]


def test_auto_without_mnist_warns_once_and_draws(tmp_path):
    with pytest.warns(
        UserWarning, match=r"not in .*there is no mirror to try.* Built-in digits drawn from fonts are used"
    ) as warned:
        digits = load_digits("auto", tmp_path, mirrors=[])
    assert len([one for one in warned if "Built-in digits" in str(one.message)]) == 1  # another names missing fonts
    assert digits.source == "builtin"


def test_mnist_without_mnist_is_an_error(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"is not in .* and was not downloaded"):
        load_digits("mnist", tmp_path, mirrors=[])


def test_an_unknown_source_lists_the_choices():
    with pytest.raises(ValueError, match=r"'digits' must be one of auto, mnist, builtin but got 'fashion'"):
        load_digits("fashion")


@pytest.mark.parametrize("source", ["auto", "mnist"])
@pytest.mark.parametrize("name", [f"{TRAIN_FILE}.gz", TRAIN_FILE])
def test_a_damaged_file_is_an_error_and_is_not_changed(tmp_path, source, name):
    (tmp_path / name).write_bytes(BODY)
    with pytest.raises(ValueError) as caught:
        load_digits(source, tmp_path, mirrors=[])
    message = str(caught.value)
    assert str(tmp_path / name) in message
    assert f"expected md5 {MD5[name]} but found {BODY_MD5}" in message
    assert "Delete the file so that it is downloaded again, or set data.root to another folder" in message
    assert (tmp_path / name).read_bytes() == BODY


def test_mnist_from_its_files(mnist_root):
    digits = load_digits("mnist", mnist_root, mirrors=[])
    assert digits.source == "mnist"
    assert digits.train.shape == (60000, 28, 28)
    assert digits.test.shape == (10000, 28, 28)
    # The usual normalisation of MNIST: mean 0.1307, deviation 0.3081.
    assert digits.train.mean() / 255 == pytest.approx(0.1307, abs=5e-5)
    assert digits.train.std() / 255 == pytest.approx(0.3081, abs=5e-5)


def test_mnist_downloaded_and_unpacked(tmp_path, server, mnist_root):
    files = {name: (mnist_root / f"{name}.gz").read_bytes() for name in (TRAIN_FILE, TEST_FILE)}
    (tmp_path / TRAIN_FILE).write_bytes(gzip.decompress(files[TRAIN_FILE]))
    server.files[f"/{TEST_FILE}.gz"] = (200, files[TEST_FILE], len(files[TEST_FILE]))
    digits = load_digits("auto", tmp_path, mirrors=server.url)
    assert digits.sha256() == load_digits("mnist", mnist_root, mirrors=[]).sha256()
    assert server.asked == [f"/{TEST_FILE}.gz"]
    load_digits("auto", tmp_path, mirrors=server.url)
    assert len(server.asked) == 1


def test_sha256_tells_digits_apart():
    digits = Digits(IMAGES, IMAGES)
    assert digits.sha256() == hashlib.sha256(IMAGES.tobytes() * 2).hexdigest()
    assert Digits(IMAGES + 1, IMAGES).sha256() != digits.sha256()
    assert Digits(IMAGES, IMAGES + 1).sha256() != digits.sha256()


@pytest.mark.parametrize("size", [5, 14, 28, 40])
def test_resize_agrees_with_pillow(size):
    from PIL import Image

    images = draw_digits()[0][:20]
    floats = [Image.fromarray(image.astype(np.float32)) for image in images]  # bytes would be clipped half-way
    wanted = np.array([np.asarray(image.resize((size, size), Image.Resampling.BICUBIC)) for image in floats])
    assert np.abs(resize(images, size) - np.clip(wanted, 0, 255)).max() < 0.51


@pytest.mark.parametrize("size", [1, 7, 60])
def test_resize_keeps_a_constant(size):
    resized = resize(np.full((1500, 28, 20), 200, np.uint8), size)
    assert resized.shape == (1500, size, size)
    assert (resized == 200).all()
