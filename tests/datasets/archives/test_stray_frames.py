"""The newest frames of folders with stray files: the majority of the files decides, again at each look."""

import os

from convlstm.datasets.archives.archive import Archive
from convlstm.datasets.archives.newest_frames import NewestFrames
from tests.support.radar_archives import OPTIONS, SHAPE, picture, time_of, write_picture, write_pictures

import numpy as np
import pytest


@pytest.fixture
def radar(tmp_path):
    return tmp_path / "radar"


def looked(path, **arguments):
    newest = NewestFrames(path, options=OPTIONS, **arguments)
    return newest, *newest.look()


def test_a_stray_first_file_of_another_size_does_not_decide(radar):
    write_picture(radar, -3, picture(0, (8, 8)))
    newest, new, _ = looked(radar)
    assert (newest.grid.shape, len(new)) == ((8, 8), 1)
    write_picture(radar, 0, picture(0))
    new, problems = newest.look()
    assert new == []
    assert "40 x 48 mm/h instead of 8 x 8 mm/h" in str(problems[0])
    write_picture(radar, 1, picture(1))
    new, problems = newest.look()
    assert (newest.grid.shape, new) == (SHAPE, [time_of(0), time_of(1)])
    assert [problem.reason for problem in problems] == ["8 x 8 mm/h instead of 40 x 48 mm/h"]
    for index in range(2, 40):
        write_picture(radar, index, picture(index))
        if index % 10 == 0:
            write_picture(radar, index + 0.5, picture(index, (9, 9)))
        assert newest.look()[0] == [time_of(index)]
    window, problems = newest.window(5, 5, until=time_of(39))
    assert (window.absent, problems) == ([], [])


def test_a_stray_first_file_of_another_format_does_not_decide(radar):
    radar.mkdir()
    np.save(radar / "202006010100.npy", np.ones(SHAPE))
    newest, new, _ = looked(radar, format="auto")
    assert (newest.format, len(new)) == ("numpy", 1)
    write_picture(radar, 0, picture(0))
    assert newest.look() == ([], [])
    write_picture(radar, 1, picture(1))
    new, problems = newest.look()
    assert (newest.format, new) == ("png", [time_of(0), time_of(1)])
    assert [str(problem) for problem in problems] == ["202006010100.npy: numpy, but now most files are png"]
    assert len(newest.times) == 2
    write_picture(radar, 2, picture(2))
    np.save(radar / "202006010105.npy", np.ones(SHAPE))
    assert newest.look() == ([time_of(2)], [])


def test_frames_that_change_their_size_for_good_are_followed(radar):
    write_pictures(radar, 40)
    newest, *_ = looked(radar, depth=4)
    sizes = []
    for index in range(40, 50):
        write_picture(radar, index, picture(index, (8, 8)))
        newest.look()
        sizes.append(newest.grid.shape)
    assert sizes == sorted(sizes, reverse=True)
    assert (sizes[0], sizes[-1]) == (SHAPE, (8, 8))
    assert newest.window(3, 5, until=time_of(49))[0].absent == []


def test_neither_late_nor_future_frames_push_out_the_others(radar):
    write_pictures(radar, 3, shape=(4, 4))
    newest, *_ = looked(radar)
    for start in (-2000, 5000):
        for index in range(start, start + 600):
            write_picture(radar, index, picture(0, (4, 4)))
        newest.look()
        assert set(newest.times) >= {time_of(n) for n in range(3)} or start == 5000
        write_picture(radar, 3 + (start > 0), picture(3, (4, 4)))
        assert newest.look()[0] == [time_of(3 + (start > 0))]
    assert len(newest.times) <= 1024


def test_names_that_are_no_text(tmp_path):
    folder = os.fsencode(tmp_path / "radar")
    paths = write_pictures(tmp_path / "radar", 4)
    for path in paths:
        path.rename(os.fsdecode(folder + b"/\xff\x1b[31m_" + os.fsencode(path.name)))
    with open(folder + b"/\xfe\x1b]0;.png", "wb") as file:  # noqa: PTH123
        file.write(b"half")
    newest, new, problems = looked(tmp_path / "radar")
    assert len(new) == 4
    assert [str(problem) for problem in problems] == ["\\udcfe\\x1b]0;.png: not recognised as png; it may be cut off"]
    assert newest.window(4, 5, until=time_of(3))[0].absent == []
    with pytest.warns(UserWarning, match=r"\\udcfe\\x1b\]0;.png \(not recognised as png"):
        archive = Archive(tmp_path / "radar", cache=tmp_path / "index", options=OPTIONS)
    assert len(archive) == 4
    with pytest.warns(UserWarning, match="not recognised"):
        assert Archive(tmp_path / "radar", cache=tmp_path / "index", options=OPTIONS).fingerprint == archive.fingerprint


def test_a_true_frame_takes_the_place_of_a_stray_one_of_its_time(radar):
    for index in range(4):
        write_picture(radar, index, picture(index))
    newest, _, _ = looked(radar)
    write_picture(radar, 4, np.full(SHAPE, 200), prefix="copy of ")
    assert newest.look() == ([time_of(4)], [])
    write_picture(radar, 4, picture(4))
    new, problems = newest.look()
    assert new == [time_of(4)]
    assert [problem.name for problem in problems] == ["copy of 20200601002000.png"]
    window, _ = newest.window(1, 5, until=time_of(4))
    assert window.frames[0, 0, 0] == pytest.approx(0.5)
    write_picture(radar, 3, np.full(SHAPE, 200), prefix="copy of ")
    new, problems = newest.look()
    assert new == []
    assert "1 of its times are known from another file" in problems[0].reason
    with pytest.warns(UserWarning, match=r"left out, 2 in all: copy of \d+.png \(a second frame of .*; copy of"):
        archive = Archive(radar, options=OPTIONS, progress=False)
    assert [archive.frame(n)[0, 0] for n in range(5)] == pytest.approx([0.1, 0.2, 0.3, 0.4, 0.5])
