"""Sequences as pictures show them."""

from convlstm.evaluation.scoring import Example
from convlstm.report import pictures, write_pictures
from convlstm.report.shown_sequences import field_scales, shown
from tests.support.sea import LAND, Sea, batch, evaluation

import numpy as np


def test_fields_are_shown_one_by_one_without_land():
    data = Sea()
    example = evaluation(data).examples[0]
    temperature, wind = shown(example, data)
    assert (temperature.name, wind.name) == ("sst", "u10")
    given = batch(data)
    for one, channel in ((temperature, 0), (wind, 1)):
        np.testing.assert_array_equal(one.truth, given["truth"][0, ..., channel, None])
        np.testing.assert_allclose(one.forecasts["model"].shape, (3, 12, 16, 1))
    land = np.zeros((12, 16), bool)
    land[LAND] = True
    for frames in (temperature.inputs, temperature.truth, *temperature.forecasts.values()):
        assert (np.isnan(frames[..., 0]) == land).all()
    assert not any(np.isnan(frames).any() for frames in (wind.inputs, wind.truth, *wind.forecasts.values()))


def test_pixels_that_are_known_in_some_frame_stay_in_the_forecast():
    frames = np.full((3, 2, 2, 1), 0.5, np.float32)
    truth = 30 * frames
    truth[:2, 0, 0] = np.nan
    inputs = np.where(np.isnan(truth), np.nan, frames)
    inputs[:, 0, 0] = np.nan
    example = Example(4, inputs, frames, truth, None, {"model": frames, "zeros": frames})
    (one,) = shown(example, Sea(target_fields=Sea().target_fields[:1]))
    assert list(one.forecasts) == ["model"]
    assert not np.isnan(one.forecasts["model"]).any(), "the truth of the last frame is known"


def test_changes_are_added_to_their_reference():
    frames = np.zeros((2, 2, 2, 1), np.float32)
    reference = np.full((1, 2, 2, 1), 11.0)
    example = Example(0, frames, frames, frames + 11, reference, {"model": frames + 0.1})
    (one,) = shown(example, Sea(target_fields=Sea().target_fields[:1]))
    np.testing.assert_allclose(one.inputs, 11)
    np.testing.assert_allclose(one.forecasts["model"], 14, rtol=1e-6)


def test_all_sequences_have_one_scale():
    data = Sea()
    result = evaluation(data, sequences=3)
    sequences = [one for case in (*result.best, *result.worst) for one in shown(case.example, data)]
    scales = field_scales(sequences)
    assert list(scales) == ["sst", "u10"]
    values = np.concatenate([frames for one in sequences[::2] for frames in (one.inputs, one.truth)])
    assert scales["sst"].ends == (np.nanmin(values), np.nanmax(values))


def test_each_field_has_pictures(tmp_path, monkeypatch):
    calls = []
    for name in ("field_panel", "field_gif", "lead_curves"):
        monkeypatch.setattr(pictures, name, lambda path, *a, _name=name, **how: calls.append((_name, path.name, how)))
    data = Sea()
    result = evaluation(data)
    write_pictures(tmp_path, result, fields=data)
    assert [call[:2] for call in calls] == [
        ("field_panel", "forecast_0_sst.png"), ("field_gif", "forecast_0_sst.gif"),
        ("field_panel", "forecast_0_u10.png"), ("field_gif", "forecast_0_u10.gif"),
        ("lead_curves", "lead_times.png"),
    ]  # fmt: skip
    assert len(calls[0][2]["times"]) == 5
    assert calls[-1][2]["frame_interval"] == calls[0][2]["frame_interval"] == 360
    assert calls[0][2]["title"] == "sequence 0: sea surface temperature"
    calls.clear()
    one = Sea(target_fields=data.target_fields[:1], timed=False)
    write_pictures(tmp_path, evaluation(one), fields=one)
    assert [call[1] for call in calls] == ["forecast_0.png", "forecast_0.gif", "lead_times.png"]
    assert calls[0][2]["times"] is None


def test_names_of_fields_are_safe_in_names_of_files():
    assert pictures.file_name("../t 2m/é") == ".._t_2m_é"
