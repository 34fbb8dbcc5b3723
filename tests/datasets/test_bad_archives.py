"""What is wrong with real archives: left out with a warning that names the file, or refused; never in a batch."""

import shutil
import subprocess
import sys
import textwrap
import warnings
from pathlib import Path

from convlstm.datasets import RadarEcho
from convlstm.datasets.archive import Archive
from convlstm.datasets.readers import FORMATS
from tests.support.radar_archives import OPTIONS, Stack, picture, time_of, write_picture, write_pictures, write_stack

import numpy as np
import pytest

FRAMES = 40
SPLITS = ("train", "validation", "test")


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("CONVLSTM_DATA", str(tmp_path / "data"))
    monkeypatch.setitem(FORMATS, "stack", Stack())


@pytest.fixture
def folder(tmp_path):
    """An archive with nothing wrong with it."""
    write_pictures(tmp_path / "radar", FRAMES)
    return tmp_path / "radar"


def name_of(index):
    return f"{str(time_of(index)).translate(str.maketrans('', '', '-T:'))}.png"


def archive_with(folder, *texts, options=OPTIONS):
    """The archive, which gives one warning with each of these texts and no other, today and tomorrow."""
    for _ in range(2):
        with pytest.warns(UserWarning, match="Archive") as caught:
            archive = Archive(folder, options=options, progress=False)
        said = [str(warning.message) for warning in caught]
        assert len(said) == len(texts)
        for one, text in zip(said, texts, strict=True):
            assert one.startswith(f"[Archive] {folder.name}: ")
            assert text in one
    return archive


def data_of(folder, *, options=OPTIONS, **more):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        return RadarEcho(archive=str(folder), reader=options, input_frames=2, target_frames=1, progress=False, **more)


def batches(data):
    """All batches of all splits, checked: nothing that is missing reaches the model or the loss."""
    found = [batch for split in SPLITS for batch in data.stream(split, 1)]
    assert found
    for batch in found:
        for name in ("inputs", "targets"):
            assert np.isfinite(batch[name]).all()
            assert batch[name].min() >= 0
            assert batch[name].max() <= 1
        assert batch["mask"].dtype == bool
        assert (batch["targets"][~batch["mask"]] == 0).all()
    return found


def problems_in(data):
    (record,) = data.describe()["archives"].values()
    return record["problems"]


def test_nothing_wrong_nothing_warned(folder):
    assert Archive(folder, options=OPTIONS).problems == []
    data = data_of(folder)
    assert all(batch["mask"].all() for batch in batches(data))
    assert problems_in(data) == {}


@pytest.mark.parametrize("rest", [0, 20, 60])
def test_a_truncated_file(folder, rest):
    path = folder / name_of(2)
    path.write_bytes(path.read_bytes()[:rest])
    archive = archive_with(
        folder,
        f"files or frames that cannot be read are left out, 1 in all: {path.name} (",
        f"no sequence crosses a gap, 1 in all: {name_of(1)} (10 min after 2020-06-01T00:05:00).",
    )
    assert len(archive) == FRAMES - 1
    assert [name for name, _ in archive.problems] == [path.name, name_of(1)]
    data = data_of(folder)
    assert problems_in(data) == {"damaged": 1, "gap": 1}
    batches(data)


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
    batches(data_of(path.parent, options=None))


def test_many_problems_are_counted_and_the_first_named(folder):
    for index in range(1, 12, 2):
        (folder / name_of(index)).write_bytes(b"")
    archive = archive_with(
        folder,
        "left out, 6 in all: 20200601000500.png (",
        "gap, 6 in all: 20200601000000.png (10 min after 2020-06-01T00:00:00); 20200601001000.png (10 min after "
        "2020-06-01T00:10:00); 20200601002000.png (10 min after 2020-06-01T00:20:00); ....",
    )
    assert len(archive.problems) == 12


@pytest.mark.parametrize("shape", [(41, 48), (48, 40), (20, 24)])
def test_a_frame_of_another_size(folder, shape):
    write_picture(folder, 5, picture(5, shape))
    archive = archive_with(
        folder,
        "files with frames of another size or other units than most are left out, 1 in all: "
        f"{name_of(5)} ({shape[0]} x {shape[1]} mm/h instead of 40 x 48 mm/h).",
        "crosses a gap, 1 in all",
    )
    assert archive.grid.shape == (40, 48)
    batches(data_of(folder))


def test_a_duplicate_time(folder):
    write_picture(folder, 5, np.full((40, 48), 99), prefix="x")
    archive = archive_with(
        folder,
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


def test_a_gap(folder):
    for index in (10, 11, 25):
        (folder / name_of(index)).unlink()
    archive = archive_with(
        folder,
        f"no sequence crosses a gap, 2 in all: {name_of(9)} (15 min after 2020-06-01T00:45:00); "
        f"{name_of(24)} (10 min after 2020-06-01T02:00:00).",
    )
    assert len(archive) == FRAMES - 3
    data = data_of(folder)
    for split in SPLITS:
        for index in range(data.size(split)):
            assert (np.diff(data.times(split, index)) == np.timedelta64(5, "m")).all()
    batches(data)


def test_frames_between_the_others(folder):
    """Frames every 5 minutes, and two at other times: no sequence has them."""
    write_picture(folder, 3.5, picture(3))
    archive = archive_with(folder, f"crosses a gap, 2 in all: {name_of(3)} (2.5 min after")
    assert archive.step == 5
    data = data_of(folder)
    assert all((np.diff(data.times("train", i)) == np.timedelta64(5, "m")).all() for i in range(data.size("train")))


def test_unordered_names(tmp_path):
    """Names that do not sort as the times do are no problem: the series is in the order of time."""
    for index in range(FRAMES):
        write_picture(tmp_path / "radar", index, picture(index), prefix=f"{(7 * index) % 10}_")
    archive = Archive(tmp_path / "radar", options=OPTIONS)
    assert archive.problems == []
    assert (np.diff(archive.times).astype(int) == 300).all()
    assert [archive.frame(i)[0, 0] for i in range(FRAMES)] == pytest.approx([0.1 * (i + 1) for i in range(FRAMES)])
    batches(data_of(tmp_path / "radar"))


def test_all_missing_frames(folder):
    for index in (4, 30):
        write_picture(folder, index, np.full((40, 48), 255))
    archive = archive_with(
        folder,
        "frames without any known pixel are left out, 2 in all: "
        f"{name_of(4)} (the frame of 2020-06-01T00:20:00); {name_of(30)} (",
        "crosses a gap, 2 in all",
    )
    assert len(archive) == FRAMES - 2
    batches(data_of(folder))


def test_a_nan(tmp_path):
    values = np.ones((FRAMES, 8, 8))
    values[:, 2, 3] = np.nan
    values[7, 4:] = np.nan
    path = write_stack(tmp_path / "a.stack", values)
    archive = Archive(path)
    assert archive.problems == []
    assert archive.missing[[6, 7]] == pytest.approx([1 / 64, 33 / 64])
    found = batches(data_of(path, options=None))
    assert all(not batch["mask"][0, 0, 2, 3, 0] for batch in found)
    assert all((batch["inputs"][0, :, 2, 3] == 0).all() for batch in found)


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
    batches(data)


@pytest.mark.parametrize("value", [np.inf, -np.inf, 1e20])
def test_infinite_and_impossible_values(tmp_path, value):
    values = np.ones((FRAMES, 8, 8))
    values[5, 0, :4] = value
    path = write_stack(tmp_path / "radar" / "a.stack", values)
    archive = archive_with(
        path.parent, "infinite and impossible values count as missing, 1 in all: a.stack (", options=None
    )
    assert np.isnan(archive.frame(5)[0, :4]).all()
    batches(data_of(path.parent, options=None))


def test_an_empty_folder(tmp_path):
    (tmp_path / "radar").mkdir()
    for thing in (Archive, lambda path: RadarEcho(archive=str(path))):
        with pytest.raises(ValueError, match=r"\[Archive\] .*radar: no file is of a format that is looked for: .*png"):
            thing(tmp_path / "radar")


def test_a_folder_of_other_things(tmp_path):
    (tmp_path / "radar").mkdir()
    for name in ("README.txt", "station.csv"):
        (tmp_path / "radar" / name).write_text("rain")
    with pytest.raises(ValueError, match=r"none of the 2 files there, such as README.txt, is of a format .*name the"):
        Archive(tmp_path / "radar")


def test_a_missing_path(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"there is nothing at .*absent. Check the path."):
        RadarEcho(archive=str(tmp_path / "absent"))


def test_two_formats_mixed(folder):
    write_stack(folder / "b.stack", np.ones((3, 40, 48)), first=100)
    archive = archive_with(
        folder, "files of another format than most are left out, 1 in all: b.stack (stack).", options=None
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


def test_nothing_sensible_left(tmp_path):
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


def test_a_link_that_leads_nowhere(folder):
    (folder / "lost.png").symlink_to(folder / "absent.png")
    archive = archive_with(folder, "cannot be read are left out, 1 in all: lost.png (")
    assert len(archive) == FRAMES


# After it was indexed


def spoil(folder, index, how):
    path = folder / name_of(index)
    if how == "truncated":
        path.write_bytes(path.read_bytes()[:50])
    elif how == "deleted":
        path.unlink()
    else:
        write_picture(folder, index, picture(index, (8, 8)))
    return path


@pytest.mark.parametrize("how", ["truncated", "deleted", "replaced"])
@pytest.mark.parametrize("threads", [1, 3])
def test_a_file_that_goes_bad_later(folder, how, threads):
    """The sequences that have the frame count nowhere, and the others are what they were."""
    data = data_of(folder, cache_bytes=0, threads=threads)
    untouched = batches(data)
    path = spoil(folder, 3, how)
    with pytest.warns(UserWarning, match=rf"\[RadarEcho\] {path.name} could be read when .* not any more") as caught:
        found = batches(data)
    assert len(caught) == 1
    bad = time_of(3)
    numbers = [(split, index) for split in SPLITS for index in range(data.size(split))]
    affected = [bad in data.times(*number) for number in numbers]
    assert 0 < sum(affected) < len(affected)
    for before, after, hit in zip(untouched, found, affected, strict=True):
        assert after["mask"].any() == (not hit)
        if not hit:
            assert all(np.array_equal(before[name], after[name]) for name in before)


def test_a_whole_archive_that_disappears(folder):
    data = data_of(folder, cache_bytes=0)
    shutil.rmtree(folder)
    with pytest.warns(UserWarning, match="could be read when"):
        assert not any(batch["mask"].any() for batch in batches(data))


def test_a_warning_made_an_error_reaches_the_loop(folder):
    data = data_of(folder, cache_bytes=0)
    spoil(folder, 3, "deleted")
    with pytest.raises(UserWarning, match=name_of(3)):
        list(data.stream("train", 1))


def test_the_process_lives_and_ends_well(folder):
    """Neither a bad file in the loader's threads nor leaving in the middle of it aborts Python."""
    code = textwrap.dedent(
        f"""
        import warnings
        from pathlib import Path
        from convlstm.datasets import RadarEcho
        warnings.simplefilter("ignore", UserWarning)
        folder = Path({str(folder)!r})
        data = RadarEcho(archive=str(folder), input_frames=2, target_frames=1, cache_bytes=0, threads=3,
                         reader={OPTIONS!r})
        stream = data.stream("train", 1)
        next(stream)
        for path in folder.iterdir():
            path.write_bytes(b"")
        next(stream)
        print("masked", sum(not batch["mask"].any() for batch in data.stream("test", 1)), data.size("test"))
        """
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=Path(__file__).parents[2], timeout=60
    )
    assert done.returncode == 0, done.stderr
    word, masked, size = done.stdout.split()
    assert (word, masked) == ("masked", size)
    assert done.stderr == ""
