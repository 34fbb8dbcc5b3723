"""Files that a slip or a disk has changed: a checkpoint's configuration, the files of an archive, MNIST's."""

import gzip
import math
import random
import shutil
import warnings
from dataclasses import dataclass, field
from typing import Any

from convlstm.checkpoints.verification import seal
from convlstm.datasets.digits import load_digits, read_idx
from convlstm.datasets.moving_mnist import MovingMNIST
from convlstm.datasets.radar_echo import RadarEcho
from tests.support import radar_archives
from tests.support.fuzz_bench import bench
from tests.support.fuzz_configs import REMOVED, Base, corrupt, put
from tests.support.tiny import blots

import numpy as np
import pytest
import yaml


@pytest.fixture(scope="module")
def place():
    with bench() as place:
        yield place


@dataclass
class Saved:
    """A checkpoint's configuration, to be corrupted as those of the files in configs/ are."""

    config: dict[str, Any]
    choices: dict[str, str] = field(default_factory=dict)

    def compose(self):
        return {key: self.config[key] for key in ("model", "data")}, {}


def slips(place, number, seed):
    """(description, outcome) of slips in the configurations of checkpoints, sealed as if they had been saved so."""
    for n in range(number):
        rng = random.Random(f"{seed} {n}")
        name = rng.choice(["digits", "rain"])
        run = place.checkpoints[name]
        path = run / "checkpoints" / "last" / "config.yaml"
        before = path.read_text()
        config = yaml.safe_load(before)
        slip = corrupt(rng, Saved(config))
        if slip.value is REMOVED:
            *parents, last = slip.key.split(".")
            section = config
            for parent in parents:
                section = section[parent]
            del section[last]
        else:
            put(config, slip.key, slip.value)
        shutil.rmtree(run / "checkpoints" / "best", ignore_errors=True)
        try:
            path.write_text(yaml.safe_dump(config))
            seal(path.parent)
            yield f"#{n} {name} {slip}", slip, place.run(Base("evaluate", {}, {}, name))
        finally:
            path.write_text(before)
            seal(path.parent)


def wrong_slips(place, number, seed):
    """Those that end in a fault, or in words that say neither which file nor which key it is."""
    found = []
    for text, slip, outcome in slips(place, number, seed):
        word = slip.key.rpartition(".")[2]
        said = any(part in outcome.text for part in ("config.yaml", slip.key, f"'{word}'", "model.safetensors"))
        if outcome.kind == "failed" or (outcome.kind == "refused" and not said):
            found.append(f"{text}\n{outcome.text}")
    return found


def test_slips_in_a_checkpoint_s_configuration_are_told(place):
    assert wrong_slips(place, 8, seed=0) == []


@pytest.mark.slow
def test_many_slips_in_a_checkpoint_s_configuration_are_told(place):
    assert "\n".join(wrong_slips(place, 150, seed=1)) == ""


HARMS = ("cut", "empty", "flipped", "zeroed", "doubled", "text", "swapped")


def harm(rng, path, others):
    """Spoils a file in one of many ways."""
    content, kind = path.read_bytes(), rng.choice(HARMS)
    place = rng.randrange(len(content))
    flipped = bytes([content[place] ^ (1 << rng.randrange(8))])
    path.write_bytes(
        {
            "cut": content[:place],
            "empty": b"",
            "flipped": content[:place] + flipped + content[place + 1 :],
            "zeroed": content[:place] + bytes(len(content) - place),
            "doubled": content + content,
            "text": b"no such frame\n" * 9,
            "swapped": rng.choice(others).read_bytes(),
        }[kind]
    )
    return kind


def refusal(call):
    """What is said of it by a ValueError; nothing where there is none."""
    try:
        call()
    except ValueError as error:
        return str(error)
    return None


def read_all(data):
    """Every validation sequence, and whether its values are where they must be."""
    for index in range(data.size("validation")):
        sample = data.sample("validation", index)
        for name in ("inputs", "targets"):
            assert np.isfinite(sample[name]).all()
            assert sample[name].min() >= 0
            assert sample[name].max() <= 1


@pytest.mark.parametrize("seed", range(40))
def test_an_archive_with_a_file_that_was_harmed(seed, tmp_path):
    rng = random.Random(seed)
    if seed % 2:
        files = radar_archives.write_pictures(tmp_path / "archive", 12)
        options = radar_archives.OPTIONS
    else:
        files = []
        for index in range(12):
            path = tmp_path / "archive" / f"2020060100{index * 5 % 60:02d}.npy"
            path.parent.mkdir(exist_ok=True)
            np.save(path, radar_archives.picture(index))
            files.append(path)
        options = radar_archives.OPTIONS | {"pattern": "%Y%m%d%H%M"}
    for path in rng.sample(files, rng.choice([1, 2, 12])):
        harm(rng, path, files)

    def read():
        data = RadarEcho(
            archive=str(tmp_path / "archive"),
            reader=options,
            input_frames=1,
            target_frames=1,
            frame_size=8,
            split=[0, 1, 0],
            index=str(tmp_path / "index"),
            progress=False,
        )
        read_all(data)

    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        text = refusal(read)
    assert text is None or text.startswith("[")
    assert [str(warning.message) for warning in warned if "archive" not in str(warning.message)] == []


@pytest.mark.parametrize("seed", range(20))
def test_an_idx_file_that_was_harmed(seed, tmp_path):
    rng = random.Random(seed)
    shape = (5, 4, 3)
    content = b"\0\0\x08\x03" + b"".join(side.to_bytes(4, "big") for side in shape) + bytes(math.prod(shape))
    path = tmp_path / "images"
    path.write_bytes(gzip.compress(content, mtime=0) if seed % 2 else content)
    harm(rng, path, [path])
    text = refusal(lambda: read_idx(path))
    assert text is None or (text.startswith("[read_idx]") and str(path) in text)


def test_files_that_are_not_mnist_s(tmp_path):
    for name in ("train-images-idx3-ubyte.gz", "t10k-images-idx3-ubyte.gz"):
        (tmp_path / name).write_bytes(b"not digits")
    with pytest.raises(ValueError, match="is damaged or not MNIST's"):
        load_digits("mnist", tmp_path, mirrors=())


@pytest.mark.parametrize("seed", range(12))
def test_published_test_sequences_that_were_harmed(seed, tmp_path, monkeypatch):
    monkeypatch.setattr("convlstm.datasets.moving_mnist.load_digits", lambda *_, **__: blots())
    path = tmp_path / "mnist_test_seq.npy"
    np.save(path, np.zeros((20, 3, 64, 64), np.uint8))
    harm(random.Random(seed), path, [path])

    def read():
        data = MovingMNIST(root=tmp_path, digits="auto", test_sequences=3)
        assert data.sample("test", 0)["inputs"].shape == (10, 64, 64, 1)

    text = refusal(read)
    assert text is None or (text.startswith("[MovingMNIST]") and str(path) in text)
