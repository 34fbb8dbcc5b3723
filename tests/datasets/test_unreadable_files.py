"""Files that become unreadable after their archive was indexed."""

import shutil
import subprocess
import sys
import textwrap

from tests.support.project import PROJECT
from tests.support.radar_archives import (
    OPTIONS,
    name_of,
    picture,
    time_of,
    write_picture,
)
from tests.support.radar_sequences import SPLITS, checked_batches, data_of

import numpy as np
import pytest

pytestmark = pytest.mark.usefixtures("stacks")


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
def test_a_file_that_becomes_unreadable(pictures, how, threads):
    """The sequences with the frame are masked, and the others do not change."""
    data = data_of(pictures, cache_bytes=0, threads=threads)
    untouched = checked_batches(data)
    path = spoil(pictures, 3, how)
    with pytest.warns(UserWarning, match=rf"\[RadarEcho\] {path.name} could be read when .* not any more") as caught:
        later = checked_batches(data)
    assert len(caught) == 1
    bad = time_of(3)
    numbers = [(split, index) for split in SPLITS for index in range(data.size(split))]
    affected = [bad in data.times(*number) for number in numbers]
    assert 0 < sum(affected) < len(affected)
    for before, after, hit in zip(untouched, later, affected, strict=True):
        assert after["mask"].any() == (not hit)
        if not hit:
            assert all(np.array_equal(before[name], after[name]) for name in before)


def test_a_whole_archive_that_disappears(pictures):
    data = data_of(pictures, cache_bytes=0)
    shutil.rmtree(pictures)
    with pytest.warns(UserWarning, match="could be read when"):
        assert not any(batch["mask"].any() for batch in checked_batches(data))


def test_a_warning_made_an_error_reaches_the_loop(pictures):
    data = data_of(pictures, cache_bytes=0)
    spoil(pictures, 3, "deleted")
    with pytest.raises(UserWarning, match=name_of(3)):
        list(data.stream("train", 1))


def test_the_process_goes_on_and_ends_normally(pictures):
    """Neither a bad file in the loader's threads nor an early end of the loop aborts Python."""
    code = textwrap.dedent(
        f"""
        import warnings
        from pathlib import Path
        from convlstm.datasets import RadarEcho
        warnings.simplefilter("ignore", UserWarning)
        folder = Path({str(pictures)!r})
        data = RadarEcho(archive=str(folder), input_frames=2, target_frames=1, cache_bytes=0, threads=3,
                         reader={OPTIONS!r}, progress=False)
        stream = data.stream("train", 1)
        next(stream)
        for path in folder.iterdir():
            path.write_bytes(b"")
        next(stream)
        print("masked", sum(not batch["mask"].any() for batch in data.stream("test", 1)), data.size("test"))
        """
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=PROJECT, timeout=60)
    assert done.returncode == 0, done.stderr
    word, masked, size = done.stdout.split()
    assert (word, masked) == ("masked", size)
    assert done.stderr == ""
