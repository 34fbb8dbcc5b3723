"""Attacks with weights to convert and with checkpoints to load."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from importlib.util import find_spec

from convlstm.checkpoints import seal
from fault_tests.attacks.stage import SECRET, Attack, Stage
from tests.support import hdf5_strangers, hostile_weights
from tests.support.hostile_checkpoints import HEADERS, TEXTS
from tests.support.keras_files import keras_file
from tests.support.strangers import DATA, describe
from tests.support.zarr_stores import evil

import numpy as np

LOAD = "import sys, convlstm\ntry: convlstm.load({!r})\nexcept ValueError as error: sys.exit(str(error))"


def attacks() -> Iterator[Attack]:
    """Yields the attacks of this module."""
    for name, contents in hostile_weights.ATTACKS.items():
        if name.endswith((".h5", ".keras")) and find_spec("h5py") is None:
            continue
        for attack in contents:
            yield Attack(f"weights {name[1:]}", attack, partial(_convert, name, attack))
    if find_spec("h5py") is not None:
        for way in hdf5_strangers.WAYS:
            yield Attack("weights .h5", way, partial(_hdf5, way))
    for ending in (".pth", ".pt", ".ckpt", ".bin"):
        yield Attack("weights in a pickle", ending, partial(_pickle, ending))
    for name in TEXTS:
        yield Attack("a checkpoint's texts", name, partial(_checkpoint, "config.yaml", name))
    for name in HEADERS:
        yield Attack("a checkpoint's tensors", name, partial(_checkpoint, "model.safetensors", name))
    for target in (
        "os.system",
        "subprocess.run",
        "builtins.eval",
        "hydra.utils.instantiate",
        "convlstm.models.importlib.import_module",
        "convlstm.cli.train.main",
        "convlstm.backend.python_process.subprocess.run",
        "convlstm.datasets.radar.os.system",
        "stranger.Model",
    ):
        yield Attack("classes of a configuration", f"model {target}", partial(_class, "model", target))
        yield Attack("classes of a configuration", f"data {target}", partial(_class, "data", target))


def _convert(name: str, attack: str, stage: Stage) -> list[str]:
    path = stage.work / name
    path.write_bytes(hostile_weights.ATTACKS[name][attack]())
    return ["convert", str(path), str(stage.out)]


def _hdf5(way: str, stage: Stage) -> list[str]:
    import h5py

    path = stage.work / "model.weights.h5"
    keras_file(path, np.random.default_rng(0), [(2, 3, 3)], ".weights.h5")
    with h5py.File(path, "a") as file:
        name = "layers/conv_lstm2d/cell/vars/0"
        hdf5_strangers.replace(file, name, way, hdf5_strangers.write_secret(stage.victim, file[name].shape, "f4"))
    return ["convert", str(path), str(stage.out)]


def _pickle(ending: str, stage: Stage) -> list[str]:
    path = stage.work / f"model{ending}"
    path.write_bytes(evil(stage.canary))
    return ["convert", str(path), str(stage.out)]


def _checkpoint(file: str, name: str, stage: Stage) -> list[str]:
    run = stage.digits()
    last = run / "checkpoints" / "best"
    content = TEXTS[name].encode() if file == "config.yaml" else HEADERS[name]
    (last / file).write_bytes(content)
    seal(last)
    return ["-c", LOAD.format(str(run))]


def _class(section: str, target: str, stage: Stage) -> list[str]:
    run = stage.digits()
    (stage.work / "stranger.py").write_text(f"import os; os.mkdir({str(stage.canary)!r})")
    described = {"_target_": target, "command": f"mkdir {stage.canary}; cat {stage.secret} # {SECRET[:3]}"}
    describe(run / "checkpoints" / "best", **{section: described if section == "model" else DATA | described})
    return stage.evaluate(run)
