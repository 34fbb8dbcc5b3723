"""Fields of a file from training to a resumed run, with the channels that follow the data."""

from tests.support.ocean import write_ocean
from tests.support.tiny import call

import pytest

pytest.importorskip("netCDF4")


@pytest.fixture
def line(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CONVLSTM_DATA", str(tmp_path / "indexes"))
    write_ocean(tmp_path / "ocean.nc")
    return [
        *("experiment=fields", "data.archive=ocean.nc", "data.variable=[sst,u10]", "data.targets=[sst]"),
        *("data.input_frames=2", "data.target_frames=2", "data.progress=false", "trainer.batch_size=2"),
        *("model.hidden_channels=[4]", "model.kernel_size=3", "output=runs", "name=sea"),
    ]


def test_a_run_whose_channels_follow_the_data_is_resumed(line, monkeypatch, capsys):
    status, out, err = call("train", monkeypatch, capsys, *line, "trainer.max_steps=2")
    assert status == 0, out + err
    assert "note        model.in_channels is 2, since the data have 2 channels and targets of 1" in out
    status, out, err = call("train", monkeypatch, capsys, *line, "trainer.max_steps=4", "resume=auto")
    assert status == 0, out + err
    assert "from step 2 on" in out
    assert "finished at step 4 of 4" in out
    for change, text in (
        ("model.in_channels=3", "model.in_channels: 2 in the run, 3 now"),
        ("data.targets=[sst,u10]", "data.targets"),
        ("model.next_frame_weight=0.5", "model.next_frame_weight: 0.0 in the run, 0.5 now"),
    ):
        status, out, err = call("train", monkeypatch, capsys, *line, "trainer.max_steps=6", "resume=auto", change)
        assert status == 1
        assert text in err
