import importlib.util
import shutil
from pathlib import Path

from convlstm.datasets.digits import (
    Digits,
    load_digits,
)
from convlstm.datasets.glyphs import draw_digits

import numpy as np
import pytest


def test_builtin_digits_are_the_same_every_time(tmp_path, monkeypatch):
    monkeypatch.setenv("CONVLSTM_DATA", str(tmp_path))  # drawn, and not kept from before
    draw_digits.cache_clear()
    digits = load_digits("builtin")
    assert digits.train.shape == (5000, 28, 28)
    assert digits.test.shape == (1000, 28, 28)
    assert digits.train.dtype == digits.test.dtype == np.uint8
    draw_digits.cache_clear()
    assert load_digits("builtin").sha256() == digits.sha256()  # from the cache folder
    next((tmp_path / "digits").iterdir()).unlink()
    draw_digits.cache_clear()
    assert load_digits("builtin").sha256() == digits.sha256()


def test_builtin_digits_are_placed_as_in_mnist():
    images = draw_digits()[0].astype(np.float64)
    mass = images.sum(axis=(1, 2))
    for axis in (1, 2):
        centre = images.sum(axis=3 - axis) @ np.arange(28) / mass
        # By centre of mass, but the frame's edge may stop a lopsided digit.
        assert np.quantile(np.abs(centre - 13.5), 0.99) <= 0.51
        extent = (images.max(axis=3 - axis) > 0).sum(axis=1)
        assert extent.max() <= 20
    # MNIST's own mean is 0.1307.
    assert 0.08 < images.mean() / 255 < 0.18


def test_builtin_digits_are_varied_and_readable():
    train, test = (images.reshape(len(images), -1).astype(np.float32) / 255 for images in draw_digits())
    assert len(np.unique(train, axis=0)) == len(train)
    squared = (train**2).sum(axis=1) - 2 * test @ train.T + (test**2).sum(axis=1)[:, None]
    assert squared.min() > 0.1  # no test digit is a training digit
    correct = squared.argmin(axis=1) % 10 == np.arange(len(test)) % 10
    assert correct.mean() > 0.97


def _fonts():
    """Returns the folder of the fonts that matplotlib ships."""
    (folder,) = importlib.util.find_spec("matplotlib").submodule_search_locations
    return Path(folder, "mpl-data", "fonts", "ttf")


def test_without_any_font(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"has none of them. Reinstall matplotlib, or set data.digits=mnist"):
        draw_digits(tmp_path)


def test_fonts_in_another_folder(tmp_path):
    shutil.copytree(_fonts(), tmp_path / "fonts")
    assert Digits(*draw_digits(tmp_path / "fonts")).sha256() == load_digits("builtin").sha256()


def test_missing_fonts_are_named_once_and_the_others_are_used(tmp_path):
    shutil.copytree(_fonts(), tmp_path / "fonts")
    (tmp_path / "fonts" / "cmb10.ttf").unlink()
    with pytest.warns(UserWarning, match=r"drawn without cmb10.*, which this matplotlib lacks"):
        train, test = draw_digits(tmp_path / "fonts")
    assert draw_digits(tmp_path / "fonts")[0] is train, "without another warning"
    assert train.shape == (5000, 28, 28)
    assert train.any(axis=(1, 2)).all()
    assert test.any(axis=(1, 2)).all()
    assert Digits(train, test).sha256() != load_digits("builtin").sha256()


def test_without_matplotlib(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    draw_digits.cache_clear()
    with pytest.raises(FileNotFoundError, match=r"it is not installed. Install it, or set data.digits=mnist"):
        draw_digits()
