"""Files in .gz, .bz2 and .tar are read as they are, within limits, and nothing else is touched."""

import bz2
import gzip
import io
import tarfile
import tempfile
from pathlib import Path

from convlstm.datasets.archives.archive import Archive
from convlstm.datasets.readers import ReadError, limits, make_reader, recognise
from convlstm.datasets.readers.kept_files import keep_open
from tests.support.radar_files import open_file, write_fmi, write_odim, write_png, write_rainfields
from tests.support.radolan_files import radolan_bytes

import numpy as np
import pytest

PIXELS = np.arange(12, dtype=np.uint8).reshape(3, 4)
PACK = {".gz": gzip.compress, ".bz2": bz2.compress}


def tar(path, files, mode="w"):
    """Writes a .tar of contents by name."""
    with tarfile.open(path, mode) as archive:
        for name, data in files.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(data)
            archive.addfile(entry, io.BytesIO(data))
    return path


@pytest.fixture
def temporary(tmp_path, monkeypatch):
    """The folder of temporary files, which must be empty in the end."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    yield folder
    assert list(folder.iterdir()) == []


@pytest.mark.parametrize("ending", PACK)
@pytest.mark.parametrize(
    "write",
    [
        lambda folder: write_png(folder / "201906101204.png", PIXELS),
        lambda folder: write_odim(folder / "comp.h5", {"DBZH": PIXELS}),
        lambda folder: write_rainfields(folder / "rain.nc", PIXELS.astype(np.int16)),
        lambda folder: write_fmi(folder / "a.pgm", PIXELS),
    ],
)
@pytest.mark.usefixtures("temporary")
def test_any_format_packed(tmp_path, write, ending):
    path = write(tmp_path)
    reader, contents = open_file(path)
    packed = path.with_name(path.name + ending)
    packed.write_bytes(PACK[ending](path.read_bytes()))
    same, unpacked = open_file(packed)
    assert same.format == reader.format
    np.testing.assert_array_equal(unpacked.times, contents.times)
    assert unpacked.grid == contents.grid
    np.testing.assert_array_equal(same.read(packed, 0), reader.read(path, 0))
    with pytest.raises(ReadError, match=rf"{packed.name} has no frame 1"):
        same.read(packed, 1)


def frames(pack=bytes):
    return {
        f"month/rw{hour:02d}.bin": pack(radolan_bytes(np.full((2, 3), hour), "RW", f"31{hour:02d}50"))
        for hour in range(4)
    }


@pytest.mark.parametrize("mode", ["w", "w:gz", "w:bz2"])
@pytest.mark.parametrize("pack", [bytes, gzip.compress])
@pytest.mark.usefixtures("temporary")
def test_a_tar_is_a_series(tmp_path, mode, pack):
    path = tar(tmp_path / "RW201907.tar", {"README": b"hourly rain", ".hidden": b"x", **frames(pack)}, mode)
    reader, contents = open_file(path)
    assert reader.format == "radolan"
    assert contents.times.astype(str).tolist() == [f"2019-07-31T{hour:02d}:50:00" for hour in range(4)]
    for hour in (2, 0, 3):
        np.testing.assert_allclose(reader.read(path, hour), np.full((2, 3), hour / 10), rtol=1e-6)
    for position in (4, -1):
        with pytest.raises(ReadError, match=f"has no frame {position}"):
            reader.read(path, position)


@pytest.mark.parametrize("packed", ["comp.h5.gz", "frames.tar"])
def test_a_file_is_unpacked_once_within_keep_open(tmp_path, temporary, monkeypatch, packed):
    if packed == "frames.tar":
        path, count = tar(tmp_path / packed, {f"{hour}": data for hour, data in enumerate(frames().values())}), 4
    else:
        path, count = tmp_path / packed, 1
        path.write_bytes(gzip.compress(write_odim(tmp_path / "comp.h5", {"DBZH": PIXELS}).read_bytes()))
    folders, make = [], Path.mkdir
    monkeypatch.setattr(Path, "mkdir", lambda self, *mode, **modes: folders.append(self) or make(self, *mode, **modes))
    with keep_open():
        reader = recognise(path)
        reader.contents(path)
        times = len(folders)
        within = [reader.read(path, n) for n in range(count) for _ in range(2)]
        assert len(folders) == times + count - (count == 1)
        assert len(list(temporary.iterdir())) == 1
    assert list(temporary.iterdir()) == []
    for n, frame in enumerate(within):
        np.testing.assert_array_equal(frame, reader.read(path, n // 2))


def test_an_archive_of_tars(tmp_path):
    tar(tmp_path / "a.tar.gz", frames(), "w:gz")
    archive = Archive(tmp_path, progress=False)
    assert (archive.format, len(archive.times)) == ("radolan", 4)
    np.testing.assert_allclose(archive.frame(3), 0.3, rtol=1e-6)


@pytest.mark.usefixtures("temporary")
def test_nothing_is_written_elsewhere_and_no_link_is_followed(tmp_path):
    secret = tmp_path / "secret"
    secret.write_bytes(radolan_bytes(np.full((2, 3), 9)))
    path = tmp_path / "evil.tar"
    with tarfile.open(path, "w") as archive:
        for name, data in {
            "../../escaped": radolan_bytes(PIXELS),
            str(tmp_path / "absolute"): radolan_bytes(PIXELS),
        }.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(data)
            archive.addfile(entry, io.BytesIO(data))
        for kind in (tarfile.SYMTYPE, tarfile.LNKTYPE):
            entry = tarfile.TarInfo("link")
            entry.type, entry.linkname = kind, str(secret)
            archive.addfile(entry)
        pipe = tarfile.TarInfo("pipe")
        pipe.type = tarfile.FIFOTYPE
        archive.addfile(pipe)
    reader, contents = open_file(path)
    assert len(contents.times) == 1, "a name that begins with dots counts as hidden, and links are left out"
    reader.read(path, 0)
    names = {item.name for folder in (tmp_path, tmp_path.parent, tmp_path.parent.parent) for item in folder.iterdir()}
    assert not names & {"escaped", "absolute"}


def test_bombs_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(limits, "memory", lambda: 2**27)
    bomb = gzip.compress(bytes(2**26))
    (tmp_path / "a.gz").write_bytes(bomb)
    assert recognise(tmp_path / "a.gz") is None
    with pytest.raises(ReadError, match=r"\[png\] .*a\.gz has more than .* bytes once it is unpacked, which needs"):
        make_reader("png").contents(tmp_path / "a.gz")
    path = tar(tmp_path / "b.tar", {"rain": bomb})
    with pytest.raises(ReadError, match=r"\[radolan\] .*b\.tar has more than .* once it is unpacked"):
        make_reader("radolan").contents(path)


def test_damaged_packed_files(tmp_path):
    whole = gzip.compress(radolan_bytes(np.random.default_rng(0).integers(0, 4095, (30, 30))))
    (tmp_path / "a.gz").write_bytes(whole[:-200])
    with pytest.raises(ReadError, match=r"\[radolan\] .*a\.gz cannot be unpacked \(.*\); it may be cut off or damaged"):
        make_reader("radolan").contents(tmp_path / "a.gz")
    path = tar(tmp_path / "a.tar", frames())
    path.write_bytes(path.read_bytes()[: 512 + 50])
    with pytest.raises(ReadError, match=r"\[radolan\] .*a\.tar"):
        make_reader("radolan").contents(path)
    path = tar(tmp_path / "b.tar", {**frames(), "month/rw9": radolan_bytes(PIXELS)})
    with pytest.raises(ReadError, match=r"has a file 'month/rw9' in it with another grid or other fields than"):
        make_reader("radolan").contents(path)
    path = tar(tmp_path / "c.tar", {**frames(), "month/rw9": radolan_bytes(PIXELS).replace(b"10000", b"10132")})
    with pytest.raises(ReadError, match=r"c\.tar has a file 'month/rw9' in it, which is of the single radar 10132"):
        make_reader("radolan").contents(path)
    path = tar(tmp_path / "d.tar", {"a": b"x", "b": b"y"})
    with pytest.raises(ReadError, match=r"d\.tar has 2 files in it, but none that is recognised as radolan"):
        make_reader("radolan").contents(path)


def test_a_changed_file_is_read_again(tmp_path):
    path = Path(tmp_path / "a.gz")
    for number in (1, 2):
        path.write_bytes(gzip.compress(radolan_bytes(np.full((2, 3 + number), number))))
        frame = make_reader("radolan").read(path, 0)
        assert frame.shape == (2, 3 + number)
        np.testing.assert_allclose(frame, number / 10, rtol=1e-6)
