"""Sequences from videos, stacks and folders of pictures."""

import itertools
import json

from convlstm.datasets import VideoClips
from convlstm.datasets.clips import windows as windows_module
from convlstm.datasets.readers.errors import ReadError
from tests.support import films
from tests.support.moving_shapes import shapes, write_gifs, write_pictures

import numpy as np
import pytest
from PIL import Image

SPLITS = ("train", "validation", "test")


def opened(path, **options):
    return VideoClips(**{"path": str(path), "input_frames": 2, "target_frames": 2, "channels": 3, **options})


def frames(sample):
    return np.concatenate([sample["inputs"], sample["targets"]])


def samples(data, split, **place):
    return [frames(data.sample(split, n, **place)) for n in range(data.size(split))]


def places(sequence, clips):
    """Returns all (name, first frame) at which a sequence is a part of a clip."""
    found = []
    for name, clip in clips.items():
        for start in range(len(clip) - len(sequence) + 1):
            if np.array_equal(clip[start : start + len(sequence)], sequence):
                found.append((name, start))
    return found


def test_sequences_are_windows_of_clips_of_different_length(tmp_path):
    clips = write_gifs(tmp_path / "clips", [4, 7, 5, 9, 6])
    data = opened(tmp_path / "clips")
    drawn = [places(sequence, clips) for sequence in samples(data, "train")]
    assert all(len(found) == 1 for found in drawn)
    names = {split: {places(s, clips)[0][0] for s in samples(data, split)} for split in SPLITS}
    assert [len(names[split]) for split in SPLITS] == [3, 1, 1]
    assert set().union(*names.values()) == set(clips)
    # Each window of training once, and windows that do not overlap for the others.
    wanted = {(name, start) for name in names["train"] for start in range(len(clips[name]) - 3)}
    assert {found[0] for found in drawn} == wanted
    assert len(drawn) == len(wanted)
    for split in ("validation", "test"):
        (name,) = names[split]
        starts = [places(s, clips)[0][1] for s in samples(data, split)]
        assert starts == list(range(0, len(clips[name]) - 3, 4))


def test_shapes_types_and_record(tmp_path):
    write_gifs(tmp_path / "clips", [8] * 5)
    data = opened(tmp_path / "clips")
    batch = next(iter(data.stream("train", 2)))
    assert {key: (array.shape, array.dtype) for key, array in batch.items()} == {
        "inputs": ((2, 2, 16, 24, 3), np.uint8),
        "targets": ((2, 2, 16, 24, 3), np.uint8),
    }
    record = json.loads(json.dumps(data.describe()))
    assert record["name"] == "video"
    assert record["clips"] == {"train": 3, "validation": 1, "test": 1}
    assert record["sequences"] == {"train": 15, "validation": 2, "test": 2}
    assert record["frame_shape"] == [16, 24, 3]
    assert opened(tmp_path / "clips", channels=1).frame_shape == (16, 24, 1)


def test_the_digest_follows_the_content(tmp_path):
    clips = write_gifs(tmp_path / "clips", [8] * 5)
    before = opened(tmp_path / "clips").describe()["data_sha256"]
    assert opened(tmp_path / "clips").describe()["data_sha256"] == before
    write_pictures(tmp_path / "other", clips["clip0.gif"])
    assert opened(tmp_path / "other", split=[1, 0, 0]).describe()["data_sha256"] != before
    write_gifs(tmp_path / "clips", [8] * 4 + [9])
    assert opened(tmp_path / "clips").describe()["data_sha256"] != before


def test_a_sequence_is_a_function_of_seed_epoch_and_index(tmp_path, monkeypatch):
    clips = write_gifs(tmp_path / "clips", [12] * 8)
    for together in (1 << 30, 1):  # all clips at a time, or one
        monkeypatch.setattr(windows_module, "_TOGETHER", together)
        data = opened(tmp_path / "clips", augment=True)
        again = opened(tmp_path / "clips", augment=True, cache_bytes=0)
        first = samples(data, "train", seed=1, epoch=2)
        assert all(np.array_equal(a, b) for a, b in zip(first, samples(again, "train", seed=1, epoch=2), strict=True))
        other = samples(data, "train", seed=1, epoch=3)
        assert not all(np.array_equal(a, b) for a, b in zip(first, other, strict=True))
        assert all(np.array_equal(data.sample("test", 0, epoch=4)[k], data.sample("test", 0)[k]) for k in ("inputs",))
    plain = opened(tmp_path / "clips")
    names = [places(sequence, clips)[0][0] for sequence in samples(plain, "train")]
    changes = sum(a != b for a, b in itertools.pairwise(names))
    assert changes == len(set(names)) - 1  # one clip after the other
    assert names != sorted(names)


def test_augment_flips_from_left_to_right(tmp_path):
    clips = write_gifs(tmp_path / "clips", [10] * 5)
    flipped = {name: clip[:, :, ::-1] for name, clip in clips.items()}
    data = opened(tmp_path / "clips", augment=True)
    kinds = {
        (bool(places(s, clips)), bool(places(s, flipped)))
        for epoch in range(2)
        for s in samples(data, "train", epoch=epoch)
    }
    assert kinds == {(True, False), (False, True)}
    assert all(places(s, clips) for s in samples(data, "test"))


def test_step_takes_every_second_frame_and_stride_every_third_start(tmp_path):
    clips = write_gifs(tmp_path / "clips", [15] * 5)
    thinned = {f"{name}{k}": clip[k::2] for name, clip in clips.items() for k in (0, 1)}
    data = opened(tmp_path / "clips", step=2, stride=3)
    found = [places(sequence, thinned) for split in SPLITS for sequence in samples(data, split)]
    starts = [2 * place[0][1] + int(place[0][0][-1]) for place in found]
    assert sorted(set(starts)) == [0, 3, 6]
    assert len(found) == 5 * 3


def test_a_single_clip_is_split_in_time(tmp_path):
    clip = shapes(40, 0, size=(8, 8), side=3)
    clip[:, 0, 0] = np.arange(40)[:, None]  # each frame has its number
    np.save(tmp_path / "film.npy", clip)
    data = opened(tmp_path / "film.npy", split=[0.5, 0.25, 0.25])
    numbers = {split: {int(n) for s in samples(data, split) for n in s[:, 0, 0, 0]} for split in SPLITS}
    assert numbers == {"train": set(range(20)), "validation": set(range(20, 28)), "test": set(range(30, 38))}
    assert data.describe()["split_by"] == "time"
    write_gifs(tmp_path / "clips", [20, 30])
    with pytest.raises(ValueError, match="2 clips cannot be split"):
        opened(tmp_path / "clips")
    record = opened(tmp_path / "clips", split=[0.6, 0.2, 0.2], split_by="time").describe()
    assert record["clips"] == {"train": 2, "validation": 2, "test": 2}


def test_the_published_moving_mnist_layout(tmp_path, rng):
    stack = rng.integers(0, 256, (20, 30, 8, 8), np.uint8)
    np.save(tmp_path / "mnist_test_seq.npy", stack)
    options = {"input_frames": 10, "target_frames": 10, "channels": 1}
    clips = {tuple(stack[:, n].ravel()) for n in range(30)}
    for order in (None, "TNHW"):
        data = opened(tmp_path, order=order, **options)
        assert {tuple(s[..., 0].ravel()) for split in SPLITS for s in samples(data, split)} == clips
    (tmp_path / "mnist_test_seq.npy").rename(tmp_path / "others.npy")
    with pytest.raises(ValueError, match=r"array others.npy is of 20 x 30 x 8 x 8, which .* data.order=NTHW"):
        opened(tmp_path, **options)


def test_a_packed_stack_and_several_arrays(tmp_path, rng):
    arrays = {name: rng.integers(0, 256, (6, 5, 8, 8), np.uint8) for name in ("train", "valid", "test")}
    np.savez_compressed(tmp_path / "sets.npz", **arrays, notes=np.zeros(3))
    data = opened(tmp_path, channels=1, validation_clips=["*/valid#*"], test_clips="*/test#*")
    assert data.describe()["clips"] == {"train": 6, "validation": 6, "test": 6}
    np.testing.assert_array_equal(frames(data.sample("test", 0))[..., 0], arrays["test"][0, :4])


def test_damaged_stacks_are_left_out(tmp_path, rng):
    for n in range(4):
        np.savez_compressed(tmp_path / f"{n}.npz", a=rng.random((9, 64, 64)).astype(np.float32))
    content = bytearray((tmp_path / "3.npz").read_bytes())
    content[len(content) // 2] ^= 255  # within the packed values, after its header
    (tmp_path / "3.npz").write_bytes(content)
    (tmp_path / "4.npy").write_bytes(b"\x93NUMPY\x01\x00v\x00{" + bytes(200))
    with pytest.warns(UserWarning, match=r"4.npy cannot be read .*3.npz cannot be read"):
        data = opened(tmp_path, channels=1)
    assert [clip.name for clip in data.clips] == ["0.npz", "1.npz", "2.npz"]


def test_values_of_stacks_become_0_to_1(tmp_path, rng):
    floats = rng.random((6, 5, 8, 8)).astype(np.float32)
    np.save(tmp_path / "a.npy", floats)
    data = opened(tmp_path, channels=1)
    assert data.sample("train", 0)["inputs"].dtype == np.float32
    assert {s.tobytes() for split in SPLITS for s in samples(data, split)} <= {
        floats[n, t : t + 4, ..., None].tobytes() for n in range(6) for t in (0, 1)
    }
    np.save(tmp_path / "a.npy", floats * 1000)
    with pytest.raises(ValueError, match=r"a.npy has values from .* to 99\d.*between 0 and white, 1. .* data.white=99"):
        opened(tmp_path, channels=1)
    np.testing.assert_allclose(frames(opened(tmp_path, channels=1, white=1000).sample("test", 0)).max(), 1, atol=0.2)
    np.save(tmp_path / "a.npy", floats - 0.5)
    with pytest.raises(
        ValueError, match=r"values from -0.\d+ .*Fields with negative values are read by data=radar_echo"
    ):
        opened(tmp_path, channels=1)
    holes = np.where(floats > 0.99, np.float32(np.nan), floats)
    np.save(tmp_path / "a.npy", holes)
    with pytest.raises(ValueError, match=r"a.npy has values that are missing or infinite"):
        opened(tmp_path, channels=1)
    np.save(tmp_path / "a.npy", (floats > 0.5))
    assert set(np.unique(opened(tmp_path, channels=1).sample("train", 0)["inputs"])) == {0.0, 1.0}
    np.save(tmp_path / "a.npy", (floats * 4000).astype(np.uint16))
    with pytest.raises(ValueError, match=r"Name the value that is white: data.white=39"):
        opened(tmp_path, channels=1)


def test_pictures_are_in_the_order_of_their_numbers(tmp_path):
    clips = {f"clip{n}": shapes(12, n) for n in range(3)}
    for name, clip in clips.items():
        write_pictures(tmp_path / "frames" / "a" / name, clip, "frame-{}.png")
    data = opened(tmp_path / "frames")
    drawn = [places(s, clips) for split in SPLITS for s in samples(data, split)]
    assert all(drawn)
    assert len({found[0] for found in drawn}) == len(drawn)
    one = opened(tmp_path / "frames" / "a" / "clip1", split=[1, 0, 0], stride=1)
    assert {places(s, clips)[0] for s in samples(one, "train")} == {("clip1", n) for n in range(9)}


def test_pictures_of_several_modes(tmp_path):
    """16 bits lose the lower 8; a palette with transparency and an alpha channel show their colours."""
    colour = np.full((8, 8, 3), (200, 100, 50), np.uint8)
    palette = Image.fromarray(colour).quantize(2)
    palette.save(tmp_path / "1.png", transparency=b"\x80\xff")
    Image.fromarray(np.dstack([colour, np.full((8, 8), 9, np.uint8)])).save(tmp_path / "2.png")
    Image.fromarray(np.full((8, 8), 200 * 256 + 77, np.uint16)).save(tmp_path / "3.png")
    Image.fromarray(colour[..., 0]).save(tmp_path / "4.png")
    data = opened(tmp_path, split=[1, 0, 0])
    shown = frames(data.sample("train", 0))[:, 0, 0]
    np.testing.assert_array_equal(shown, [[200, 100, 50], [200, 100, 50], [200] * 3, [200] * 3])


def test_no_sequence_crosses_a_frame_that_is_absent_or_damaged(tmp_path):
    clip = shapes(20, 0)
    folder = write_pictures(tmp_path / "frames", clip, "{:04d}.png")
    (folder / "0006.png").unlink()
    with pytest.warns(UserWarning, match=r"left out of .*frames lacks frames after 0005.png"):
        data = opened(folder, split=[1, 0, 0])
    starts = {places(s, {"": clip})[0][1] for s in samples(data, "train")}
    assert starts == {0, 1, *range(6, 17)}
    (folder / "0011.png").write_bytes((folder / "0011.png").read_bytes()[:60])
    with pytest.warns(UserWarning, match=r"left out of .*0011.png .*truncated"):
        data = opened(folder, split=[1, 0, 0])
    starts = {places(s, {"": clip})[0][1] for s in samples(data, "train")}
    assert starts == {0, 1, 6, *range(11, 17)}


def test_damaged_and_short_clips_are_left_out_and_named(tmp_path, monkeypatch):
    monkeypatch.setattr("convlstm.datasets.ffmpeg.program", lambda: None)
    write_gifs(tmp_path / "clips", [8, 8, 8, 3])
    (tmp_path / "clips" / "broken.mp4").write_bytes(films.mp4()[:900])
    (tmp_path / "clips" / "film.mkv").write_bytes(films.matroska())
    (tmp_path / "clips" / "notes.txt").write_text("about")
    (tmp_path / "clips" / "more.rar").write_bytes(b"Rar!")
    with pytest.warns(UserWarning, match="left out of") as caught:
        data = opened(tmp_path / "clips")
    assert len(data.clips) == 3
    (message,) = [str(warning.message) for warning in caught]
    for part in ("1 .rar", "broken.mp4", "film.mkv", "fewer than 4 frames: clip3.gif (3)", "convert it: ffmpeg"):
        assert part in message
    assert "notes" not in message


def test_a_folder_without_clips_says_what_it_has(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"absent does not exist. Check the path: data.path"):
        opened(tmp_path / "absent")
    (tmp_path / "a.h5").touch()
    with pytest.raises(ValueError, match=r"has no clips, only 1 .h5. Clips are videos .*ffmpeg -i"):
        opened(tmp_path)
    write_gifs(tmp_path, [3])
    with pytest.raises(ValueError, match=r"no clip that can be used: .*clip0.gif \(3\).*A sequence spans 4 frames"):
        opened(tmp_path)
    write_pictures(tmp_path / "more", shapes(5, 0))
    with pytest.raises(ValueError, match=r"has 1 videos, 5 pictures. Name the kind of the clips: data.kind=videos"):
        opened(tmp_path)
    with pytest.raises(ValueError, match=r"has no stacks, the 'kind' that is asked for, but 1 videos, 5 pictures"):
        opened(tmp_path, kind="stacks")
    with pytest.warns(UserWarning, match=r"files of another kind: 1 .h5"):
        assert len(opened(tmp_path, kind="pictures", split=[1, 0, 0]).clips) == 1


def test_a_path_must_be_given():
    with pytest.raises(ValueError, match=r"\[VideoClips\] 'path' must name a folder .*data.path=PATH"):
        VideoClips()


def test_clips_of_several_sizes_need_a_frame_size(tmp_path):
    write_gifs(tmp_path, [8] * 4)
    write_gifs(tmp_path / "large", [8] * 4, size=(32, 40))
    with pytest.raises(ValueError, match=r"the clips differ in size: .*16x24; .*32x40. Set the size .*data.frame_size"):
        opened(tmp_path)
    data = opened(tmp_path, frame_size=[8, 12])
    assert {s.shape for split in SPLITS for s in samples(data, split)} == {(4, 8, 12, 3)}
    with pytest.raises(
        ValueError, match=r"'frame_size' must be at most that of the clips, .* for fit=cut, but got 24x24"
    ):
        opened(tmp_path, frame_size=24, fit="cut")


def test_whole_frames_are_cut_for_models_with_patches(tmp_path):
    clips = write_gifs(tmp_path, [8] * 4, size=(17, 26))
    data = opened(tmp_path)
    assert data.frame_shape == (16, 24, 3)
    cut = {name: clip[:, 0:16, 1:25] for name, clip in clips.items()}
    assert all(places(s, cut) for s in samples(data, "train"))
    assert opened(tmp_path, multiple=1).frame_shape == (17, 26, 3)
    with pytest.raises(ValueError, match="cannot be cut to a 'multiple' of 32"):
        opened(tmp_path, multiple=32)


def test_fewer_sequences_are_spread_evenly(tmp_path):
    write_gifs(tmp_path, [30] * 4)
    data = opened(tmp_path, stride=1, train_sequences=100, validation_sequences=3, test_sequences=1)
    assert [data.size(split) for split in SPLITS] == [100, 3, 1]
    assert data.describe()["sequences"]["validation"] == 3


def test_clips_are_read_for_the_index_only_once(tmp_path, monkeypatch):
    write_gifs(tmp_path / "clips", [8] * 4)
    opened(tmp_path / "clips")
    read = []
    from convlstm.datasets.clips.sources import Video

    facts = Video.facts
    monkeypatch.setattr(Video, "facts", lambda self: read.append(self.name) or facts(self))
    opened(tmp_path / "clips")
    assert read == []
    write_gifs(tmp_path / "clips", [9])
    opened(tmp_path / "clips")
    assert read == ["clip0.gif"]
    opened(tmp_path / "clips", index=str(tmp_path / "other"))
    assert len(read) == 5


def test_a_clip_that_could_not_be_read_is_tried_again(tmp_path, monkeypatch):
    write_gifs(tmp_path / "clips", [8] * 4)
    with monkeypatch.context() as patch:
        patch.setenv("CONVLSTM_READ_SECONDS", "0.000001")
        patch.setattr("convlstm.datasets.video._BYTES_A_SECOND", 1e12)
        with pytest.raises(ValueError, match=r"no clip that can be used: .*CONVLSTM_READ_SECONDS"):
            opened(tmp_path / "clips")
    assert len(opened(tmp_path / "clips").clips) == 4


def test_a_clip_that_vanishes_is_named(tmp_path):
    clips = write_gifs(tmp_path / "clips", [8] * 4)
    data = opened(tmp_path / "clips")
    for name in clips:
        (tmp_path / "clips" / name).unlink()
    with pytest.raises(ReadError, match=r"clip\d.gif cannot be read"):
        data.sample("train", 0)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"channels": 2}, r"'channels' must be 1 \(grey\) or 3 \(colour\) but got 2"),
        ({"kind": "films"}, "'kind' must be one of auto, videos, pictures, stacks but got 'films'"),
        ({"fit": "squeeze"}, "'fit' must be one of crop, stretch, cut but got 'squeeze'"),
        ({"split_by": "person"}, "'split_by' must be one of null, clips, time but got 'person'"),
        ({"step": 0}, "'step' must be a whole number of at least 1 but got 0"),
        ({"white": 0}, "'white' must be a number from"),
        ({"split": "umf"}, "'split' must be the shares of train, validation and test"),
        ({"split": "kth", "group": "a"}, "'split' is kth, which has groups and clips of its own"),
        ({"split_by": "time", "group": "a"}, "'split_by' is time, so every clip has a part in each split"),
        ({"input_frames": 9}, "has no clip that can be used"),
        ({"validation_sequences": 0}, "'validation_sequences' must be a whole number of at least 1"),
        ({"split": [0.5, 0.5, 0], "stride": 1, "split_by": "time", "input_frames": 5}, "train has no sequence of 7"),
    ],
)
def test_wrong_arguments_are_refused(tmp_path, options, message):
    write_gifs(tmp_path, [8] * 4)
    with pytest.raises(ValueError, match=rf"\[VideoClips\] .*{message}"):
        opened(tmp_path, **options)
