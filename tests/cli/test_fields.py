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


def test_an_evaluation_names_the_fields_in_the_lines_of_training(line, monkeypatch, capsys):
    status, out, err = call("train", monkeypatch, capsys, *line, "trainer.max_steps=1")
    assert status == 0, out + err
    first = out.index("data        ")
    about = out[first : out.index(" channels\n", first)]
    assert "sst: sea surface temperature, degC, scaled from " in about
    status, out, err = call("evaluate", monkeypatch, capsys, "ckpt=runs/sea", "sequences=1", "cases=0", "examples=[]")
    assert status == 0, out + err
    assert about in out


@pytest.mark.parametrize(("split", "name"), [("[0.8,0,0.2]", "validation"), ("[0,0.5,0.5]", "training")])
def test_data_that_lack_a_split_are_refused_before_anything_is_trained(
    split, name, line, monkeypatch, capsys, tmp_path
):
    status, _, err = call("train", monkeypatch, capsys, *line, "trainer.max_steps=1", f"data.split={split}")
    assert status == 1
    assert f"the data have no {name} sequences" in err
    assert not (tmp_path / "runs").exists()
