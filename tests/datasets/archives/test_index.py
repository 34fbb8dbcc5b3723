"""The stored index of an archive."""

import shutil

from convlstm.datasets.archives.archive import Archive
from convlstm.datasets.array_cache import ArrayCache
from convlstm.datasets.readers.png import PNG
from tests.support.radar_archives import (
    OPTIONS,
    SHAPE,
    picture,
    write_picture,
    write_pictures,
    write_stack,
)

import numpy as np
import pytest


def opened(folder, **settings):
    return Archive(folder, **{"options": OPTIONS, "progress": False, **settings})


def masked_pictures(folder):
    """Writes four pictures. Each lacks another pixel of the first column."""
    for number in range(4):
        pixels = picture(number)
        pixels[number, 0] = 255
        write_picture(folder, number, pixels)
    return folder


@pytest.mark.parametrize(("coarsen", "times"), [(1, 1), (2, 2)])  # coarse frames take room, too
def test_frames_are_kept_from_the_index_if_all_of_them_fit_the_cache(tmp_path, reads, coarsen, times):
    folder = masked_pictures(tmp_path / "radar")
    sizes = 4 * int(np.prod(SHAPE)) * 4
    kept = opened(folder, cache=tmp_path / "kept", cache_bytes=times * sizes)
    assert len(reads) == 2 * 4  # the header and the figures
    frames = [kept.frame(n, coarsen) for n in range(4)]
    assert len(reads) == 2 * 4
    decoded = opened(folder, cache=tmp_path / "decoded", cache_bytes=sizes - 1)
    assert len(reads) == 4 * 4 + 4  # to count the known pixels
    for n, frame in enumerate(frames):
        np.testing.assert_array_equal(frame, decoded.frame(n, coarsen))
    assert np.array_equal(kept.known(), decoded.known())
    assert kept.known()[:4, 0].tolist() == [3] * 4
    assert kept.known()[0, 1] == 4


def test_archives_that_share_a_cache_do_not_mix_their_frames(tmp_path, stacks):
    cache = ArrayCache(1 << 20)
    paths = [write_stack(tmp_path / name / "a.stack", np.full((4, 3, 3), n)) for n, name in enumerate("ab")]
    archives = [Archive(path, cache_bytes=cache) for path in paths]
    assert archives[0].fingerprint == archives[1].fingerprint
    assert [archive.frame(2)[0, 0] for archive in archives] == [0, 1]


def test_files_are_read_only_once(tmp_path, index_folder, reads):
    write_pictures(tmp_path / "radar", 4)
    first = opened(tmp_path / "radar")
    assert len(reads) == 2 * 4  # the header and the figures
    assert len(list(index_folder.iterdir())) == 1
    del reads[:]
    again = opened(tmp_path / "radar")
    assert reads == []
    assert again.describe() == first.describe()
    for name in ("times", "event", "missing", "wet", "wet_blocks"):
        assert np.array_equal(getattr(again, name), getattr(first, name))
    assert np.array_equal(again.known(), first.known())


def test_only_new_or_changed_files_are_read_again(tmp_path, reads):
    folder = tmp_path / "radar"
    paths = write_pictures(folder, 4)
    before = opened(folder)
    del reads[:]
    write_picture(folder, 4, picture(4))
    write_picture(folder, 1, picture(200))
    after = opened(folder, cache_bytes=0)
    assert set(reads) == {paths[1].name, "20200601002000.png"}
    assert len(after) == 5
    assert after.frame(1)[0, 0] == pytest.approx(20.1)
    assert after.fingerprint != before.fingerprint

    del reads[:]
    paths[0].unlink()
    shorter = opened(folder)
    assert len(shorter) == 4
    assert reads == []


def test_an_archive_indexed_in_steps_equals_one_indexed_at_once(tmp_path, stacks):
    for number in range(3):
        write_stack(tmp_path / "radar" / f"{number}.stack", np.full((40, 3, 3), number), first=40 * number)
        grown = Archive(tmp_path / "radar")
    at_once = Archive(tmp_path / "radar", cache=tmp_path / "other")
    assert grown.describe() == at_once.describe()
    assert np.array_equal(grown.known(), at_once.known())


def test_a_damaged_index_is_made_again(tmp_path, index_folder):
    write_pictures(tmp_path / "radar", 3)
    record = opened(tmp_path / "radar").describe()
    (stored,) = index_folder.iterdir()
    for content in (b"", stored.read_bytes()[:300], b"PK\x03\x04 rubbish"):
        stored.write_bytes(content)
        assert opened(tmp_path / "radar").describe() == record


def test_other_options_have_another_index(tmp_path, index_folder):
    write_pictures(tmp_path / "radar", 3)
    assert opened(tmp_path / "radar").wet == pytest.approx([0.5] * 3)
    assert opened(tmp_path / "radar", options={"units": "mm/h", "scale": 0.01}).wet == pytest.approx([0] * 3)
    assert opened(tmp_path / "radar", zr=(300, 1.4)).wet == pytest.approx([0.5] * 3)
    assert len(list(index_folder.iterdir())) == 3


def test_cache_names_the_folder_of_the_index(tmp_path, index_folder):
    write_pictures(tmp_path / "radar", 2)
    opened(tmp_path / "radar", cache=str(tmp_path / "mine"))
    assert len(list((tmp_path / "mine").iterdir())) == 1
    assert not index_folder.exists()


def test_a_warning_if_the_index_cannot_be_stored(tmp_path):
    write_pictures(tmp_path / "radar", 2)
    (tmp_path / "blocked").write_text("a file")
    with pytest.warns(UserWarning, match=r"index cannot be stored in .*blocked.*Set CONVLSTM_DATA"):
        assert len(opened(tmp_path / "radar", cache=tmp_path / "blocked")) == 2


def test_files_read_before_an_interruption_are_not_read_again(tmp_path, monkeypatch, reads):
    write_pictures(tmp_path / "radar", 5)
    real = PNG.read

    def read(self, path, position):
        if "0015" in path.name:
            raise KeyboardInterrupt
        return real(self, path, position)

    with monkeypatch.context() as context:
        context.setattr(PNG, "read", read)
        with pytest.raises(KeyboardInterrupt):
            opened(tmp_path / "radar")
    del reads[:]
    assert len(opened(tmp_path / "radar")) == 5
    assert set(reads) == {"20200601001500.png", "20200601002000.png"}


def test_progress_shows_a_bar(tmp_path, monkeypatch, capsys):
    write_pictures(tmp_path / "radar", 3)
    monkeypatch.setattr("convlstm.datasets.archives.scan._DELAY", 0)
    opened(tmp_path / "radar")
    assert capsys.readouterr().err == ""
    opened(tmp_path / "radar", progress=True, cache=tmp_path / "other")
    assert "indexing radar" in capsys.readouterr().err


def test_a_changed_file_of_the_same_size_is_counted_again(tmp_path, stacks):
    values = np.ones((4, 6, 6))
    path = write_stack(tmp_path / "a.stack", values)
    fingerprint = Archive(path).fingerprint
    values[:, 2, 3] = np.nan
    write_stack(path, values)
    archive = Archive(path)
    assert archive.fingerprint == fingerprint
    assert archive.known()[2, 3] == 0
    assert np.isnan(archive.frame(0)[2, 3])


def test_the_fingerprint_is_of_names_sizes_and_times(tmp_path):
    folder = tmp_path / "radar"
    write_pictures(folder, 3)
    fingerprint = opened(folder).fingerprint
    shutil.copytree(folder, tmp_path / "moved" / "radar")
    assert opened(tmp_path / "moved" / "radar").fingerprint == fingerprint
    write_picture(folder, 1, np.random.default_rng(0).integers(0, 200, SHAPE))
    assert opened(folder).fingerprint != fingerprint
    write_picture(folder, 1, picture(1))
    assert opened(folder).fingerprint == fingerprint
    (folder / "20200601001000.png").rename(folder / "20200601001500.png")
    with pytest.warns(UserWarning, match="no sequence crosses a gap"):
        assert opened(folder).fingerprint != fingerprint
