"""Functions in another process: results, errors, and what a C library may do to a process."""

import gc
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path

from convlstm.backend import child_pool
from convlstm.backend.child_pool import Hold, Jobs, call
from convlstm.backend.child_process import ChildProcess, EndedError, NoChildError, RaisedError, seconds_of_step
from tests.support import child_functions
from tests.support.dangerous_reader import DEEDS
from tests.support.project import PROJECT

import numpy as np
import pytest


@pytest.fixture(autouse=True)
def seconds(monkeypatch):
    monkeypatch.setenv("CONVLSTM_READ_SECONDS", "1.5")


def children():
    """Returns the states of this process's children by process id."""
    gc.collect()
    found = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            name, _, rest = path.read_text().rpartition(")")
        except OSError:
            continue
        if int(rest.split()[1]) == os.getpid():
            found[int(name.split()[0])] = rest.split()[0]
    return found


def test_values_arrive():
    with Hold():
        array = np.arange(12.0).reshape(3, 4)
        back = call(child_functions.whole, [1, None, "ü", {"a": array, "t": np.array(["2020-01-01"], "M8[s]")}])
        assert back[:3] == [1, None, "ü"]
        assert np.array_equal(back[3]["a"], array)
        assert str(back[3]["t"][0]) == "2020-01-01T00:00:00"
        assert call(child_functions.whole, np.zeros((0, 3), np.uint8)).shape == (0, 3)
        large = np.random.default_rng(0).random((300, 1000, 10))
        assert np.array_equal(call(child_functions.whole, large), large)


def test_a_process_is_kept_while_it_is_held_and_ends_afterwards():
    before = children()
    with Hold(), Hold():
        first = call(child_functions.surroundings)["pid"]
        assert call(child_functions.surroundings)["pid"] == first != os.getpid()
        assert len(children()) == len(before) + 1
    assert children() == before
    assert call(child_functions.surroundings)["pid"] not in (first, os.getpid())
    assert children() == before


def test_a_process_that_is_started_ahead_is_used_and_has_imported_the_modules():
    before = children()
    child_pool.start_ahead("wave", "no_such_module")
    assert len(children()) == len(before) + 1
    with Hold():
        assert "wave" in call(child_functions.modules)
        assert len(children()) == len(before) + 1
    assert children() == before


def test_a_process_that_is_started_ahead_ends_with_the_program():
    code = """
        from convlstm.backend import child_pool
        child_pool.start_ahead("wave")
        print(child_pool._idle[0]._process.pid)
        """
    with run(code) as done:
        out, err = done.communicate(timeout=30)
    assert (done.returncode, err) == (0, "")
    assert gone(int(out), 5)


@pytest.mark.parametrize(("count", "processes"), [(4, 1), (60, 2)])
def test_a_second_process_starts_if_much_is_left(monkeypatch, count, processes):
    monkeypatch.setattr(child_pool, "_MOST", 2)
    monkeypatch.setattr(child_pool, "_SOON", 0.02)
    monkeypatch.setattr(child_pool, "_WORTH_IT", 0.2)
    monkeypatch.setattr(child_pool, "_SILENT", 60.0)
    jobs = Jobs()
    for number in range(count):
        jobs.add(number, child_functions.work, 0.01)
    assert len({value for _, value in jobs if value is not None}) == processes


def test_it_imports_neither_mlx_nor_the_main_module():
    loaded = call(child_functions.modules)
    assert not {"mlx.core", "matplotlib", "hydra", "pytest", "convlstm.datasets.radar_echo"} & set(loaded)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
def test_its_surroundings():
    around = call(child_functions.surroundings)
    assert around["interrupt"]
    assert around["terminal"] == ["/dev/null"] * 3
    assert around["core"] == 0


REASONS = {
    "loop": r"took more than 1.5 s. For a slow disk set CONVLSTM_READ_SECONDS to more seconds",
    "segv": r"ended the process that read it, with SIGSEGV; it may be damaged",
    "bus": r"ended the process that read it, with SIGBUS; it may be damaged",
    "abort": r"ended the process that read it, with SIGABRT; it may be damaged",
}


@pytest.mark.parametrize("deed", REASONS)
def test_the_end_of_the_process_is_an_error(deed):
    with pytest.raises(EndedError, match=REASONS[deed]):
        call(child_functions.danger, deed)
    assert call(child_functions.whole, 1) == 1


def test_an_error_of_the_function_has_its_name_and_text():
    with Hold():
        first = call(child_functions.surroundings)["pid"]
        with pytest.raises(RaisedError, match="bad sector") as caught:
            call(child_functions.danger, "raise")
        assert caught.value.name == "RuntimeError"
        with pytest.raises(RaisedError, match="Unable to allocate"):
            call(child_functions.danger, "memory")
        with pytest.raises(RaisedError, match=r"an array of object cannot be sent"):
            call(child_functions.no_message)
        assert call(child_functions.surroundings)["pid"] == first


def test_the_limit_is_for_each_step():
    child = ChildProcess()
    assert list(child.values(child_functions.slow, 0.5, 5)) == [0, 1, 2, 3, 4]
    # A step that waits has three times as long, since a busy machine is no damaged file.
    assert list(child.values(child_functions.slow, 0.5, 1, seconds=0.3)) == [0]
    with pytest.raises(EndedError, match=r"took more than 0.1 s"):
        list(child.values(child_functions.slow, 0.5, 1, seconds=0.1))


def test_a_slow_receiver_is_no_late_process():
    child = ChildProcess()
    values = child.values(child_functions.slow, 0.0, 3)
    next(values)
    time.sleep(2.5)
    assert list(values) == [1, 2]
    child.stop()


@pytest.mark.parametrize("text", ["0", "-3", "soon", "nan", "inf"])
def test_a_limit_that_makes_no_sense(monkeypatch, text):
    monkeypatch.setenv("CONVLSTM_READ_SECONDS", text)
    with pytest.raises(ValueError, match=r"CONVLSTM_READ_SECONDS must be a number of seconds above 0 but got"):
        seconds_of_step()


def test_values_that_are_not_taken_end_the_process():
    with Hold():
        child = ChildProcess()
        values = child.values(child_functions.count, 5)
        next(values)
        values.close()
        assert not child.usable


def test_ctrl_c_in_the_middle_ends_the_process():
    before = children()
    with Hold():
        threading.Timer(0.5, os.kill, (os.getpid(), signal.SIGINT)).start()
        with pytest.raises(KeyboardInterrupt):
            call(child_functions.danger, "loop", seconds=30)
        assert children() == before
        assert call(child_functions.whole, 7) == 7


def test_jobs_go_on_beside_each_deed():
    jobs = Jobs()
    for number, deed in enumerate(DEEDS):
        jobs.add(("good", number), child_functions.count, 3)
        jobs.add(deed, child_functions.danger, deed)
    got = {}
    for key, value in jobs:
        got.setdefault(key, []).append(value)
        if key == ("good", 2) and value is None:
            jobs.add("later", child_functions.count, 1)
    assert set(got) == {*DEEDS, *(("good", n) for n in range(len(DEEDS))), "later"}
    assert [value["n"] for value in got["good", 5][:-1]] == [0, 1, 2]
    for deed in DEEDS:
        assert got[deed][0] == "begun"
        assert isinstance(got[deed][1], EndedError if deed in REASONS else RaisedError)
        assert len(got[deed]) == 2
    assert got["later"][-1] is None


def test_threads_have_processes_of_their_own():
    results = []
    with Hold():
        threads = [
            threading.Thread(target=lambda n=n: results.append(call(child_functions.whole, n))) for n in range(6)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert sorted(results) == list(range(6))


def test_nothing_is_left_after_many_ends():
    before, descriptors = children(), len(list(Path("/proc/self/fd").iterdir()))
    with Hold():
        for _ in range(5):
            with pytest.raises(EndedError):
                call(child_functions.danger, "segv")
    assert children() == before
    assert len(list(Path("/proc/self/fd").iterdir())) == descriptors


def test_without_other_processes_functions_run_here(monkeypatch):
    monkeypatch.setattr(sys, "executable", "")
    monkeypatch.setattr(child_pool, "_warned", False)
    with pytest.warns(UserWarning, match=r"files are read in this process.*the Python program is not known") as caught:
        assert call(child_functions.surroundings)["pid"] == os.getpid()
    jobs = Jobs()
    jobs.add(1, child_functions.count, 2)
    jobs.add(2, child_functions.danger, "raise")
    got = list(jobs)
    assert len(caught) == 1
    assert [key for key, _ in got] == [1, 1, 1, 2, 2]
    assert isinstance(got[-1][1], RaisedError)


def test_a_function_that_cannot_be_sent():
    child = ChildProcess()
    with pytest.raises(NoChildError, match="pickle"):
        child.request(lambda: iter(()))
    child.stop()


def test_a_program_that_is_no_python(monkeypatch):
    monkeypatch.setattr(sys, "executable", "/bin/false")
    child = ChildProcess()
    with pytest.raises(NoChildError, match="it ended at once"):
        list(child.values(child_functions.count, 1))


def run(code, **options):
    """Starts a Python process in the project's folder."""
    code = f"import sys; sys.path.insert(0, {str(PROJECT)!r})\n" + textwrap.dedent(code)
    return subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **options
    )


LOOPING = """
    import os, threading
    from convlstm.backend.child_process import ChildProcess
    from tests.support import child_functions
    child = ChildProcess()
    values = child.values(child_functions.danger, "loop", seconds=3)
    next(values)
    print(child._process.pid, flush=True)
    next(values)
"""


def gone(pid, within):
    """Waits until a process has ended; returns False if it has not within so many seconds."""
    end = time.monotonic() + within
    while time.monotonic() < end:
        try:
            if Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z":
                return True
        except OSError:
            return True
        time.sleep(0.05)
    return False


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_looping_child_ends_after_its_parent(number):
    with run(LOOPING) as parent:
        pid = int(parent.stdout.readline())
        parent.send_signal(number)
        assert parent.wait(5) == -number
    assert gone(pid, 10)


def test_the_end_of_the_program_is_quiet():
    code = """
        from convlstm.backend.child_pool import Hold, call
        from tests.support import child_functions
        hold = Hold()
        print(call(child_functions.surroundings)["pid"])
        """
    with run(code) as done:
        out, err = done.communicate(timeout=30)
    assert (done.returncode, err) == (0, "")
    assert gone(int(out), 5)


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_forked_process_has_its_own():
    with Hold():
        first = call(child_functions.surroundings)["pid"]
        reader, writer = os.pipe()
        forked = os.fork()
        if forked == 0:
            code = 1
            try:
                os.write(writer, str(call(child_functions.surroundings)["pid"]).encode())
                code = 0
            finally:
                os._exit(code)
        assert os.waitpid(forked, 0)[1] == 0
        assert int(os.read(reader, 100)) != first
        assert call(child_functions.surroundings)["pid"] == first
        os.close(reader)
        os.close(writer)
