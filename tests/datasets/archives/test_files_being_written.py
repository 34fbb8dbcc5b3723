"""Files that change while they are read are read again when they have come to rest; files that loop are read once."""

from convlstm.datasets.archives.archive import Archive
from convlstm.datasets.archives.files import RadarFiles
from convlstm.datasets.archives.newest_frames import NewestFrames
from fault_tests.file_damage import looping
from tests.support.radar_archives import OPTIONS, picture, time_of, write_picture, write_pictures
from tests.support.radar_files import write_odim

import numpy as np
import pytest


@pytest.fixture
def radar(tmp_path):
    return tmp_path / "radar"


@pytest.mark.parametrize("method", ["contents", "frame"])
def test_a_file_that_changes_while_it_is_read_is_new_once(radar, monkeypatch, method):
    write_pictures(radar, 3)
    newest = NewestFrames(radar, options=OPTIONS, patient=True)
    newest.look()
    write_picture(radar, 3, picture(3))
    original, rewritten = getattr(RadarFiles, method), []

    def reading(self, path, *arguments):
        result = original(self, path, *arguments)
        if path.name == "20200601001500.png" and not rewritten:
            rewritten.append(write_picture(radar, 3, picture(60) // 2))
        return result

    monkeypatch.setattr(RadarFiles, method, reading)
    seen = []
    for _ in range(6):
        new, _ = newest.look()
        for time in new:
            window, problems = newest.window(2, 5, until=time)
            if window.absent:
                assert [problem.reason for problem in problems] == ["has changed while it was read"]
            else:
                seen.append((time, float(window.frames[1].max())))
    assert rewritten
    assert seen == [(time_of(3), pytest.approx(3.0))]


def test_a_file_that_loops_is_read_once_and_its_refusal_says_so(tmp_path, monkeypatch):
    monkeypatch.setenv("CONVLSTM_READ_SECONDS", "1")
    path = write_odim(tmp_path / "loop.hdf", {"DBZH": np.zeros((8, 8), np.uint8)})
    path.write_bytes(looping(path.read_bytes(), np.random.default_rng(0), []))
    with pytest.raises(
        ValueError, match=r"no file in .*loop\.hdf can be used: .*loop\.hdf took more than 1 s"
    ) as caught:
        Archive(path, cache=tmp_path / "index", progress=False)
    assert str(caught.value).count("took more than") == 1
