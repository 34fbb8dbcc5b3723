"""The library xarray, which may be missing."""

import sys

import convlstm
from convlstm.xarrays.library import is_labelled, xarray

import numpy as np
import pytest


def test_without_xarray_the_error_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "xarray", None)
    with pytest.raises(ImportError, match=r"needs the library xarray .* pip install 'convlstm\[xarray\]'"):
        xarray()
    with pytest.raises(ImportError, match="needs the library xarray"):
        convlstm.open_archive(tmp_path)
    assert not is_labelled(np.zeros(3))


def test_what_has_labels():
    xr = pytest.importorskip("xarray")
    array = xr.DataArray(np.zeros(3), dims="time", name="a")
    assert is_labelled(array)
    assert is_labelled(array.to_dataset())
    assert not is_labelled(array.variable)
    assert not is_labelled([array])
