"""The climatology of fields: means by month, day and hour, and departures from them as what a model forecasts."""

import json

from convlstm.datasets import GriddedFields
from convlstm.datasets.channels import Channels
from convlstm.datasets.climatology import KINDS, Climatology, count_of, fitted, places_of
from tests.support.seasons import SHAPE, cycle, weather, write_seasons

import numpy as np
import pytest

pytest.importorskip("netCDF4")


def test_places_in_closed_form():
    times = np.array(["2020-01-01T00", "2019-12-31T23", "2020-02-29T05", "2021-03-01T06:59"], "datetime64[s]")
    assert places_of("month", times).tolist() == [0, 11, 1, 2]
    assert places_of("day", times).tolist() == [0, 365, 59, 60]
    assert places_of("hour", times).tolist() == [0, 23, 5, 6]
    assert places_of("month_hour", times).tolist() == [0, 11 * 24 + 23, 24 + 5, 2 * 24 + 6]
    assert places_of("day_hour", times).tolist() == [0, 365 * 24 + 23, 59 * 24 + 5, 60 * 24 + 6]
    assert places_of("day", times.reshape(2, 2)).shape == (2, 2)
    year = np.arange(np.datetime64("2020-01-01T00"), np.datetime64("2021-01-01T00"))
    for kind in KINDS:
        assert np.unique(places_of(kind, year)).tolist() == list(range(count_of(kind)))


@pytest.mark.parametrize("kind", ["month", "hour", "month_hour"])
def test_means_are_those_of_the_frames(rng, kind):
    times = np.arange(np.datetime64("2020-01-01T00"), np.datetime64("2020-04-01T00"), np.timedelta64(5, "h"))
    values = rng.normal(size=(len(times), 2, 3, 1)).astype(np.float32)
    values[rng.random(values.shape) < 0.1] = np.nan
    found = fitted(kind, times, lambda n: values[n], (2, 3, 1))
    places = places_of(kind, times)
    for place in np.unique(places)[:30]:
        of_place = values[places == place]
        alone = np.nanmean(of_place, axis=0) if not np.isnan(of_place).all(0).any() else None
        if alone is not None:
            np.testing.assert_allclose(found.means[place], alone, atol=1e-5)
    np.testing.assert_array_equal(found.at(times[:4]), found.means[places[:4]])


def test_days_are_means_over_a_month_around_them_across_the_year():
    times = np.arange(np.datetime64("2020-01-01"), np.datetime64("2021-01-01"))
    found = fitted("day", times, lambda n: np.full((1, 1, 1), n, np.float32), (1, 1, 1))
    assert found.means[100, 0, 0, 0] == 100
    assert found.means[0, 0, 0, 0] == pytest.approx(np.mean([*range(16), *range(351, 366)]))


def test_a_pixel_unknown_at_a_place_has_its_overall_mean():
    times = np.array(["2020-01-01", "2020-02-01"], "datetime64[s]")
    values = np.array([[[[1.0], [2.0], [np.nan]]], [[[3.0], [np.nan], [np.nan]]]], np.float32)
    found = fitted("month", times, lambda n: values[n], (1, 3, 1))
    np.testing.assert_array_equal(found.means[1, 0, :, 0], [3, 2, np.nan])
    assert np.isnan(found.means[2]).all()
    with pytest.raises(ValueError, match=r"no frames of March, whose mean is needed for climatology=month"):
        found.at(np.array(["2021-03-05"], "datetime64[s]"))


@pytest.mark.parametrize(
    ("kind", "time", "text"),
    [
        ("hour", "2020-05-05T07", "of 07 UTC,"),
        ("day", "2020-02-29", "of 29 February, or of the 15 days around it,"),
        ("month_hour", "2020-12-01T23", "of December, 23 UTC,"),
    ],
)
def test_what_is_unknown_is_named(kind, time, text):
    nothing = Climatology(kind, np.full((count_of(kind), 1, 1, 1), np.nan, np.float32))
    with pytest.raises(ValueError, match=text):
        nothing.check(np.array([time], "datetime64[s]"))


def test_too_many_means_are_refused(monkeypatch):
    monkeypatch.setattr("convlstm.datasets.readers.limits.memory", lambda: 1 << 20)
    with pytest.raises(
        ValueError, match=r"a climatology by day_hour has 8784 means of 4 x 4 x 1, which needs .* fewer"
    ):
        fitted("day_hour", np.zeros(1, "datetime64[s]"), lambda _: np.zeros((4, 4, 1)), (4, 4, 1))


@pytest.fixture
def opened(tmp_path):
    path = write_seasons(tmp_path / "t.nc")

    def open_(**settings):
        given = {"archive": str(path), "input_frames": 2, "target_frames": 3, "climatology": "hour"}
        return GriddedFields(**{**given, "index": str(tmp_path / "index"), "progress": False, **settings})

    return open_


def hour_means(data):
    """Returns the means of the hours 0, 3, ..., 21 over the frames of the training split, by hand."""
    last = max(data.times("train", n)[-1] for n in range(data.size("train")))
    count = int((last - np.datetime64("2020-01-01")) / np.timedelta64(3, "h")) + 1
    values = (cycle(3 * np.arange(count)) + weather()[:count])[..., None]
    return np.stack([values[n::8].mean(0) for n in range(8)])


@pytest.mark.parametrize("split", ["train", "test"])
def test_inputs_and_targets_are_departures(opened, split):
    data = opened()
    sample, means = data.sample(split, 1, truth=True), hour_means(data)
    times = data.times(split, 1)
    frames, here = data.frames(split, 1), means[(times.astype("datetime64[h]").astype(int) % 24) // 3]
    channel = data.channels.fields[0]
    assert data.frame_shape == (*SHAPE, 2)
    known = ~np.isnan(frames[:2])
    for n, (values, scale) in enumerate(((frames[:2] - here[:2], channel.change), (here[:2], channel.scale))):
        np.testing.assert_allclose(sample["inputs"][..., n : n + 1][known], scale.forward(values)[known], atol=1e-5)
    assert (sample["inputs"][:, 0, 0, 0] == 0.5).all()  # unknown
    np.testing.assert_allclose(sample["reference"], here[2:], atol=1e-4)
    np.testing.assert_allclose(sample["input_reference"], here[:2], atol=1e-4)
    values = data.physical(sample["targets"], sample["reference"])
    np.testing.assert_allclose(values[sample["mask"]], sample["truth"][sample["mask"]], atol=1e-3)
    again = data.unclipped(values, sample["reference"])
    np.testing.assert_allclose(again[sample["mask"]], sample["targets"][sample["mask"]], atol=1e-4)
    middle = np.full_like(sample["targets"], 0.5)  # no departure
    np.testing.assert_allclose(data.physical(middle, sample["reference"]), here[2:], atol=1e-3)


def test_crops_have_their_part(opened):
    data = opened(frame_size=[4, 4])
    sample = data.sample("train", 3, seed=1, truth=True)
    known = sample["mask"]
    values = data.physical(sample["targets"], sample["reference"])
    np.testing.assert_allclose(values[known], sample["truth"][known], atol=1e-3)


def test_the_record_and_the_arrays_make_the_same_channels(opened, tmp_path):
    data = opened()
    record = json.loads(json.dumps(data.describe()["channels"]))
    again = Channels(**record, arrays=data.maps)
    assert again.describe() == data.channels.describe()
    frames, times = data.frames("test", 0)[None], data.times("test", 0)[None]
    for one, other in ((data.channels, again), (data.channels, opened(channels=again).channels)):
        np.testing.assert_array_equal(
            one.inputs(frames[:, :2], times[:, :2])[0], other.inputs(frames[:, :2], times[:, :2])[0]
        )
    reference = again.reference(frames[:, :2], times[:, :2], 3)
    np.testing.assert_array_equal(reference[0], data.sample("test", 0, truth=True)["reference"])
    write_seasons(tmp_path / "air.nc", name="air")
    with pytest.raises(ValueError, match=r"'variable' must be the fields of training, t2m, but the archive has air"):
        opened(archive=str(tmp_path / "air.nc"), channels=again)
    with pytest.raises(ValueError, match=r"'arrays' must be those of the record"):
        Channels(**record, arrays={"climatology": data.maps["climatology"] + 1})
    with pytest.raises(ValueError, match=r"'arrays' must have climatology but have none"):
        Channels(**record)
    with pytest.raises(ValueError, match=r"the climatology needs the times"):
        again.inputs(frames[:, :2])
    with pytest.raises(ValueError, match=r"'frames' must be 8 x 12, the grid of the model's .*but got 4 x 4"):
        again.inputs(frames[:, :2, :4, :4], times[:, :2])
    part = again.part(2, 3, 4, 4)
    np.testing.assert_array_equal(
        part.inputs(frames[:, :2, 2:6, 3:7], times[:, :2])[0],
        again.inputs(frames[:, :2], times[:, :2])[0][:, :, 2:6, 3:7],
    )


@pytest.mark.parametrize(
    ("settings", "text"),
    [
        ({"climatology": "week"}, r"'climatology' must be one of month, day, hour, .* but got 'week'"),
        ({"changes": True}, r"'changes' must be False with 'climatology' but got True"),
        ({"split": [0, 0, 1]}, r"'climatology' needs a training split, but its share in 'split' is 0"),
    ],
)
def test_refuses(opened, settings, text):
    with pytest.raises(ValueError, match=text):
        opened(**settings)


def test_seasons_that_the_training_split_lacks_are_refused(tmp_path):
    path = write_seasons(tmp_path / "t.nc", frames=400)  # fifty days
    with pytest.raises(ValueError, match=r"the training split has no frames of February"):
        GriddedFields(
            archive=path,
            input_frames=2,
            target_frames=2,
            climatology="month",
            index=tmp_path / "i",
            progress=False,
            split=[0.5, 0.1, 0.4],
        )
