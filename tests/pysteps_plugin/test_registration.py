"""The entry in pysteps' table, with a stub where pysteps would be."""

import subprocess
import sys
from types import ModuleType

from convlstm.pysteps_plugin import forecast, register
from tests.support.project import PROJECT

import pytest

INTERFACE = "pysteps.nowcasts.interface"


@pytest.fixture
def table(monkeypatch):
    """Returns the table of a pysteps that has one method, 'steps'."""
    interface = ModuleType(INTERFACE)
    interface._nowcast_methods = {"steps": len}
    for name, module in (("pysteps", ModuleType("pysteps")), ("pysteps.nowcasts", ModuleType("pysteps.nowcasts"))):
        monkeypatch.setitem(sys.modules, name, module)
    monkeypatch.setitem(sys.modules, INTERFACE, interface)
    return interface._nowcast_methods


def test_a_second_call_changes_nothing(table):
    assert register() == "pysteps.nowcasts.get_method('convlstm') now gives convlstm.pysteps_plugin.forecast."
    assert table == {"steps": len, "convlstm": forecast}
    assert register() == "pysteps.nowcasts.get_method('convlstm') was registered already."
    assert table == {"steps": len, "convlstm": forecast}


def test_another_name(table):
    register("mine")
    assert table == {"steps": len, "mine": forecast}


def test_methods_of_others_stay(table):
    with pytest.raises(ValueError, match=r"'name' must be new to pysteps but .*get_method\('steps'\) exists"):
        register("steps")
    assert table == {"steps": len}


@pytest.mark.parametrize("name", ["ConvLSTM", "", 3])
def test_names_that_pysteps_would_not_find(table, name):
    with pytest.raises(ValueError, match="'name' must be a text in small letters, as pysteps asks for, but got"):
        register(name)
    assert table == {"steps": len}


def test_a_pysteps_without_a_table(table, monkeypatch):
    monkeypatch.delattr(sys.modules[INTERFACE], "_nowcast_methods")
    with pytest.raises(RuntimeError, match=r"no table pysteps.nowcasts.interface._nowcast_methods. Call convlstm"):
        register()


@pytest.mark.parametrize(("lacking", "error"), [("pysteps", ImportError), ("cv2", ModuleNotFoundError)])
def test_without_pysteps(monkeypatch, lacking, error):
    def absent(name):
        raise ModuleNotFoundError(f"No module named {lacking!r}", name=lacking)

    monkeypatch.setattr("importlib.import_module", absent)
    message = (
        "pysteps is not installed here. Install it: pip install" if lacking == "pysteps" else "No module named 'cv2'"
    )
    with pytest.raises(error, match=message):
        register()


def test_the_plugin_imports_no_pysteps():
    code = "import sys, convlstm.pysteps_plugin; print('pysteps' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], cwd=PROJECT, capture_output=True, text=True)
    assert (done.returncode, done.stdout.strip()) == (0, "False"), done.stderr
