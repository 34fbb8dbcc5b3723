"""The comparison of a learned ensemble with STEPS on files: starts, masks, kept sums, and the program as a whole."""

import argparse
import json
import sys
from dataclasses import replace
from pathlib import Path

from benchmarks import nowcast, nowcast_pictures
from benchmarks.nowcast_events import Event, EventData, listed
from benchmarks.nowcast_forecasts import Learned, Opponents
from convlstm import checkpoints
from convlstm.architectures.learned_steps import LearnedSTEPS
from convlstm.runs.progress import Progress
from tests.support.radar_files import write_knmi

import mlx.optimizers as optim
import numpy as np
import pytest

SMALL = {"members": 3, "hidden_channels": [4], "levels": 4}
FRAMES, SIDE, RIM = 30, 128, 16
EVENT = Event("rain", "rain", coarsen=2, rim=RIM)
INNER = slice(RIM, SIDE // 2 - RIM)
DIGITS = str.maketrans("", "", "-T:")


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """A folder with an archive of showers of 5 minutes that move east, in pixels of 1 km, and a checkpoint."""
    folder = tmp_path_factory.mktemp("nowcast")
    (folder / "rain").mkdir()
    y, x = np.mgrid[:SIDE, : SIDE + 2 * FRAMES] / 6.0
    showers = np.maximum(np.sin(x) * np.sin(1.3 * y) + 0.3 * np.sin(0.4 * x + y), 0) * 60  # of 0.01 mm in 5 minutes
    for n in range(FRAMES):
        pixels = showers[:, 2 * (FRAMES - n) :][:, :SIDE].round().astype(np.uint16)
        pixels[60:64, 60:64] = 65535  # missing
        time = np.datetime64("2010-08-26T00:00") + np.timedelta64(5 * n, "m")
        begin, end = (f"26-AUG-2010;{str(t)[11:]}:00.000".encode() for t in (time, time + np.timedelta64(5, "m")))
        place = folder / "rain" / f"RAD_NL25_RAP_5min_{str(time + np.timedelta64(5, 'm')).translate(DIGITS)}.h5"
        write_knmi(place, pixels, product_datetime_start=np.array([begin]), product_datetime_end=np.array([end]))
    model, optimizer = LearnedSTEPS(**SMALL), optim.SGD(0.1)
    optimizer.init(model.trainable_parameters())
    config = {"model": {"_target_": "convlstm.architectures.learned_steps.LearnedSTEPS", **SMALL}, "seed": 0}
    checkpoints.save(folder / "learned", model, optimizer, vars(Progress(step=0)), config)
    return folder


@pytest.fixture(autouse=True)
def indexes_elsewhere(monkeypatch, tmp_path):
    monkeypatch.setenv("CONVLSTM_DATA", str(tmp_path))


def test_starts_lie_evenly_from_the_first_to_the_last(folder):
    data = EventData(EVENT, folder, 3)
    assert (data.minutes, data.leads, data.pixel_km, data.size) == (5, 18, 2, (64, 64))
    first = [start.times[0] for start in data]
    # 30 frames have 8 windows of 5 + 18.
    assert len(first) == 3
    assert first[-1] - first[0] == np.timedelta64(35, "m")
    assert first[0] < first[1] < first[2]


def test_only_what_is_known_inside_the_rim_counts(folder):
    start = EventData(EVENT, folder, 2)[1]
    expected = np.zeros((64, 64), bool)
    expected[INNER, INNER] = True
    expected[30:32, 30:32] = False
    assert (start.known == expected).all()
    assert start.frames.shape == (5, 64, 64)
    assert np.isnan(start.truth[:, 30, 30]).all()
    assert start.truth[0, 20, 20] >= 0


def test_other_pixels_and_rims(folder):
    data = EventData(replace(EVENT, coarsen=1, rim=40, size=96, pixel_km=0.5, step=10), folder, 2)
    assert (data.minutes, data.leads, data.pixel_km, data.size) == (10, 9, 0.5, (96, 96))
    assert data[0].known.sum(axis=(1, 2)).max() <= 16 * 16
    with pytest.raises(SystemExit, match="a rim of 32 pixels leaves nothing of"):
        EventData(replace(EVENT, rim=32), folder, 2)


def test_sums_of_opponents_are_kept(folder, tmp_path, monkeypatch):
    data = EventData(EVENT, folder, 2)
    start = data[0]
    with Opponents(2, None, tmp_path / "cache") as opponents:
        sums, known = opponents.sums(data, start)
    assert (known <= start.known).all()
    assert set(sums) == {"steps", "steps mean", "sprog", "extrapolation"}

    def never(*_):
        raise AssertionError

    with monkeypatch.context() as patch, Opponents(2, None, tmp_path / "cache") as again:
        patch.setattr(again, "forecasts", never)
        kept, mask = again.sums(data, start)
        with pytest.raises(AssertionError):
            again.sums(data, data[1])
    assert (mask == known).all()
    for who, of in sums.items():
        for kind, values in of.items():
            assert (kept[who][kind] == values).all()
    with monkeypatch.context() as patch, Opponents(3, None, tmp_path / "cache") as larger:
        patch.setattr(larger, "forecasts", never)
        with pytest.raises(AssertionError):
            larger.sums(data, start)


def test_pixels_at_which_an_opponent_has_no_value_do_not_count(folder, monkeypatch):
    data = EventData(EVENT, folder, 2)
    start = data[0]
    with Opponents(2, None, None) as opponents:
        forecasts = opponents.forecasts(data, start)
        forecasts["steps"][1, 3, 20, 20] = np.nan
        forecasts["sprog"][5, 21, 21] = np.nan
        monkeypatch.setattr(opponents, "forecasts", lambda *_: forecasts)
        _, known = opponents.sums(data, start)
    assert {tuple(place) for place in np.argwhere(start.known & ~known)} == {(3, 20, 20), (5, 21, 21)}


def test_another_pysteps_is_refused(folder):
    data = EventData(EVENT, folder, 2)
    with Opponents(2, sys.executable, None) as opponents, pytest.raises(SystemExit, match=r"must have pysteps 1\.21"):
        opponents.forecasts(data, data[0])


def test_members_of_a_checkpoint_are_told_step_and_pixels(folder):
    learned = Learned(str(folder / "learned"), 4)
    data, far = (EventData(replace(EVENT, pixel_km=km), folder, 2) for km in (1, 3))
    members = learned.members(data, data[0])
    assert members.shape == (4, 18, 64, 64)
    assert (members == learned.members(data, data[0])).all()
    assert (members != learned.members(far, far[0])).any()
    assert learned.label == "learned, step 0"


def test_the_program_writes_its_files(folder, tmp_path, monkeypatch, capsys):
    options = ["--ckpt", str(folder / "learned"), "--data", str(folder), "--archive", "rain", "--coarsen", "2"]
    options += ["--rim", str(RIM), "--members", "3"]
    run = ["nowcast", *options, "--starts", "2", "--cache", str(tmp_path / "cache"), "--out", str(tmp_path / "out")]
    monkeypatch.setattr(sys, "argv", run)
    nowcast.main()
    first = (tmp_path / "out/scores.json").read_text()
    nowcast.main()
    assert (tmp_path / "out/scores.json").read_text() == first
    record = json.loads(first)
    assert record["settings"]["steps"] == "this project"
    crps = record["events"]["rain"]["scores"]["crps 1px"]
    assert crps["sample"]["starts"] == 2
    assert crps["ratio"]["value"] == pytest.approx(crps["nowcast"]["value"] / crps["steps"]["value"])
    assert record["mean"]["crps 1px"]["ratio"] == crps["ratio"]
    text = (tmp_path / "out/scores.md").read_text()
    assert text in capsys.readouterr().out
    assert (tmp_path / "out/crps.png").stat().st_size > 5000
    run = ["pictures", *options, "--start", "1", "--starts", "2", "--out", str(tmp_path / "p.png")]
    monkeypatch.setattr(sys, "argv", run)
    nowcast_pictures.main()
    assert (tmp_path / "p.png").stat().st_size > 20000


def test_tests_are_scored_only_if_asked_for():
    parser = argparse.ArgumentParser()
    nowcast.add_event_options(parser)
    every = listed()
    assert {event.split for event in every} == {"choosing", "test"}
    assert len({event.name for event in every}) == len(every)
    assert len([event for event in every if event.split == "test"]) >= 6
    for split in ("choosing", "test"):
        options = parser.parse_args(["--ckpt", "x", "--split", split])
        assert [event.split for event in nowcast.chosen(options)] == [split] * len(nowcast.chosen(options))
    assert {event.split for event in nowcast.chosen(parser.parse_args(["--ckpt", "x"]))} == {"choosing"}
    with pytest.raises(SystemExit, match="must be one of those for choosing but got 'Belgium 2021'"):
        nowcast.chosen(parser.parse_args(["--ckpt", "x", "--event", "Belgium 2021"]))
