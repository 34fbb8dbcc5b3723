"""The newest frames of archives, at the step and with the pixels of training; clips without times."""

import shutil

from convlstm.datasets.clip import ClipError, is_video, read_stack, read_video
from convlstm.datasets.latest import Latest
from convlstm.datasets.recent import Recent
from tests.support import films
from tests.support.radar_archives import OPTIONS, SHAPE, START, picture, time_of, write_picture, write_pictures
from tests.support.radar_files import write_sevir

import numpy as np
import pytest
from PIL import Image


@pytest.fixture
def radar(tmp_path):
    return tmp_path / "radar"


def looked(path, **arguments):
    recent = Recent(path, options=OPTIONS, **arguments)
    return recent, *recent.look()


def test_the_first_look_finds_what_is_there_and_the_next_what_has_come(radar):
    write_pictures(radar, 3)
    recent, new, problems = looked(radar)
    assert [str(t) for t in new] == [str(time_of(n)) for n in range(3)]
    assert problems == []
    assert (recent.format, recent.units, recent.step, recent.grid.shape) == ("png", "mm/h", 5.0, SHAPE)
    assert recent.look() == ([], [])
    write_picture(radar, 3, picture(3))
    assert recent.look() == ([time_of(3)], [])


def test_a_window_has_the_frames_at_a_step(radar):
    write_pictures(radar, 7)
    recent, *_ = looked(radar)
    window, problems = recent.window(3, 10, until=time_of(5))
    np.testing.assert_array_equal(window.times, [time_of(n) for n in (1, 3, 5)])
    np.testing.assert_allclose(window.frames, [picture(n) / 10 for n in (1, 3, 5)], rtol=1e-6)
    assert (window.absent, problems) == ([], [])


def test_frames_that_are_not_there_are_missing(radar):
    paths = write_pictures(radar, 5)
    paths[2].unlink()
    recent, *_ = looked(radar)
    window, _ = recent.window(6, 5, until=time_of(4))
    assert window.absent == [0, 3]
    assert np.isnan(window.frames[[0, 3]]).all()
    assert np.isfinite(window.frames[[1, 2, 4, 5]]).all()
    np.testing.assert_array_equal(window.times, [time_of(n) for n in range(-1, 5)])


def test_times_need_not_be_kept_to_the_second(radar):
    for index in (0, 1.05, 2, 3.3):
        write_picture(radar, index, picture(int(index)))
    recent, *_ = looked(radar)
    window, _ = recent.window(4, 5, until=time_of(3))
    assert window.absent == [3]
    assert str(window.times[1]) == str(time_of(1.05))


def test_pixels_are_averaged(radar):
    write_pictures(radar, 2)
    recent, *_ = looked(radar)
    window, _ = recent.window(1, 5, until=time_of(1), coarsen=8)
    assert window.frames.shape == (1, 5, 6)
    np.testing.assert_allclose(window.frames[0, :, 0], [0.2, 0.2, 0.1, 0, 0], rtol=1e-6)


def test_a_damaged_frame_is_told_once_and_tried_again_when_it_changes(radar):
    paths = write_pictures(radar, 3)
    whole = paths[2].read_bytes()
    paths[2].write_bytes(whole[:60])
    recent, new, _ = looked(radar)
    _, problems = recent.window(2, 5, until=new[-1])
    assert [problem.name for problem in problems] == [paths[2].name]
    assert str(paths[2].parent) not in str(problems[0])
    assert recent.look() == ([], [])
    paths[2].write_bytes(whole)
    assert recent.look() == ([time_of(2)], [])


def test_a_frame_without_a_known_pixel_is_a_problem(radar):
    write_pictures(radar, 2)
    write_picture(radar, 2, np.full(SHAPE, 255))
    recent, new, _ = looked(radar)
    window, problems = recent.window(2, 5, until=new[-1])
    assert window.absent == [1]
    assert "has no known pixel" in str(problems[0])


def test_a_patient_look_waits_until_a_file_stays_as_it_is(radar):
    write_pictures(radar, 2)
    recent = Recent(radar, options=OPTIONS, patient=True)
    assert len(recent.look()[0]) == 2
    path = write_picture(radar, 2, picture(2))
    whole = path.read_bytes()
    path.write_bytes(whole[:60])
    assert recent.look() == ([], [])
    path.write_bytes(whole)
    assert recent.look() == ([], [])
    assert recent.look() == ([time_of(2)], [])


def test_a_patient_look_bears_an_empty_folder_and_a_strange_file(radar):
    radar.mkdir()
    recent = Recent(radar, options=OPTIONS, patient=True)
    assert recent.look() == ([], [])
    (radar / "202006010000.png").write_bytes(b"half")
    recent.look()
    assert "of no format that is looked for; it may be cut off" in str(recent.look()[1][0])
    write_pictures(radar, 1)
    recent.look()
    assert recent.look() == ([time_of(0)], [])


def test_notes_and_other_formats_are_passed_over(radar, tmp_path):
    write_pictures(radar, 2)
    (radar / "readme.txt").write_text("about the radar")
    np.save(radar / "202006010100.npy", np.zeros(SHAPE))
    _, new, problems = looked(radar, format="auto")
    assert len(new) == 2
    assert problems == []


def test_frames_of_another_size_and_second_ones_are_told(radar):
    write_pictures(radar, 2)
    write_picture(radar, 2, picture(2, (8, 8)))
    write_picture(radar, 1, picture(7), prefix="z")
    recent, new, problems = looked(radar)
    assert len(new) == 2
    assert sorted(str(problem) for problem in problems) == [
        "202006010010.png: 8 x 8 mm/h instead of 40 x 48 mm/h".replace("0010.png", "001000.png"),
        "z20200601000500.png: 1 of its times are there already, from another file; left out",
    ]
    window, _ = recent.window(1, 5, until=time_of(1))
    assert window.frames[0, 0, 0] == pytest.approx(0.2)


def test_files_that_are_gone_are_forgotten_and_their_frames_are_missing(radar):
    paths = write_pictures(radar, 3)
    recent, *_ = looked(radar)
    paths[1].unlink()
    assert recent.look() == ([], [])
    window, problems = recent.window(3, 5, until=time_of(2))
    assert window.absent == [1]
    assert problems[0].name == paths[1].name


def test_most_files_have_the_size_that_counts(radar):
    """Not the first one by name, which is the oldest."""
    write_picture(radar, 0, picture(0, (8, 8)))
    for index in (1, 2):
        write_picture(radar, index, picture(index))
    recent, new, problems = looked(radar)
    assert (recent.grid.shape, new) == (SHAPE, [time_of(1), time_of(2)])
    assert "8 x 8 mm/h instead of 40 x 48 mm/h" in str(problems[0])


def test_a_note_before_the_first_frame_is_passed_over(radar):
    for index in (0, 1):
        write_picture(radar, index, picture(index), prefix="z")
    (radar / "about.txt").write_text("about the radar")
    _, new, problems = looked(radar)
    assert (len(new), problems) == (2, [])


def test_a_file_that_is_renamed_keeps_its_frame(radar):
    """As where a frame is written under another name, seen there, and then renamed into its place."""
    first, last = write_pictures(radar, 2)
    other = last.with_name(f"{last.name}.part")
    last.rename(other)
    recent, *_ = looked(radar)
    other.rename(last)
    assert recent.look() == ([], [])
    window, problems = recent.window(2, 5, until=time_of(1))
    assert (window.absent, problems) == ([], [])
    first.rename(first.with_name(f"a{first.name}"))
    recent.look()
    np.testing.assert_allclose(recent.window(2, 5, until=time_of(1))[0].frames[:, 0, 0], [0.1, 0.2], rtol=1e-6)


def test_a_frame_that_is_replaced_comes_again(radar):
    write_pictures(radar, 3)
    recent, *_ = looked(radar)
    recent.window(3, 5, until=time_of(2))
    write_picture(radar, 2, picture(99))
    assert recent.look() == ([time_of(2)], [])
    assert recent.window(3, 5, until=time_of(2))[0].frames[2, 0, 0] == pytest.approx(10)


def test_one_file_that_each_frame_replaces(tmp_path):
    """What was read of it before is remembered; what was not is missing, and no other frame in its place."""
    path = tmp_path / "latest.npz"

    def put(index):
        np.savez(path, frames=np.full((1, 8, 8), index + 1.0), times=np.array([time_of(index)]))

    put(0)
    recent = Recent(path, format="numpy", options={"units": "mm/h"})
    for index in range(4):
        put(index)
        assert recent.look() == ([time_of(index)], [])
        if index != 2:
            recent.window(4, 5, until=time_of(index))
    window, problems = recent.window(4, 5, until=time_of(3))
    assert (window.absent, problems) == ([2], [])
    np.testing.assert_array_equal(window.frames[[0, 1, 3], 0, 0], [1, 2, 4])


def test_a_stack_of_the_last_frames_moves_on(tmp_path):
    path = tmp_path / "latest.npz"
    for first in (0, 1):
        frames = np.stack([np.full((8, 8), n + 1.0) for n in range(first, first + 3)])
        np.savez(path, frames=frames, times=np.array([time_of(n) for n in range(first, first + 3)]))
        if first == 0:
            recent = Recent(path, format="numpy", options={"units": "mm/h"})
            recent.look()
            recent.window(2, 5, until=time_of(2))
    assert recent.look()[0] == [time_of(3)]
    window, _ = recent.window(4, 5, until=time_of(3))
    assert window.absent == [0]
    np.testing.assert_array_equal(window.frames[1:, 0, 0], [2, 3, 4])


def test_a_folder_that_is_away_for_a_while_brings_nothing_again(radar, tmp_path):
    write_pictures(radar, 9)
    recent, new, _ = looked(radar, depth=2)
    assert len(new) < 9
    radar.rename(tmp_path / "away")
    assert recent.look() == ([], [])
    (tmp_path / "away").rename(radar)
    assert recent.look() == ([], [])
    write_picture(radar, 9, picture(9))
    assert recent.look() == ([time_of(9)], [])


def test_a_folder_that_goes_while_it_is_looked_at(radar, monkeypatch):
    write_pictures(radar, 2)
    recent, *_ = looked(radar)

    def gone(*_):
        raise FileNotFoundError(2, "No such file or directory")

    with monkeypatch.context() as patched:
        patched.setattr("convlstm.datasets.changes.find_files", gone)
        assert recent.look() == ([], [])
    assert len(recent.times) == 2


def test_of_many_files_the_last_are_looked_at(radar):
    paths = write_pictures(radar, 30)
    for path in paths:
        shutil.copystat(paths[0], path)
    _, new, _ = looked(radar, depth=4)
    assert [str(t) for t in new] == [str(time_of(n)) for n in range(26, 30)]


def test_the_newest_event_of_a_catalogue_counts(tmp_path, rng):
    pytest.importorskip("h5py")
    path = write_sevir(tmp_path, rng.integers(1, 255, (3, 8, 8, 5), np.uint8))
    recent = Recent(path)
    new, problems = recent.look()
    assert problems == []
    assert len(new) == 5
    assert new[0] == np.datetime64("2018-05-03T21:15")


def test_a_stack_that_grows_brings_new_frames(tmp_path):
    path = tmp_path / "20200601.npy"
    np.save(path, np.ones((3, 8, 8)))
    recent = Recent(path, format="numpy", options={"step_minutes": 5, "units": "mm/h"})
    assert len(recent.look()[0]) == 3
    np.save(path, np.full((5, 8, 8), 2.0))
    assert recent.look()[0] == [START + np.timedelta64(15, "m"), START + np.timedelta64(20, "m")]
    window, _ = recent.window(5, 5, until=START + np.timedelta64(20, "m"))
    assert (window.frames == 2).all()


def test_recent_refuses_what_does_not_fit(radar, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"\[Recent\] there is nothing at"):
        Recent(radar)
    with pytest.raises(ValueError, match=r"\[Recent\] 'depth' must be a whole number of at least 1 but got 0"):
        Recent(tmp_path, depth=0)
    with pytest.raises(ValueError, match=r"'zr' must be two positive numbers"):
        Recent(tmp_path, zr=(1,))
    with pytest.raises(ValueError, match="'format' must be one of"):
        Recent(tmp_path, format="tiff")


def latest(path, **arguments):
    found = Latest(path, options=OPTIONS, **arguments)
    found.look()
    return found


def test_latest_takes_every_so_manieth_frame(radar):
    write_pictures(radar, 9)
    found = latest(radar, frames=3, trained={"frame_interval": 15.0})
    assert found.step == 15
    window, _ = found.window(time_of(8))
    np.testing.assert_array_equal(window.times, [time_of(n) for n in (2, 5, 8)])
    assert latest(radar).step == 5
    assert latest(radar, step=7.5, trained={"frame_interval": 15.0}).step == 7.5


def test_latest_needs_a_step(radar):
    write_pictures(radar, 1)
    assert latest(radar, trained={"frame_interval": 5.0}).step == 5
    with pytest.raises(ValueError, match=r"\[Latest\] a single frame of .* is known, and no step"):
        _ = latest(radar).step


def test_latest_knows_no_grid_before_it_has_looked(radar):
    radar.mkdir()
    with pytest.raises(ValueError, match=r"\[Latest\] no frame of .* is known yet"):
        _ = Latest(radar, options=OPTIONS).grid


def test_latest_refuses_a_number_of_frames_that_is_none(radar):
    radar.mkdir()
    with pytest.raises(ValueError, match=r"\[Latest\] 'frames' must be a whole number of at least 1 but got 0"):
        Latest(radar, frames=0)


def test_latest_has_no_extent_where_pixels_have_no_size(radar):
    write_pictures(radar, 2)
    found = latest(radar, coarsen=2)
    assert found.extent() is None
    assert found.frame_size == (20, 24)


def film(path, count=3):
    stills = [Image.new("RGB", (24, 16), (60 * n, 0, 255 - 60 * n)) for n in range(count)]
    stills[0].save(path, save_all=True, append_images=stills[1:], duration=100)
    return path


def test_a_video_is_grey_or_coloured(tmp_path):
    path = film(tmp_path / "a.gif")
    colour, grey = read_video(path, 3), read_video(path)
    assert colour.shape == (3, 16, 24, 3)
    assert grey.shape == (3, 16, 24, 1)
    np.testing.assert_allclose(colour[:, 3, 3, 0], [0, 60, 120], atol=4)
    np.testing.assert_allclose(grey[2, 3, 3, 0], 0.299 * 120 + 0.114 * 135, atol=4)
    assert is_video("A.MP4")
    assert not is_video("a.nc")


def test_an_mp4_is_decoded(tmp_path):
    path = tmp_path / "a film=ü.mp4"
    path.write_bytes(films.mp4())
    colour = read_video(path, 3)
    assert colour.shape == (4, 16, 16, 3)
    for frame, grey in zip(colour, films.GREYS, strict=True):
        np.testing.assert_allclose(frame[:, 10:].mean((0, 1)), grey, atol=4)
        np.testing.assert_allclose(frame[:, :6].mean((0, 1)), [grey, grey, grey / 2], atol=4)
    np.testing.assert_allclose(read_video(path)[:, :, 10:].mean((1, 2, 3)), films.GREYS, atol=4)
    path.write_bytes(films.mp4()[:900])
    with pytest.raises(ClipError, match="cannot be read as a video"):
        read_video(path)


def test_a_video_that_does_not_say_how_many_frames_it_has(tmp_path):
    path = tmp_path / "a film.mkv"
    path.write_bytes(films.matroska())
    with pytest.raises(ClipError, match=r"does not say how many.*ffmpeg -i 'a film.mkv' 'a film.mp4'"):
        read_video(path)


def test_a_frame_of_a_time_to_come_is_left_out(radar, monkeypatch):
    """A wrong name must not hold up what is right; frames that are all of times to come are taken."""
    paths = write_pictures(radar, 3)
    (radar / "209901010000.png").write_bytes(paths[0].read_bytes())
    latest = Latest(radar, frames=2, options=OPTIONS)
    new, problems = latest.look()
    assert (new, latest.times.tolist()) == ([time_of(n) for n in range(3)], [time_of(n).item() for n in range(3)])
    assert [str(problem) for problem in problems] == [
        "the frame of 2099-01-01T00:00:00: is more than a day ahead of this machine's clock; left out"
    ]
    clock = time_of(0).astype(int) - 2 * 86400
    monkeypatch.setattr("convlstm.datasets.latest.time.time", lambda: float(clock))
    latest = Latest(radar, frames=2, options=OPTIONS)
    with pytest.warns(UserWarning, match="ahead of this machine's clock: check that the frames' times are in UTC"):
        assert len(latest.look()[0]) == 4


def test_frames_of_another_time_zone_are_warned_of(radar, monkeypatch):
    write_pictures(radar, 3)
    clock = time_of(2).astype(int) - 7200
    monkeypatch.setattr("convlstm.datasets.latest.time.time", lambda: float(clock))
    latest = Latest(radar, frames=2, options=OPTIONS)
    with pytest.warns(UserWarning, match="ahead of this machine's clock: check that the frames' times are in UTC"):
        assert len(latest.look()[0]) == 3
    assert len(latest.times) == 3


def test_a_video_that_cannot_be_read_says_why(tmp_path, monkeypatch):
    (tmp_path / "a.mp4").write_bytes(b"none")
    with pytest.raises(ClipError, match=r"\[read_video\] .*a.mp4 cannot be read as a video .* FFmpeg"):
        read_video(tmp_path / "a.mp4")
    with pytest.raises(ValueError, match=r"\[read_video\] 'channels' must be 1 or 3 but got 2"):
        read_video(tmp_path / "a.mp4", 2)
    monkeypatch.setattr("convlstm.datasets.clip._LARGEST", 100)
    with pytest.raises(ClipError, match=r"has 3 frames of 16x24, too many"):
        read_video(film(tmp_path / "a.gif"))


def test_a_stack_is_read_and_checked(tmp_path):
    np.save(tmp_path / "a.npy", np.ones((3, 4, 5), np.uint8))
    assert read_stack(tmp_path / "a.npy").shape == (3, 4, 5, 1)
    np.save(tmp_path / "b.npy", np.ones((3, 4, 5, 2)))
    assert read_stack(tmp_path / "b.npy", 2).shape == (3, 4, 5, 2)
    with pytest.raises(ClipError, match=r"\[read_stack\] .* must have frames \(T, H, W\) .* with C=1 but has float64"):
        read_stack(tmp_path / "b.npy")
    (tmp_path / "c.npy").write_bytes((tmp_path / "a.npy").read_bytes()[:100])
    with pytest.raises(ClipError, match=r"\[read_stack\] .*c.npy cannot be read .*; it may be damaged"):
        read_stack(tmp_path / "c.npy")
