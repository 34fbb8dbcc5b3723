"""An archive's frames and their times."""

import json
import shutil
import threading
from concurrent.futures import ThreadPoolExecutor

from convlstm.datasets.archives.archive import Archive
from convlstm.datasets.array_cache import ArrayCache
from convlstm.datasets.readers import FORMATS, MissingLibraryError, ReadError
from tests.support.radar_archives import (
    OPTIONS,
    SHAPE,
    Stack,
    picture,
    time_of,
    write_picture,
    write_pictures,
    write_stack,
)

import numpy as np
import pytest


def opened(folder, **settings):
    return Archive(folder, **{"options": OPTIONS, "progress": False, **settings})


def test_frames_times_and_figures(tmp_path):
    folder = tmp_path / "radar"
    for index in range(4):
        pixels = picture(index)
        pixels[:, :12] = 255  # a quarter is missing
        write_picture(folder / "day", index, pixels)
    archive = opened(folder)
    assert len(archive) == 4
    assert archive.times.tolist() == [time_of(i).item() for i in range(4)]
    assert (archive.name, archive.format, archive.units, archive.step) == ("radar", "png", "mm/h", 5.0)
    assert archive.grid.shape == SHAPE
    assert archive.missing == pytest.approx([0.25] * 4)
    assert archive.wet == pytest.approx([0.5] * 4)
    assert archive.problems == []
    for index in range(4):
        frame = archive.frame(index)
        assert frame.dtype == np.float32
        assert np.isnan(frame[:, :12]).all()
        assert frame[:20, 12:] == pytest.approx(0.1 * (index + 1))
        assert (frame[20:, 12:] == 0).all()
        assert archive.file(index).startswith("day/2020")


def test_reflectivity_becomes_rain_rate(tmp_path, stacks):
    dbz = np.array([[-np.inf, -32], [23.0103, 39.0103]]) * np.ones((3, 1, 1))
    dbz[2, 0] = [1e5, np.nan]
    path = write_stack(tmp_path / "a.stack", dbz)
    with pytest.warns(UserWarning, match="impossible values count as missing, 1 in all"):
        archive = Archive(path, options={"units": "dBZ"})
    assert archive.units == "mm/h"
    assert archive.grid.units == "dBZ"
    assert archive.frame(0) == pytest.approx(np.array([[0, 10 ** (-55.0103 / 16)], [1, 10]]), rel=1e-4)
    assert np.isnan(archive.frame(2)[0]).all()
    assert archive.wet == pytest.approx([0.5, 0.5, 1])
    # Z = 100 R^2: 10 log10(100) = 20 dBZ at 1 mm/h, 20 more at 10 times as much.
    write_stack(path, dbz[:2])
    archive = Archive(path, options={"units": "dBZ"}, zr=(100, 2))
    assert archive.frame(0)[1] == pytest.approx([10 ** (3.0103 / 20), 10 ** (19.0103 / 20)], rel=1e-4)


def test_raw_values_stay_as_they_are(tmp_path, stacks):
    values = np.array([[[-3, 255], [np.nan, 0]]])
    archive = Archive(write_stack(tmp_path / "a.stack", values), options={"units": "raw"})
    assert archive.units == "raw"
    assert np.array_equal(archive.frame(0), values[0], equal_nan=True)
    assert np.isnan(archive.step)


def test_coarse_frames_are_means_of_the_known_pixels(tmp_path, stacks):
    values = np.arange(35, dtype=float).reshape(1, 5, 7)
    values[0, 0, 1:3] = np.nan  # one of four of the first square and of the second
    values[0, 2:4, 4:6] = [[np.nan, 100], [np.nan, np.nan]]  # three of four
    values[0, 2, 0], values[0, 3, 1] = np.nan, np.nan  # two of four
    archive = Archive(write_stack(tmp_path / "a.stack", values))
    expected = [
        [(0 + 7 + 8) / 3, (3 + 9 + 10) / 3, (4 + 5 + 11 + 12) / 4],
        [(15 + 21) / 2, (16 + 17 + 23 + 24) / 4, np.nan],
    ]
    assert archive.frame(0, 2) == pytest.approx(np.array(expected), nan_ok=True)
    assert archive.frame(0, 2).dtype == np.float32
    assert archive.known(2).tolist() == [[3, 3, 4], [2, 4, 1]]
    assert archive.frame(0).shape == (5, 7)


def test_known_counts_frames(tmp_path, stacks, rng):
    values = np.where(rng.random((10, 6, 5)) < 0.3, np.nan, 1)
    archive = Archive(write_stack(tmp_path / "a.stack", values))
    assert archive.known().tolist() == (~np.isnan(values)).sum(0).tolist()


def test_known_is_counted_on_64_frames_of_many(tmp_path, stacks):
    values = np.ones((640, 2, 2))
    values[:, 0, 0] = np.nan
    archive = Archive(write_stack(tmp_path / "a.stack", values))
    assert archive.known().tolist() == [[0, 64], [64, 64]]


def test_frames_of_several_files_are_sorted_by_time(tmp_path, stacks):
    write_stack(tmp_path / "radar" / "a.stack", np.full((3, 2, 2), 1), first=3)
    write_stack(tmp_path / "radar" / "b.stack", np.full((3, 2, 2), 2), first=0)
    archive = Archive(tmp_path / "radar")
    assert archive.times.tolist() == [time_of(i).item() for i in range(6)]
    assert [archive.frame(i)[0, 0] for i in range(6)] == [2, 2, 2, 1, 1, 1]


def test_events_stay_apart(tmp_path, stacks):
    """Storms at the same time, as in SEVIR: the times rise within each, and no frame is a duplicate."""
    for number, name in enumerate(("a", "b")):
        values = np.full((6, 2, 2), number)
        times = np.array([time_of(i) for i in (0, 1, 2, 1, 2, 3)])
        write_stack(tmp_path / "radar" / f"{name}.stack", values, times=times, event=np.array([4, 4, 4, 9, 9, 9]))
    archive = Archive(tmp_path / "radar")
    assert len(archive) == 12
    assert archive.event.tolist() == np.repeat([0, 1, 2, 3], 3).tolist()
    assert (np.diff(archive.times).astype(int)[np.diff(archive.event) == 0] == 300).all()
    assert archive.problems == []


def test_a_single_file_is_an_archive(tmp_path):
    (path, *_) = write_pictures(tmp_path / "radar", 3)
    archive = opened(path)
    assert (len(archive), archive.name, archive.file(0)) == (1, path.name, path.name)


@pytest.mark.usefixtures("in_this_process")
def test_a_folder_that_a_reader_recognises_counts_as_one_file(tmp_path, monkeypatch):
    class Store(Stack):
        format = "store"

        def _recognises(self, path, head):
            return path.is_dir() and path.suffix == ".store"

        def _contents(self, path):
            return super()._contents(path / "0")

        def _read(self, path, position):
            return super()._read(path / "0", position)

    monkeypatch.setitem(FORMATS, "store", Store())
    for number, name in enumerate(("a", "b")):
        write_stack(tmp_path / "radar" / f"{name}.store" / "0", np.ones((2, 2, 2)), first=2 * number)
        write_pictures(tmp_path / "radar" / f"{name}.store" / "chunks", 5)
    assert len(Archive(tmp_path / "radar")) == 4
    assert len(Archive(tmp_path / "radar" / "a.store")) == 2


def test_hidden_files_other_files_and_loops_of_links_are_ignored(tmp_path):
    folder = tmp_path / "radar"
    write_pictures(folder, 3)
    write_picture(folder / ".trash", 7, picture(7))
    write_picture(folder, 8, picture(8), prefix=".")
    (folder / "README.txt").write_text("about these files")
    (folder / "again").symlink_to(folder, target_is_directory=True)
    write_pictures(tmp_path / "elsewhere", 1, prefix="x")
    (folder / "linked").symlink_to(tmp_path / "elsewhere", target_is_directory=True)
    shutil.move(
        str(tmp_path / "elsewhere" / "x20200601000000.png"), str(tmp_path / "elsewhere" / "x20200601001500.png")
    )
    assert len(opened(folder)) == 4


def test_stored_indexes_are_not_read_as_data(tmp_path, monkeypatch):
    """CONVLSTM_DATA may well be the folder of the archive."""
    monkeypatch.setenv("CONVLSTM_DATA", str(tmp_path))
    write_pictures(tmp_path, 3)
    assert len(opened(tmp_path)) == 3
    assert len(opened(tmp_path)) == 3


def test_options_reach_the_reader(tmp_path):
    for index in range(2):
        write_picture(tmp_path / "radar", index, picture(index), prefix="rain")
    archive = Archive(tmp_path / "radar", format="png", options={"units": "mm/h", "scale": 2})
    assert archive.frame(1)[0, 0] == 4
    archive = Archive(tmp_path / "radar", options={"units": "raw", "offset": 1})
    assert (archive.units, archive.frame(1)[0, 0]) == ("raw", 3)


def test_a_frame_is_decoded_once(tmp_path, reads):
    write_pictures(tmp_path / "radar", 3)
    archive = opened(tmp_path / "radar", cache_bytes=10 * 40 * 48 * 4)
    archive = opened(tmp_path / "radar", cache_bytes=10 * 40 * 48 * 4)
    del reads[:]
    assert archive.frame(0) is archive.frame(0)
    assert archive.frame(0, 2) is archive.frame(0, 2)
    assert len(reads) == 1
    with pytest.raises(ValueError, match="read-only"):
        archive.frame(0)[0, 0] = 1


def test_cached_bytes_are_bounded(tmp_path, reads):
    write_pictures(tmp_path / "radar", 3)
    opened(tmp_path / "radar")
    del reads[:]
    archive = opened(tmp_path / "radar", cache_bytes=2 * 40 * 48 * 4)
    for index in (0, 1, 0, 2, 0, 1):  # 1 is the one not used for longest when 2 comes
        archive.frame(index)
    assert len(reads) == 4
    archive = opened(tmp_path / "radar", cache_bytes=0)
    assert archive.frame(0) is not archive.frame(0)


def test_archives_can_share_a_cache(tmp_path):
    for name, value in (("a", 1), ("b", 2)):
        write_picture(tmp_path / name, 0, np.full(SHAPE, value))
        write_picture(tmp_path / name, 1, np.full(SHAPE, value))
    shared = ArrayCache(10**6)
    one, two = (opened(tmp_path / name, cache_bytes=shared) for name in "ab")
    assert (one.frame(0)[0, 0], two.frame(0)[0, 0]) == pytest.approx((0.1, 0.2))


def test_several_threads_read_the_same_frames(tmp_path):
    write_pictures(tmp_path / "radar", 8)
    archive = opened(tmp_path / "radar", cache_bytes=3 * 40 * 48 * 4)
    ready = threading.Barrier(4)

    def read(seed):
        ready.wait()
        order = np.random.default_rng(seed).integers(8, size=100).tolist()
        return all(archive.frame(i)[0, 0] == np.float32(0.1) * np.float32(i + 1) for i in order)

    with ThreadPoolExecutor(4) as pool:
        assert all(pool.map(read, range(4)))


def test_the_record_is_json_without_paths(tmp_path, stacks):
    values = np.zeros((4, 4, 4))
    values[0, 0, 0], values[1, 0] = np.nan, 1
    archive = Archive(write_stack(tmp_path / "radar" / "a.stack", values).parent)
    record = archive.describe()
    assert json.loads(json.dumps(record, allow_nan=False)) == record
    assert str(tmp_path) not in json.dumps(record)
    assert record == {
        "format": "stack",
        "frames": 4,
        "first": "2020-06-01T00:00:00",
        "last": "2020-06-01T00:15:00",
        "step_minutes": 5.0,
        "grid": [4, 4],
        "pixel_size": [2000.0, 2000.0],
        "pixel_units": "m",
        "projection": None,
        "fields": [
            {
                "name": "rain_rate",
                "units": "mm/h",
                "standard_name": "lwe_precipitation_rate",
                "long_name": "rain rate",
                "file_units": "",
                "is_rain": True,
            }
        ],
        "missing_share": round(1 / 64, 6),
        "wet_share": round(4 / 16 / 4, 6),
        "problems": {},
        "sha256": archive.fingerprint,
    }


def test_refuses(tmp_path):
    write_pictures(tmp_path / "radar", 2)
    with pytest.raises(FileNotFoundError, match=r"\[Archive\] .*absent does not exist. Check the path."):
        Archive(tmp_path / "absent")
    with pytest.raises(ValueError, match=r"'format' must be one of .*png.* but got 'bufr'"):
        Archive(tmp_path / "radar", format="bufr")
    with pytest.raises(ValueError, match="has no option 'colour'"):
        Archive(tmp_path / "radar", format="png", options={"colour": 1})
    with pytest.raises(
        ValueError,
        match=r"'options' \{'colour': 1\} fit no format\. They are .*png: pattern, ",
    ):
        Archive(tmp_path / "radar", options={"colour": 1})
    for zr in ((200,), (200, 0), (200, 1.6, 1), "ab", (True, 1), 5):
        with pytest.raises(ValueError, match=r"'zr' must be two positive numbers \(a, b\) of Z = a R\^b but got"):
            Archive(tmp_path / "radar", zr=zr)
    with pytest.raises(ValueError, match=r"'cache_bytes' must be a whole number of at least 0 but got -1"):
        Archive(tmp_path / "radar", cache_bytes=-1)


@pytest.mark.usefixtures("in_this_process")
def test_a_missing_library_is_named(tmp_path, monkeypatch, stacks):
    def missing(self, path, *position):
        raise MissingLibraryError("pip install it")

    write_stack(tmp_path / "a.stack", np.ones((2, 2, 2)))
    for method in ("_contents", "_read"):
        with monkeypatch.context() as context:
            context.setattr(Stack, method, missing)
            with pytest.raises(MissingLibraryError, match="pip install it"):
                Archive(tmp_path / "a.stack")


def test_a_frame_that_can_no_longer_be_read(tmp_path):
    paths = write_pictures(tmp_path / "radar", 3)
    archive = opened(tmp_path / "radar", cache_bytes=0)
    paths[0].write_bytes(paths[0].read_bytes()[:40])
    paths[1].unlink()
    write_picture(tmp_path / "radar", 2, picture(2, (8, 8)))
    for index, path in enumerate(paths):
        with pytest.raises(ReadError, match=path.name):
            archive.frame(index)
