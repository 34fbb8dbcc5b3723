from convlstm.datasets.readers import ReadError, recognise
from tests.support.radar_files import open_file, write_mask, write_png

import numpy as np
import pytest

PIXELS = np.array([[0, 255, 51], [102, 10, 20]], np.uint8)


KNOWN = np.array([[1, 1, 0], [1, 1, 1]], np.uint8)


ECHO = np.array([[-10, 60, 4], [18, 70 * 10 / 255 - 10, 70 * 20 / 255 - 10]], np.float32)


def test_hko7(tmp_path):
    path = write_png(tmp_path / "RAD060906154200.png", PIXELS)
    reader, contents = open_file(path)
    assert reader.format == "hko7_png"
    assert contents.times.tolist() == [np.datetime64("2006-09-06T15:42:00").item()]
    assert (contents.grid.shape, contents.grid.units, contents.grid.pixel_size) == ((2, 3), "dBZ", None)
    np.testing.assert_allclose(reader.read(path, 0), ECHO, rtol=1e-5)
    grid = open_file(write_png(tmp_path / "RAD060906154800.png", np.zeros((480, 480), np.uint8)))[1].grid
    assert grid.pixel_size == pytest.approx((1066.667, 1066.667), rel=1e-6)


@pytest.mark.parametrize(
    "mask",
    [
        "radarPNG/2009/01/01/RAD090101003000.mask",
        "radarPNG/2009/01/01/RAD090101003000_mask.png",
        "radarPNG/2009/01/01/mask/RAD090101003000.png",
        "radarPNG/2009/01/masks/RAD090101003000.mask",
        "radarPNG_mask/2009/01/01/RAD090101003000.mask",
        "mask/2009/01/01/RAD090101003000.png",
    ],
)
def test_hko7_masks(tmp_path, mask):
    path = write_png(tmp_path / "radarPNG/2009/01/01/RAD090101003000.png", PIXELS)
    write = write_mask if mask.endswith(".mask") else write_png
    write(tmp_path / mask, KNOWN)
    np.testing.assert_allclose(open_file(path)[0].read(path, 0), np.where(KNOWN, ECHO, np.nan), rtol=1e-5)
    assert recognise(tmp_path / mask) is None, "a mask is no frame"
    write(tmp_path / mask, np.ones((5, 7), np.uint8))
    with pytest.raises(ReadError, match=r"must be a mask of \(2, 3\) as its picture"):
        open_file(path)[0].read(path, 0)
    (tmp_path / mask).write_bytes(b"nothing")
    with pytest.raises(ReadError, match=r"\[hko7_png\] .*RAD090101003000\.png cannot be read"):
        open_file(path)[0].read(path, 0)


def test_hko7_refuses(tmp_path):
    path = write_png(tmp_path / "RAD069906154200.png", PIXELS)
    with pytest.raises(ReadError, match=r"\[hko7_png\] .* must be named RADyymmddHHMMSS\.png after its time"):
        open_file(path)
