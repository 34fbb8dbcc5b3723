"""Frames as pictures in the page."""

import base64

from convlstm.report.frame_panel import GREY
from convlstm.report.map_drawing import HATCH, MISSING
from convlstm.report.page import films, frames
from convlstm.report.rain_scale import rain_scale
from convlstm.report.style import MISSING as SAND
from tests.support.pages import picture

import numpy as np
import pytest


def colour(text):
    return tuple(int(text[k : k + 2], 16) for k in (1, 3, 5))


@pytest.mark.parametrize(("units", "levels"), [("mm/h", None), ("dBZ", None), ("raw", None), ("mm/h", [1, 2, 5])])
def test_rain_has_the_colours_of_the_panels(units, levels, rng):
    field = rng.uniform(-5, 130, (9, 11)).astype(np.float32)
    scale = rain_scale("test", units, levels, [field])
    field[0, : len(scale.levels)] = scale.levels[:11]
    drawn = picture(films.source(base64.b64encode(frames.rain_png(field[..., None], scale)).decode()))
    np.testing.assert_allclose(drawn, 255 * scale.colours(scale.norm(field))[..., :3], atol=0.51)


def test_missing_rain_is_hatched():
    scale = rain_scale("test", "mm/h", None, [])
    drawn = picture(films.source(base64.b64encode(frames.rain_png(np.full((12, 12, 1), np.nan), scale)).decode()))
    assert {tuple(pixel) for pixel in drawn.reshape(-1, 3).tolist()} == {colour(HATCH), colour(MISSING)}


def test_frames_are_grey_and_missing_pixels_sand_coloured():
    frame = np.array([[0.0, 0.25], [1.5, np.nan]], np.float32)[..., None]
    drawn = picture(films.source(base64.b64encode(frames.frame_png(frame)).decode()))
    np.testing.assert_allclose(drawn[0], 255 * GREY(frame[0, :, 0])[:, :3], atol=1.01)
    assert drawn[1].tolist() == [[255] * 3, list(colour(SAND))]


def test_three_channels_are_colours(rng):
    frame = rng.uniform(0, 1, (4, 5, 3)).astype(np.float32)
    drawn = picture(films.source(base64.b64encode(frames.frame_png(frame)).decode()))
    np.testing.assert_allclose(drawn, 255 * frame, atol=0.51)


def test_frames_shrink_to_means():
    small = frames.shrunk(np.arange(12.0).reshape(1, 3, 4, 1), 2)
    assert small[0, ..., 0].tolist() == [[2.5, 4.5], [8.5, 10.5]]
    assert np.isnan(frames.shrunk(np.array([[np.nan, 1.0]])[..., None], 2)).all()
    assert frames.factor([(384, 100), (100, 769)], 384) == 3
    assert frames.factor([], 384) == 1


def test_pictures_are_kept_once():
    album = frames.Album()
    frame, made = np.zeros((2, 3)), []

    def png(frame):
        made.append(frame)
        return b"abc"

    assert [album.index_of(one, png) for one in (frame, frame + 1, frame.copy(), frame.reshape(3, 2))] == [0, 1, 0, 2]
    assert (album.pictures, album.size, len(made)) == (["YWJj"] * 3, 12, 3)
