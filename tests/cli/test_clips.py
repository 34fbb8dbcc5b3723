"""Clips from training to a forecast as MP4: coloured videos, a grey stack, folders of pictures."""

from __future__ import annotations

import json

from convlstm import Forecaster
from convlstm.datasets import VideoClips
from convlstm.datasets.video import decode_video
from tests.support import films
from tests.support.moving_shapes import shapes, write_gifs, write_pictures
from tests.support.tiny import call

import numpy as np
import pytest
from PIL import Image

LINE = (
    "data=video",
    "data.input_frames=3",
    "data.target_frames=3",
    "data.progress=false",
    "model.hidden_channels=[4]",
    "model.kernel_size=3",
    "trainer.batch_size=2",
    "trainer.validate_every=4",
    "loss=mse",
)


@pytest.fixture
def run(tmp_path, monkeypatch, capsys):
    """Returns a function that calls a command in the test's folder, and returns what it has printed."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CONVLSTM_DATA", str(tmp_path / "data"))

    def command(name, *arguments):
        status, out, err = call(name, monkeypatch, capsys, *arguments)
        assert status == 0, out + err
        return out

    return command


def persistence_error(data):
    """Returns the squared error of the last input, summed over pixels and colours, as a mean over the test's frames."""
    sums = []
    for n in range(data.size("test")):
        sample = {name: array / 255 for name, array in data.sample("test", n).items()}
        sums += [np.sum((frame - sample["inputs"][-1]) ** 2) for frame in sample["targets"]]
    return np.mean(sums)


def test_coloured_videos_from_training_to_mp4(run, tmp_path):
    pytest.importorskip("imageio_ffmpeg")
    for n, length in enumerate((9, 14, 10, 12, 11)):
        clip = shapes(length, n, size=(16, 32))
        (tmp_path / "clips" / f"class{n % 2}").mkdir(parents=True, exist_ok=True)
        films.encode(tmp_path / "clips" / f"class{n % 2}" / f"clip{n}.mp4", clip, rate=8)
    colour = ("data.path=clips", "data.channels=3", "model.in_channels=3")
    out = run("train", *LINE, *colour, "trainer.max_steps=4", "name=rgb")
    assert "finished at step 4 of 4" in out
    out = run("train", *LINE, *colour, "trainer.max_steps=6", "name=rgb", "resume=auto")
    assert "from step 4 on" in out
    assert "finished at step 6 of 6" in out

    run("evaluate", "ckpt=runs/rgb")
    folder = tmp_path / "runs" / "rgb" / "evaluation"
    scores = json.loads((folder / "metrics.json").read_text())["forecasters"]
    data = VideoClips(path="clips", channels=3, input_frames=3, target_frames=3)
    assert scores["persistence"]["scores"]["mse_per_frame"]["overall"] == pytest.approx(
        persistence_error(data), rel=1e-5
    )
    assert set(scores["model"]["scores"]) >= {"mse_per_frame", "mae_per_frame", "psnr", "ssim"}
    panel = np.asarray(Image.open(folder / "forecast_0.png").convert("RGB")).astype(int)
    for red, green, blue in ((255, 60, 40), (60, 220, 80)):
        assert (np.abs(panel - (red, green, blue)).max(-1) < 30).sum() > 500
    assert (folder / "report.html").stat().st_size > 10_000

    out = run("forecast", "ckpt=runs/rgb", "input=clips/class1/clip1.mp4", "out=forecast.mp4", "horizon=5")
    assert "the last 3 of 14 frames of 16x32" in out
    frames = decode_video("forecast.mp4")
    assert frames.shape == (5, 128, 256, 3)
    forecaster = Forecaster.load("runs/rgb")
    expected = forecaster(decode_video("clips/class1/clip1.mp4") / 255, 5)
    shown = frames.reshape(5, 16, 8, 32, 8, 3).mean((2, 4)) / 255
    np.testing.assert_allclose(shown, expected, atol=0.05)
    from convlstm.datasets.ffmpeg import frame_rate

    assert frame_rate(tmp_path / "forecast.mp4") == 8


def test_a_grey_stack_of_another_size(run, tmp_path):
    stack = np.stack([shapes(8, n, size=(24, 32)) for n in range(8)])[..., 0]
    np.save(tmp_path / "stack.npy", stack)
    out = run(
        "train", *LINE, "data.path=stack.npy", "data.frame_size=[12,16]", "data.fit=stretch", "data.step=1",
        "trainer.max_steps=2", "name=grey",
    )  # fmt: skip
    assert "finished at step 2 of 2" in out
    run("evaluate", "ckpt=runs/grey", "examples=[]")
    np.save(tmp_path / "clip.npy", stack[0])
    out = run("forecast", "ckpt=runs/grey", "input=clip.npy", "out=grey.npy")
    assert "the last 3 of 8 frames of 24x32, without times, brought to 12x16 as in training (stretch)" in out
    small = stack[0, -3:].reshape(3, 12, 2, 16, 2).mean((2, 4))[..., None] / 255
    np.testing.assert_allclose(np.load(tmp_path / "grey.npy"), Forecaster.load("runs/grey")(small, 3), atol=1e-4)


def test_folders_of_pictures_thinned_as_in_training(run, tmp_path):
    clips = [shapes(14, n, size=(16, 24)) for n in range(4)]
    for n, clip in enumerate(clips):
        write_pictures(tmp_path / "frames" / f"clip{n}", clip, "{}.png")
    colour = ("data.path=frames", "data.channels=3", "model.in_channels=3", "data.step=2")
    run("train", *LINE, *colour, "trainer.max_steps=2", "name=pictures")
    out = run("forecast", "ckpt=runs/pictures", "input=frames/clip1", "out=next.npy")
    assert "the last 3 of 14 frames of 16x24, without times, 2 frames apart as in training" in out
    expected = Forecaster.load("runs/pictures")(clips[1][[9, 11, 13]] / 255, 3)
    np.testing.assert_allclose(np.load(tmp_path / "next.npy"), expected, atol=1e-5)
    run("forecast", "ckpt=runs/pictures", "input=frames/clip1", "out=pictures", "format=png")
    assert sorted(path.name for path in (tmp_path / "pictures" / "clip1_forecast_frames").iterdir()) == [
        "frame_01.png", "frame_02.png", "frame_03.png",
    ]  # fmt: skip


def test_a_run_resumes_only_on_the_same_clips(run, tmp_path, monkeypatch, capsys):
    write_gifs(tmp_path / "clips", [8] * 4)
    line = (*LINE, "data.path=clips", "data.channels=3", "model.in_channels=3", "name=gifs")
    run("train", *line, "trainer.max_steps=2")
    write_gifs(tmp_path / "clips", [8, 8, 8, 9])
    status, _, err = call("train", monkeypatch, capsys, *line, "trainer.max_steps=4", "resume=auto")
    assert status == 1
    assert "was trained on other data" in err
    assert "data_sha256" in err
