"""Files at which a C library loops, crashes or takes all memory: archives and watching go on beside them."""

import os
import signal
import subprocess
import sys
import textwrap
import time

from convlstm.datasets.archives.archive import Archive
from convlstm.datasets.archives.newest_frames import NewestFrames
from convlstm.datasets.readers import FORMATS
from tests.support.dangerous_reader import DEEDS, START, Dangerous, write
from tests.support.project import PROJECT

import numpy as np
import pytest

REASONS = {
    "loop": "took more than 1.5 s. For a slow disk set CONVLSTM_READ_SECONDS to more seconds",
    "segv": "with SIGSEGV",
    "bus": "with SIGBUS",
    "abort": "with SIGABRT",
    "memory": "Unable to allocate",
    "raise": "bad sector",
}


@pytest.fixture(autouse=True)
def dangerous(monkeypatch):
    monkeypatch.setitem(FORMATS, "dangerous", Dangerous())
    monkeypatch.setenv("CONVLSTM_READ_SECONDS", "1.5")


def time_of(number):
    return START + np.timedelta64(5 * number, "m")


@pytest.mark.parametrize("when", ["recognise", "contents", "read"])
def test_an_archive_leaves_out_each_of_them_by_name(tmp_path, when):
    folder = tmp_path / "radar"
    for number in range(12):
        write(folder / f"{number:02d}.dng", number)
    dangers = DEEDS if when != "recognise" else DEEDS[:4]  # a reader that raises recognises nothing
    for number, deed in enumerate(dangers):
        write(folder / f"{number:02d}x-{deed}.dng", 100 + number, deed, when)
    with pytest.warns(UserWarning, match=f"cannot be read are left out, {len(dangers)} in all"):
        archive = Archive(folder, progress=False)
    assert len(archive) == 12
    assert archive.frame(3).tolist() == np.full((8, 8), 3).tolist()
    reasons = dict(archive.problems)
    for number, deed in enumerate(dangers):
        name = f"{number:02d}x-{deed}.dng"
        assert REASONS[deed] in reasons[name]
        assert name in reasons[name]


def test_an_archive_of_nothing_else(tmp_path):
    for number, deed in enumerate(("segv", "abort")):
        write(tmp_path / "radar" / f"{number}.dng", number, deed, "contents")
    with pytest.raises(ValueError, match=r"with SIGSEGV.*with SIGABRT"):
        Archive(tmp_path / "radar", progress=False)
    write(tmp_path / "one" / "0.dng", 0, "segv", "recognise")
    with pytest.raises(ValueError, match=r"can be used: .*0.dng ended the process that read it, with SIGSEGV"):
        Archive(tmp_path / "one", progress=False)


@pytest.mark.parametrize("when", ["recognise", "contents", "read"])
def test_watching_goes_on_beside_each_of_them(tmp_path, when):
    write(tmp_path / "00.dng", 0)
    newest = NewestFrames(tmp_path)
    assert newest.look() == ([time_of(0)], [])
    reported = []
    dangers = DEEDS if when != "recognise" else DEEDS[:4]
    for number, deed in enumerate(dangers, 1):
        write(tmp_path / f"{number:02d}.dng", number)
        write(tmp_path / f"x-{deed}.dng", 100 + number, deed, when)
        new, problems = newest.look()
        assert time_of(number) in new
        reported += problems
        window, problems = newest.window(1, 5, until=time_of(number))
        assert window.frames.tolist() == np.full((1, 8, 8), number).tolist()
        window, problems = newest.window(1, 5, until=time_of(100 + number))
        reported += problems
        assert np.isnan(window.frames).all()
    assert [problem.name for problem in reported] == [f"x-{deed}.dng" for deed in dangers]
    for problem, deed in zip(reported, dangers, strict=True):
        assert REASONS[deed] in problem.reason
    assert newest.look() == ([], [])


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("door", ["Archive(folder, progress=False)", "NewestFrames(folder).look()"])
def test_a_signal_ends_reading_while_a_file_loops(tmp_path, door, number):
    write(tmp_path / "0.dng", 0, "loop", "contents")
    code = f"""
        import signal, sys
        sys.path.insert(0, {str(PROJECT)!r})
        # A shell ignores Ctrl-C in what it starts in the background, and so would this.
        signal.signal(signal.SIGINT, signal.default_int_handler)
        from convlstm.datasets.archives.archive import Archive
        from convlstm.datasets.archives.newest_frames import NewestFrames
        from convlstm.datasets.readers import FORMATS
        from tests.support.dangerous_reader import Dangerous
        FORMATS["dangerous"] = Dangerous()
        folder = {str(tmp_path)!r}
        print("begins", flush=True)
        {door}
        """
    environment = os.environ | {"CONVLSTM_READ_SECONDS": "60"}
    with subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(code)],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env=environment,
    ) as process:
        assert process.stdout.readline() == b"begins\n"
        time.sleep(2)
        assert process.poll() is None
        process.send_signal(number)
        assert process.wait(10) != 0
