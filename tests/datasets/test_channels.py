"""The channels of a model: fields, changes, extras, and the way back to physical values."""

import json

from convlstm.datasets.channels import EXTRAS, Channel, Channels, Degrees
from convlstm.datasets.readers.grid import Field
from convlstm.datasets.transforms import Linear, Standard

import numpy as np
import pytest

SST = Channel(Field("sst", "degC", "sea_surface_temperature"), Linear(minimum=0, maximum=20, units="degC"))
WIND = Channel(Field("u10", "m s-1"), Standard(mean=0, std=2, units="m s-1"))
TIMES = np.array([["2021-01-01T00:00", "2021-01-01T06:00"]], "datetime64[s]")


def frames(seed=0, land=True):
    """Returns two frames of 3 x 4 of both fields, (1, 2, 3, 4, 2); the first row of sst is land."""
    rng = np.random.default_rng(seed)
    values = np.stack([rng.uniform(5, 15, (1, 2, 3, 4)), rng.uniform(-4, 4, (1, 2, 3, 4))], -1).astype(np.float32)
    if land:
        values[:, :, 0, :, 0] = np.nan
    return values


def test_inputs_are_the_scaled_fields():
    values = frames()
    inputs, missing = Channels([SST, WIND]).inputs(values)
    assert inputs.dtype == np.float32
    assert inputs[0, :, 1:, :, 0] == pytest.approx(values[0, :, 1:, :, 0] / 20, abs=1e-6)
    assert inputs[..., 1] == pytest.approx(0.5 + values[..., 1] / 20, abs=1e-6)
    assert (inputs[0, :, 0, :, 0] == 0.5).all()  # land
    assert missing.never[0, 0, :, 0].all()
    assert missing.share == pytest.approx(1 / 6)


def test_a_gap_in_time_is_filled():
    values = frames(land=False)
    values[0, 1, 2, 3, 0] = np.nan
    inputs, _ = Channels([SST, WIND]).inputs(values)
    assert inputs[0, 1, 2, 3, 0] == inputs[0, 0, 2, 3, 0]


def test_targets_go_to_the_scale_and_back():
    channels, values = Channels([SST, WIND], ["u10", "sst"]), frames()
    scaled = channels.scaled_targets(values)
    assert channels.physical(scaled) == pytest.approx(values[..., ::-1], abs=1e-5, nan_ok=True)
    assert [channel.field.name for channel in channels.targets] == ["u10", "sst"]
    assert channels.target_channels == [1, 0]


def test_changes_are_added_to_the_last_frame():
    change = Linear(minimum=-8, maximum=8, units="degC")
    channels = Channels([Channel(SST.field, SST.scale, change), Channel(WIND.field, WIND.scale, change)], ["sst"])
    before, after = frames(0), frames(1)
    inputs, _ = channels.inputs(before)
    assert inputs.shape[-1] == channels.inputs_count == 4
    assert (inputs[0, -1, 1:, :, :2] == 0.5).all()  # no change since the last frame
    assert inputs[0, 0, 1:, :, 2] == pytest.approx(before[0, -1, 1:, :, 0] / 20, abs=1e-6)
    reference = channels.reference(before)
    scaled = channels.scaled_targets(after, reference)
    assert channels.physical(scaled, reference) == pytest.approx(
        np.clip(after[..., :1], reference - 8, reference + 8), abs=1e-5, nan_ok=True
    )
    # Persistence is the middle of the scale.
    assert channels.physical(np.full_like(scaled, 0.5), reference) == pytest.approx(
        np.broadcast_to(reference, scaled.shape), abs=1e-5, nan_ok=True
    )


def test_extras_in_closed_form():
    degrees = Degrees(np.full((3, 4), 45.0), np.full((3, 4), 90.0))
    inputs, _ = Channels([SST], extras=list(EXTRAS)).inputs(frames()[..., :1], TIMES, degrees)
    known, latitude, *waves = np.moveaxis(inputs[0, :, :, :, 1:], -1, 0)
    assert known[:, 0].max() == 0
    assert known[:, 1:].min() == 1
    assert latitude == pytest.approx(0.75)
    longitude, day, year = waves[:2], waves[2:4], waves[4:]
    assert [wave.mean() for wave in longitude] == pytest.approx([1, 0.5])  # a quarter of a turn
    assert [wave[:, 0, 0].tolist() for wave in day] == [pytest.approx([0.5, 1]), pytest.approx([1, 0.5])]
    assert [wave[0, 0, 0] for wave in year] == pytest.approx([0.5, 1])


def test_the_record_makes_the_same_channels():
    channels = Channels([SST, Channel(WIND.field, WIND.scale, Linear(minimum=-1, maximum=1))], ["sst"], ["day"])
    record = json.loads(json.dumps(channels.describe()))
    assert Channels(**record).describe() == record
    assert Channels(**record).fields[1] == channels.fields[1]


@pytest.mark.parametrize(
    ("call", "text"),
    [
        (lambda: Channels([SST, WIND], ["t2m"]), r"'targets' must be some of sst, u10 but got 't2m'"),
        (lambda: Channels([SST], []), r"'targets' must be one or more of sst but got none"),
        (lambda: Channels([SST], extras=["hour"]), r"'extras' must be some of known, .* but got 'hour'"),
        (lambda: Channels([SST]).inputs(frames()), r"must be \(N, T, H, W, 1\), with the fields sst, but got \(1, 2"),
        (lambda: Channels([SST, WIND], extras=["day"]).inputs(frames()), r"the extra 'day' needs the times"),
        (lambda: Channels([SST, WIND], extras=["latitude"]).inputs(frames()), r"needs the latitude and longitude"),
        (
            lambda: Channels([{"field": {"name": "a", "units": "b"}, "scale": {"name": "Log"}}]),
            r"must be one of .*'Log'",
        ),
    ],
)
def test_refuses(call, text):
    with pytest.raises(ValueError, match=text):
        call()
