"""The newest frames of folders, files and stacks that change."""

import shutil

from convlstm.datasets.archives.newest_frames import NewestFrames
from tests.support.radar_archives import OPTIONS, SHAPE, START, picture, time_of, write_picture, write_pictures
from tests.support.radar_files import write_sevir

import numpy as np
import pytest


@pytest.fixture
def radar(tmp_path):
    return tmp_path / "radar"


def looked(path, **arguments):
    newest = NewestFrames(path, options=OPTIONS, **arguments)
    return newest, *newest.look()


def test_the_first_look_finds_all_frames_and_the_next_only_new_ones(radar):
    write_pictures(radar, 3)
    newest, new, problems = looked(radar)
    assert [str(t) for t in new] == [str(time_of(n)) for n in range(3)]
    assert problems == []
    assert (newest.format, newest.grid.physical_units, newest.grid.shape) == ("png", "mm/h", SHAPE)
    assert newest.look() == ([], [])
    write_picture(radar, 3, picture(3))
    assert newest.look() == ([time_of(3)], [])


def test_a_window_has_the_frames_at_a_step(radar):
    write_pictures(radar, 7)
    newest, *_ = looked(radar)
    window, problems = newest.window(3, 10, until=time_of(5))
    np.testing.assert_array_equal(window.times, [time_of(n) for n in (1, 3, 5)])
    np.testing.assert_allclose(window.frames, [picture(n) / 10 for n in (1, 3, 5)], rtol=1e-6)
    assert (window.absent, problems) == ([], [])


def test_absent_frames_are_missing(radar):
    paths = write_pictures(radar, 5)
    paths[2].unlink()
    newest, *_ = looked(radar)
    window, _ = newest.window(6, 5, until=time_of(4))
    assert window.absent == [0, 3]
    assert np.isnan(window.frames[[0, 3]]).all()
    assert np.isfinite(window.frames[[1, 2, 4, 5]]).all()
    np.testing.assert_array_equal(window.times, [time_of(n) for n in range(-1, 5)])


def test_times_may_differ_by_seconds(radar):
    for index in (0, 1.05, 2, 3.3):
        write_picture(radar, index, picture(int(index)))
    newest, *_ = looked(radar)
    window, _ = newest.window(4, 5, until=time_of(3))
    assert window.absent == [3]
    assert str(window.times[1]) == str(time_of(1.05))


def test_pixels_are_averaged(radar):
    write_pictures(radar, 2)
    newest, *_ = looked(radar)
    window, _ = newest.window(1, 5, until=time_of(1), coarsen=8)
    assert window.frames.shape == (1, 5, 6)
    np.testing.assert_allclose(window.frames[0, :, 0], [0.2, 0.2, 0.1, 0, 0], rtol=1e-6)


def test_a_damaged_frame_is_reported_once_and_tried_again_when_it_changes(radar):
    paths = write_pictures(radar, 3)
    whole = paths[2].read_bytes()
    paths[2].write_bytes(whole[:60])
    newest, new, _ = looked(radar)
    _, problems = newest.window(2, 5, until=new[-1])
    assert [problem.name for problem in problems] == [paths[2].name]
    assert str(paths[2].parent) not in str(problems[0])
    assert newest.look() == ([], [])
    paths[2].write_bytes(whole)
    assert newest.look() == ([time_of(2)], [])


def test_a_frame_without_a_known_pixel_is_a_problem(radar):
    write_pictures(radar, 2)
    write_picture(radar, 2, np.full(SHAPE, 255))
    newest, new, _ = looked(radar)
    window, problems = newest.window(2, 5, until=new[-1])
    assert window.absent == [1]
    assert "has no known pixel" in str(problems[0])


def test_a_patient_look_waits_until_a_file_stays_as_it_is(radar):
    write_pictures(radar, 2)
    newest = NewestFrames(radar, options=OPTIONS, patient=True)
    assert len(newest.look()[0]) == 2
    path = write_picture(radar, 2, picture(2))
    whole = path.read_bytes()
    path.write_bytes(whole[:60])
    assert newest.look() == ([], [])
    path.write_bytes(whole)
    assert newest.look() == ([], [])
    assert newest.look() == ([time_of(2)], [])


def test_a_patient_look_accepts_an_empty_folder_and_an_unknown_file(radar):
    radar.mkdir()
    newest = NewestFrames(radar, options=OPTIONS, patient=True)
    assert newest.look() == ([], [])
    (radar / "202006010000.png").write_bytes(b"half")
    newest.look()
    assert "of no known format; it may be cut off" in str(newest.look()[1][0])
    write_pictures(radar, 1)
    newest.look()
    assert newest.look() == ([time_of(0)], [])


def test_notes_and_other_formats_are_ignored(radar, tmp_path):
    write_pictures(radar, 2)
    (radar / "readme.txt").write_text("about the radar")
    np.save(radar / "202006010100.npy", np.zeros(SHAPE))
    _, new, problems = looked(radar, format="auto")
    assert len(new) == 2
    assert problems == []


def test_frames_of_another_size_and_duplicates_are_reported(radar):
    write_pictures(radar, 2)
    write_picture(radar, 2, picture(2, (8, 8)))
    write_picture(radar, 1, picture(7), prefix="z")
    newest, new, problems = looked(radar)
    assert len(new) == 2
    assert sorted(str(problem) for problem in problems) == [
        "202006010010.png: 8 x 8 mm/h instead of 40 x 48 mm/h".replace("0010.png", "001000.png"),
        "z20200601000500.png: 1 of its times are known from another file; left out",
    ]
    window, _ = newest.window(1, 5, until=time_of(1))
    assert window.frames[0, 0, 0] == pytest.approx(0.2)


def test_frames_of_deleted_files_are_missing(radar):
    paths = write_pictures(radar, 3)
    newest, *_ = looked(radar)
    paths[1].unlink()
    assert newest.look() == ([], [])
    window, problems = newest.window(3, 5, until=time_of(2))
    assert window.absent == [1]
    assert problems[0].name == paths[1].name


def test_the_most_common_size_counts(radar):
    """It is not that of the first file by name, which is the oldest."""
    write_picture(radar, 0, picture(0, (8, 8)))
    for index in (1, 2):
        write_picture(radar, index, picture(index))
    newest, new, problems = looked(radar)
    assert (newest.grid.shape, new) == (SHAPE, [time_of(1), time_of(2)])
    assert "8 x 8 mm/h instead of 40 x 48 mm/h" in str(problems[0])


def test_a_note_before_the_first_frame_is_ignored(radar):
    for index in (0, 1):
        write_picture(radar, index, picture(index), prefix="z")
    (radar / "about.txt").write_text("about the radar")
    _, new, problems = looked(radar)
    assert (len(new), problems) == (2, [])


def test_a_file_that_is_renamed_keeps_its_frame(radar):
    """A frame may be written under another name, seen there, and then renamed."""
    first, last = write_pictures(radar, 2)
    other = last.with_name(f"{last.name}.part")
    last.rename(other)
    newest, *_ = looked(radar)
    other.rename(last)
    assert newest.look() == ([], [])
    window, problems = newest.window(2, 5, until=time_of(1))
    assert (window.absent, problems) == ([], [])
    first.rename(first.with_name(f"a{first.name}"))
    newest.look()
    np.testing.assert_allclose(newest.window(2, 5, until=time_of(1))[0].frames[:, 0, 0], [0.1, 0.2], rtol=1e-6)


def test_a_replaced_frame_counts_as_new(radar):
    write_pictures(radar, 3)
    newest, *_ = looked(radar)
    newest.window(3, 5, until=time_of(2))
    write_picture(radar, 2, picture(99))
    assert newest.look() == ([time_of(2)], [])
    assert newest.window(3, 5, until=time_of(2))[0].frames[2, 0, 0] == pytest.approx(10)


def test_one_file_that_every_frame_replaces(tmp_path):
    """Frames that were read before are remembered; other ones are missing, and no frame takes their place."""
    path = tmp_path / "latest.npz"

    def put(index):
        np.savez(path, frames=np.full((1, 8, 8), index + 1.0), times=np.array([time_of(index)]))

    put(0)
    newest = NewestFrames(path, format="numpy", options={"units": "mm/h"})
    for index in range(4):
        put(index)
        assert newest.look() == ([time_of(index)], [])
        if index != 2:
            newest.window(4, 5, until=time_of(index))
    window, problems = newest.window(4, 5, until=time_of(3))
    assert (window.absent, problems) == ([2], [])
    np.testing.assert_array_equal(window.frames[[0, 1, 3], 0, 0], [1, 2, 4])


def test_a_stack_of_the_last_frames_that_moves_on(tmp_path):
    path = tmp_path / "latest.npz"
    for first in (0, 1):
        frames = np.stack([np.full((8, 8), n + 1.0) for n in range(first, first + 3)])
        np.savez(path, frames=frames, times=np.array([time_of(n) for n in range(first, first + 3)]))
        if first == 0:
            newest = NewestFrames(path, format="numpy", options={"units": "mm/h"})
            newest.look()
            newest.window(2, 5, until=time_of(2))
    assert newest.look()[0] == [time_of(3)]
    window, _ = newest.window(4, 5, until=time_of(3))
    assert window.absent == [0]
    np.testing.assert_array_equal(window.frames[1:, 0, 0], [2, 3, 4])


def test_a_folder_that_vanishes_and_returns_brings_no_frame_again(radar, tmp_path):
    write_pictures(radar, 9)
    newest, new, _ = looked(radar, depth=2)
    assert len(new) < 9
    radar.rename(tmp_path / "away")
    assert newest.look() == ([], [])
    (tmp_path / "away").rename(radar)
    assert newest.look() == ([], [])
    write_picture(radar, 9, picture(9))
    assert newest.look() == ([time_of(9)], [])


def test_a_folder_that_vanishes_during_a_look(radar, monkeypatch):
    write_pictures(radar, 2)
    newest, *_ = looked(radar)

    def vanished(*_):
        raise FileNotFoundError(2, "No such file or directory")

    with monkeypatch.context() as patched:
        patched.setattr("convlstm.datasets.archives.files.RadarFiles.find", vanished)
        assert newest.look() == ([], [])
    assert len(newest.times) == 2


def test_only_the_last_of_many_files_are_read(radar):
    paths = write_pictures(radar, 30)
    for path in paths:
        shutil.copystat(paths[0], path)
    _, new, _ = looked(radar, depth=4)
    assert [str(t) for t in new] == [str(time_of(n)) for n in range(26, 30)]


def test_the_newest_event_of_a_catalogue_counts(tmp_path, rng):
    pytest.importorskip("h5py")
    path = write_sevir(tmp_path, rng.integers(1, 255, (3, 8, 8, 5), np.uint8))
    newest = NewestFrames(path)
    new, problems = newest.look()
    assert problems == []
    assert len(new) == 5
    assert new[0] == np.datetime64("2018-05-03T21:15")


def test_a_stack_that_grows_brings_new_frames(tmp_path):
    path = tmp_path / "20200601.npy"
    np.save(path, np.ones((3, 8, 8)))
    newest = NewestFrames(path, format="numpy", options={"step_minutes": 5, "units": "mm/h"})
    assert len(newest.look()[0]) == 3
    np.save(path, np.full((5, 8, 8), 2.0))
    assert newest.look()[0] == [START + np.timedelta64(15, "m"), START + np.timedelta64(20, "m")]
    window, _ = newest.window(5, 5, until=START + np.timedelta64(20, "m"))
    assert (window.frames == 2).all()


def test_newest_frames_refuse_bad_arguments(radar, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"\[NewestFrames\] .*radar does not exist"):
        NewestFrames(radar)
    with pytest.raises(ValueError, match=r"\[NewestFrames\] 'depth' must be a whole number of at least 1 but got 0"):
        NewestFrames(tmp_path, depth=0)
    with pytest.raises(ValueError, match=r"'zr' must be two positive numbers"):
        NewestFrames(tmp_path, zr=(1,))
    with pytest.raises(ValueError, match="'format' must be one of"):
        NewestFrames(tmp_path, format="tiff")
