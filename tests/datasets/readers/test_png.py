from convlstm.datasets.readers import ReadError, make_reader, recognise
from tests.support.radar_files import open_file, write_png

import numpy as np
import pytest
from PIL import Image

PIXELS = np.array([[0, 255, 51], [102, 10, 20]], np.uint8)


@pytest.mark.parametrize(
    ("name", "time"),
    [
        ("201906101204.png", "2019-06-10T12:04:00"),
        ("radar_20190610120430_crop2.png", "2019-06-10T12:04:30"),
        ("66_20190610_1204.png", "2019-06-10T12:04:00"),
        ("rain-20190610T120430Z.png", "2019-06-10T12:04:30"),
        ("000000000000_201906101204.png", "2019-06-10T12:04:00"),
        ("rdr_d01_20190610Z1204_VMI.png", "2019-06-10T12:04:00"),
        ("2019-06-10_12:04:30.png", "2019-06-10T12:04:30"),
        ("2019-06-10T12-04.png", "2019-06-10T12:04:00"),
        ("x_2019_06_10_12_04_30_y.png", "2019-06-10T12:04:30"),
        ("2019-06-10 12.04.png", "2019-06-10T12:04:00"),
    ],
)
def test_png_times(tmp_path, name, time):
    path = write_png(tmp_path / name, PIXELS)
    reader, contents = open_file(path)
    assert reader.format == "png"
    assert contents.times.astype(str).tolist() == [time]
    assert (contents.grid.units, contents.grid.pixel_size) == ("raw", None)


def test_png_options(tmp_path):
    path = write_png(tmp_path / "zh_19161-1204.png", PIXELS)
    assert recognise(path) is None
    with pytest.raises(ReadError, match=r"\[png\] .* has no time in its name \(12 or 14 digits\); set the option"):
        make_reader("png").contents(path)
    options = {"pattern": "%y%j-%H%M", "units": "dBZ", "scale": 0.5, "offset": -32, "missing": 255}
    reader, contents = open_file(path, "png", **options)
    assert contents.times[0] == np.datetime64("2019-06-10T12:04:00")
    assert contents.grid.units == "dBZ"
    np.testing.assert_array_equal(reader.read(path, 0), [[-32, np.nan, -6.5], [19, -27, -22]])
    assert reader.recognises(path, path.read_bytes())


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_png_of_both_depths(tmp_path, dtype):
    pixels = np.array([[0, np.iinfo(dtype).max], [1, 200]], dtype)
    path = write_png(tmp_path / "201906101204.png", pixels)
    np.testing.assert_array_equal(open_file(path)[0].read(path, 0), pixels)


def test_png_refuses(tmp_path):
    colours = tmp_path / "201906101204.png"
    Image.new("RGB", (4, 4)).save(colours)
    assert recognise(colours) is None
    with pytest.raises(ReadError, match=r"\[png\] .*must be a grey PNG of 8 or 16 bits but is of colour type 2"):
        make_reader("png").contents(colours)
    # The numbers of a palette's colours may be values, but only if the format is named.
    Image.fromarray(PIXELS).convert("P").save(colours)
    assert recognise(colours) is None
    assert make_reader("png").read(colours, 0).shape == (2, 3)
    path = write_png(
        tmp_path / "201906101205.png", np.random.default_rng(0).integers(0, 255, (50, 50)).astype(np.uint8)
    )
    path.write_bytes(path.read_bytes()[:900])
    with pytest.raises(ReadError, match=r"\[png\] .*201906101205\.png cannot be read at frame 0"):
        open_file(path)[0].read(path, 0)
    path.write_bytes(path.read_bytes()[:20])
    with pytest.raises(ReadError, match="is not a PNG file"):
        make_reader("png").contents(path)
    with pytest.raises(ValueError, match=r"\[png\] 'units' must be one of mm/h, dBZ, raw but got 'mm'.*12 for mm in 5"):
        make_reader("png", units="mm")
    with pytest.raises(ValueError, match=r"\[png\] 'pattern' knows %Y, .* but got '%b'"):
        make_reader("png", pattern="%d%b%Y")
    with pytest.raises(ValueError, match=r"\[png\] 'pattern' must be a pattern of strptime .* but got 'radar'"):
        make_reader("png", pattern="radar")


def test_transparent_pixels_are_missing(tmp_path):
    alpha = np.array([[255, 0, 255], [255, 255, 1]], np.uint8)
    path = tmp_path / "2018-05-01_23:00:04.png"
    Image.fromarray(np.stack([PIXELS, alpha], -1), "LA").save(path)
    reader, contents = open_file(path)
    assert reader.format == "png"
    assert contents.times.astype(str).tolist() == ["2018-05-01T23:00:04"]
    np.testing.assert_array_equal(reader.read(path, 0), np.where(alpha, PIXELS, np.nan))
    options = {"units": "dBZ", "scale": 0.5, "missing": 10}
    np.testing.assert_array_equal(make_reader("png", **options).read(path, 0), [[0, np.nan, 25.5], [51, np.nan, 10]])


@pytest.mark.parametrize("mode", ["RGB", "RGBA"])
def test_colours_by_choice(tmp_path, mode):
    path = tmp_path / "201906101204.png"
    Image.new(mode, (2, 3), (100, 200, 50)).save(path)
    with pytest.raises(ReadError, match=r"colours carry no values\. If their .* set reader\.luminance=true\.$"):
        make_reader("png").contents(path)
    reader = make_reader("png", luminance=True)
    assert recognise(path, [reader]) is reader
    assert reader.contents(path).grid.shape == (3, 2)
    np.testing.assert_allclose(reader.read(path, 0), np.full((3, 2), 29.9 + 117.4 + 5.7), rtol=1e-6)
    with pytest.raises(ValueError, match=r"\[png\] 'luminance' must be true or false but got 1"):
        make_reader("png", luminance=1)
