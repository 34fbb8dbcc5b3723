"""The lines about the data at the start of a training run."""

from convlstm.cli.data_lines import data_lines, duration
from convlstm.datasets import MovingMNIST, RadarEcho

import numpy as np


def test_lines_name_archives_fields_and_sequences(tmp_path):
    np.save(tmp_path / "rain.npy", np.random.default_rng(0).gamma(1, 3, (200, 16, 16)).astype(np.float32))
    options = {"units": "mm/h", "start": "2024-01-01T00:00", "step_minutes": 5}
    data = RadarEcho(archive=str(tmp_path / "rain.npy"), reader=options, index=str(tmp_path / "index"), progress=False)
    sizes = {split: data.size(split) for split in ("train", "validation", "test")}
    assert data_lines(data.describe()) == [
        "rain.npy: 200 frames, 16 x 16 pixels, every 5 min, 2024-01-01 00:00 to 2024-01-01 16:35 UTC",
        "rain_rate: mm/h",
        ", ".join(f"{size} {split}" for split, size in sizes.items())
        + " sequences; 5 frames in and 20 out; 16 x 16 pixels",
    ]


def test_lines_of_fields_have_their_scales():
    field = {"name": "sst", "units": "degC", "standard_name": "sea_surface_temperature", "long_name": ""}
    channels = {
        "fields": [
            {"field": field, "scale": {"name": "Linear", "minimum": -2.0, "maximum": 35.0}},
            {"field": {**field, "name": "u10"}, "scale": {"name": "Standard", "mean": 0.5, "std": 2.0}},
        ],
        "targets": ["sst"],
        "extras": ["known", "day"],
    }
    assert data_lines({"name": "fields", "archives": {"a.nc": {"frames": 1200}}, "channels": channels}) == [
        "a.nc: 1,200 frames",
        "sst: sea surface temperature, degC, scaled from -2 to 35",
        "u10: sea surface temperature, degC, scaled from Standard (mean 0.5, std 2), an input only",
        "further inputs: known, day",
    ]


def test_data_without_archives():
    assert data_lines(MovingMNIST(digits="builtin").describe()) == [
        "moving_mnist, digits: builtin",
        "10,000 train, 1,000 validation, 10,000 test sequences; 10 frames in and 10 out; 64 x 64 pixels",
    ]
    assert data_lines(RadarEcho().describe())[0] == "radar_echo, of a synthetic radar"
    assert data_lines({"name": "mine"}) == ["mine"]
    clips = {"train": 1048, "validation": 6, "test": 6}
    assert data_lines({"name": "video", "clips": clips}) == ["video, 1,048 train, 6 validation, 6 test clips"]
    assert data_lines({}) == []


def test_durations():
    texts = {5: "5 min", 90: "90 min", 360: "6 h", 1440: "1 d", 2.5: "2.5 min"}
    assert {minutes: duration(minutes) for minutes in texts} == texts
