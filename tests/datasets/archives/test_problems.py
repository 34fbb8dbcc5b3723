"""Problems of real archives: files are left out with a warning that names them, or refused."""

from convlstm.datasets import RadarEcho
from convlstm.datasets.archives.archive import Archive
from tests.support.radar_archives import (
    OPTIONS,
    Stack,
    name_of,
    picture,
    time_of,
    write_picture,
    write_pictures,
    write_stack,
)
from tests.support.radar_sequences import SPLITS, checked_batches, data_of

import numpy as np
import pytest

pytestmark = pytest.mark.usefixtures("stacks")


FRAMES = 40


def archive_with(folder, *texts, options=OPTIONS):
    """Opens an archive twice; checks that each time gives one warning with each of the texts, and no others."""
    for _ in range(2):
        with pytest.warns(UserWarning, match="Archive") as caught:
            archive = Archive(folder, options=options, progress=False)
        messages = [str(warning.message) for warning in caught]
        assert len(messages) == len(texts)
        for message, text in zip(messages, texts, strict=True):
            assert message.startswith(f"[Archive] {folder.name}: ")
            assert text in message
    return archive


def problems_in(data):
    (record,) = data.describe()["archives"].values()
    return record["problems"]


def test_no_problems_no_warnings(pictures):
    assert Archive(pictures, options=OPTIONS).problems == []
    data = data_of(pictures)
    assert all(batch["mask"].all() for batch in checked_batches(data))
    assert problems_in(data) == {}


@pytest.mark.parametrize("rest", [0, 20, 60])
def test_a_truncated_file(pictures, rest):
    path = pictures / name_of(2)
    path.write_bytes(path.read_bytes()[:rest])
    archive = archive_with(
        pictures,
        f"files or frames that cannot be read are left out, 1 in all: {path.name} (",
        f"no sequence crosses a gap, 1 in all: {name_of(1)} (10 min after 2020-06-01T00:05:00).",
    )
    assert len(archive) == FRAMES - 1
    assert [name for name, _ in archive.problems] == [path.name, name_of(1)]
    data = data_of(pictures)
    assert problems_in(data) == {"damaged": 1, "gap": 1}
    checked_batches(data)


@pytest.mark.usefixtures("in_this_process")
def test_a_frame_of_a_stack_that_cannot_be_read(tmp_path, monkeypatch):
    path = write_stack(tmp_path / "radar" / "a.stack", np.ones((FRAMES, 8, 8)))
    real = Stack._read

    def read(self, path, position):
        if position == 3:
            raise OSError("bad sector")
        return real(self, path, position)

    monkeypatch.setattr(Stack, "_read", read)
    archive = archive_with(path.parent, "1 in all: a.stack (", "crosses a gap, 1 in all: a.stack", options=None)
    assert "bad sector" in archive.problems[0][1]
    assert len(archive) == FRAMES - 1
    checked_batches(data_of(path.parent, options=None))


def test_many_problems_are_counted_and_the_first_named(pictures):
    for index in range(1, 12, 2):
        (pictures / name_of(index)).write_bytes(b"")
    archive = archive_with(
        pictures,
        "left out, 6 in all: 20200601000500.png (",
        "gap, 6 in all: 20200601000000.png (10 min after 2020-06-01T00:00:00); 20200601001000.png (10 min after "
        "2020-06-01T00:10:00); 20200601002000.png (10 min after 2020-06-01T00:20:00); ....",
    )
    assert len(archive.problems) == 12


@pytest.mark.parametrize("shape", [(41, 48), (48, 40), (20, 24)])
def test_a_frame_of_another_size(pictures, shape):
    write_picture(pictures, 5, picture(5, shape))
    archive = archive_with(
        pictures,
        "files with frames of another size or other units than most are left out, 1 in all: "
        f"{name_of(5)} ({shape[0]} x {shape[1]} mm/h instead of 40 x 48 mm/h).",
        "crosses a gap, 1 in all",
    )
    assert archive.grid.shape == (40, 48)
    checked_batches(data_of(pictures))


def test_a_duplicate_time(pictures):
    write_picture(pictures, 5, np.full((40, 48), 99), prefix="x")
    archive = archive_with(
        pictures,
        "frames with the time of another one are left out, 1 in all: "
        f"x{name_of(5)} (a second frame of 2020-06-01T00:25:00).",
    )
    assert len(archive) == FRAMES
    assert archive.frame(5)[0, 0] == pytest.approx(0.6)
    assert archive.file(5) == name_of(5)


def test_a_duplicate_time_in_a_file_of_many_frames(tmp_path):
    times = np.array([time_of(i) for i in (0, 1, 1, 2)])
    write_stack(tmp_path / "radar" / "a.stack", np.arange(4.0)[:, None, None] * np.ones((4, 8, 8)), times=times)
    archive = archive_with(
        tmp_path / "radar", "1 in all: a.stack (a second frame of 2020-06-01T00:05:00)", options=None
    )
    assert [archive.frame(i)[0, 0] for i in range(3)] == [0, 1, 3]


def test_a_gap(pictures):
    for index in (10, 11, 25):
        (pictures / name_of(index)).unlink()
    archive = archive_with(
        pictures,
        f"no sequence crosses a gap, 2 in all: {name_of(9)} (15 min after 2020-06-01T00:45:00); "
        f"{name_of(24)} (10 min after 2020-06-01T02:00:00).",
    )
    assert len(archive) == FRAMES - 3
    data = data_of(pictures)
    for split in SPLITS:
        for index in range(data.size(split)):
            assert (np.diff(data.times(split, index)) == np.timedelta64(5, "m")).all()
    checked_batches(data)


def test_frames_between_the_others(pictures):
    """An additional frame between two others is in no sequence."""
    write_picture(pictures, 3.5, picture(3))
    archive = archive_with(pictures, f"crosses a gap, 2 in all: {name_of(3)} (2.5 min after")
    assert archive.step == 5
    data = data_of(pictures)
    assert all((np.diff(data.times("train", i)) == np.timedelta64(5, "m")).all() for i in range(data.size("train")))


def test_unordered_names(tmp_path):
    """Names may sort otherwise than times: the series is in the order of time."""
    for index in range(FRAMES):
        write_picture(tmp_path / "radar", index, picture(index), prefix=f"{(7 * index) % 10}_")
    archive = Archive(tmp_path / "radar", options=OPTIONS)
    assert archive.problems == []
    assert (np.diff(archive.times).astype(int) == 300).all()
    assert [archive.frame(i)[0, 0] for i in range(FRAMES)] == pytest.approx([0.1 * (i + 1) for i in range(FRAMES)])
    checked_batches(data_of(tmp_path / "radar"))


def test_all_missing_frames(pictures):
    for index in (4, 30):
        write_picture(pictures, index, np.full((40, 48), 255))
    archive = archive_with(
        pictures,
        "frames without any known pixel are left out, 2 in all: "
        f"{name_of(4)} (the frame of 2020-06-01T00:20:00); {name_of(30)} (",
        "crosses a gap, 2 in all",
    )
    assert len(archive) == FRAMES - 2
    checked_batches(data_of(pictures))


def test_a_nan(tmp_path):
    values = np.ones((FRAMES, 8, 8))
    values[:, 2, 3] = np.nan
    values[7, 4:] = np.nan
    path = write_stack(tmp_path / "a.stack", values)
    archive = Archive(path)
    assert archive.problems == []
    assert archive.missing[[6, 7]] == pytest.approx([1 / 64, 33 / 64])
    batches = checked_batches(data_of(path, options=None))
    assert all(not batch["mask"][0, 0, 2, 3, 0] for batch in batches)
    assert all((batch["inputs"][0, :, 2, 3] == 0).all() for batch in batches)


def test_negative_rain(tmp_path):
    values = np.ones((FRAMES, 8, 8))
    values[5, 0, :4] = -0.1
    values[9, 0, 0] = -9999
    path = write_stack(tmp_path / "radar" / "a.stack", values)
    archive = archive_with(
        path.parent,
        "negative rain counts as missing, 2 in all: a.stack (the frame of 2020-06-01T00:25:00); a.stack (",
        options=None,
    )
    assert len(archive) == FRAMES
    assert np.isnan(archive.frame(5)[0, :4]).all()
    assert archive.missing[5] == pytest.approx(4 / 64)
    assert archive.known()[0].tolist() == [FRAMES - 2, *[FRAMES - 1] * 3, *[FRAMES] * 4]
    data = data_of(path.parent, options=None)
    assert problems_in(data) == {"negative": 2}
    checked_batches(data)


@pytest.mark.parametrize("value", [np.inf, -np.inf, 1e20])
def test_infinite_and_impossible_values(tmp_path, value):
    values = np.ones((FRAMES, 8, 8))
    values[5, 0, :4] = value
    path = write_stack(tmp_path / "radar" / "a.stack", values)
    archive = archive_with(
        path.parent, "infinite and impossible values count as missing, 1 in all: a.stack (", options=None
    )
    assert np.isnan(archive.frame(5)[0, :4]).all()
    checked_batches(data_of(path.parent, options=None))


def test_an_empty_folder(tmp_path):
    (tmp_path / "radar").mkdir()
    for thing in (Archive, lambda path: RadarEcho(archive=str(path))):
        with pytest.raises(ValueError, match=r"\[Archive\] .*radar: no file is of a known format \(.*png"):
            thing(tmp_path / "radar")


def test_a_folder_of_other_files(tmp_path):
    (tmp_path / "radar").mkdir()
    for name in ("README.txt", "station.csv"):
        (tmp_path / "radar" / name).write_text("rain")
    with pytest.raises(ValueError, match=r"none of the 2 files, such as README.txt, is of a known format .*name the"):
        Archive(tmp_path / "radar")


def test_a_video_is_pointed_to_the_data_of_clips(tmp_path):
    (tmp_path / "clip.mp4").write_bytes(b"\0\0\0\x18ftypmp42")
    with pytest.raises(ValueError, match=r"clip.mp4, is of a known format .* clips without times: data=video"):
        Archive(tmp_path / "clip.mp4")


def test_a_missing_path(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"absent does not exist. Check the path."):
        RadarEcho(archive=str(tmp_path / "absent"))


def test_two_formats_mixed(pictures):
    write_stack(pictures / "b.stack", np.ones((3, 40, 48)), first=100)
    archive = archive_with(
        pictures, "files of another format than most are left out, 1 in all: b.stack (stack).", options=None
    )
    assert (archive.format, len(archive)) == ("png", FRAMES)


def test_two_formats_evenly_mixed(tmp_path):
    write_pictures(tmp_path / "radar", 2)
    for number in range(2):
        write_stack(tmp_path / "radar" / f"{number}.stack", np.ones((20, 40, 48)), first=20 * number)
    with pytest.raises(ValueError, match=r"as many files of the format 'png' as of 'stack' .2.. Name"):
        Archive(tmp_path / "radar")
    assert len(Archive(tmp_path / "radar", format="stack")) == 40
    assert len(Archive(tmp_path / "radar", format="png")) == 2


def test_no_usable_frame(tmp_path):
    for index in range(3):
        write_picture(tmp_path / "radar", index, np.full((40, 48), 255))
    with pytest.raises(ValueError, match=r"no file in .*radar can be used: 20200601000000.png \(the frame of .*Check"):
        Archive(tmp_path / "radar", options=OPTIONS)
    for path in (tmp_path / "radar").iterdir():
        path.write_bytes(path.read_bytes()[:30])
    with pytest.raises(ValueError, match=r"no file in .*radar can be used: 20200601000000.png \(.*png"):
        Archive(tmp_path / "radar", options=OPTIONS)


def test_a_format_that_is_named_is_tried(tmp_path):
    (tmp_path / "radar").mkdir()
    (tmp_path / "radar" / "a.txt").write_text("rain")
    with pytest.raises(ValueError, match=r"no file in .*radar can be used: a.txt \(.*Check the files, or name"):
        Archive(tmp_path / "radar", format="stack")


def test_a_link_that_leads_nowhere(pictures):
    (pictures / "lost.png").symlink_to(pictures / "absent.png")
    archive = archive_with(pictures, "cannot be read are left out, 1 in all: lost.png (")
    assert len(archive) == FRAMES
