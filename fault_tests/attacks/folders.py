"""Attacks from the working folder, and from folders that other users have prepared."""

from __future__ import annotations

import os
from collections.abc import Iterator
from functools import partial

from fault_tests.attacks.stage import Attack, Stage

MODULES = ("ctypes", "json", "numpy", "mlx", "yaml", "hydra_plugins", "sitecustomize", "usercustomize", "convlstm")
SETTINGS = {
    "matplotlibrc": "backend: module://stranger\nfont.family: nothing\nsavefig.format: nothing\n",
    "fonts.conf": "<fontconfig><include>SECRET</include></fontconfig>",
    "pyproject.toml": "[tool.convlstm]\n",
    "setup.cfg": "[options.entry_points]\nhydra = stranger\n",
    ".env": "LD_PRELOAD=./stranger.so\n",
}
OTHER = 54321


def attacks() -> Iterator[Attack]:
    """Yields the attacks of this module."""
    for module in MODULES:
        for command in ("evaluate", "runs"):
            yield Attack(
                "code in the working folder", f"{command}: {module}.py", partial(_module, module, command), True
            )
        yield Attack("code in the working folder", f"doctor: {module}.py", partial(_doctor, module), harmless=None)
    for file in SETTINGS:
        yield Attack("settings in the working folder", file, partial(_settings, file), harmless=True)
    yield Attack("settings in a run's folder", "--config-dir", _config_dir, harmless=None)
    if os.getuid() == 0:
        for mode in (0o777, 0o755, 0o700):
            yield Attack(
                "folders of another user", f"temporary, mode {mode:o}", partial(_temporary, mode), harmless=True
            )


def _module(module: str, command: str, stage: Stage) -> list[str]:
    (stage.work / f"{module}.py").write_text(f"import os; os.mkdir({str(stage.canary)!r})\n")
    run = stage.digits()
    return stage.evaluate(run) if command == "evaluate" else ["runs", str(run.parent)]


def _doctor(module: str, stage: Stage) -> list[str]:
    (stage.work / f"{module}.py").write_text(f"import os; os.mkdir({str(stage.canary)!r})\n")
    compiler = stage.work / "g++"
    compiler.write_text(f"#!/bin/sh\nmkdir {stage.canary}\n")
    compiler.chmod(0o755)
    return ["doctor", "--size", "64"]


def _settings(file: str, stage: Stage) -> list[str]:
    (stage.work / "stranger.py").write_text(f"import os; os.mkdir({str(stage.canary)!r})\n")
    (stage.work / file).write_text(SETTINGS[file].replace("SECRET", str(stage.secret)))
    return ["evaluate", f"ckpt={stage.digits()}", "examples=[0]", f"out={stage.out}"]


def _config_dir(stage: Stage) -> list[str]:
    run = stage.digits()
    (run / "configs" / "hydra" / "launcher").mkdir(parents=True)
    (run / "configs" / "hydra" / "launcher" / "basic.yaml").write_text("_target_: os.system\ncommand: true\n")
    return stage.evaluate(run)


def _temporary(mode: int, stage: Stage) -> list[str]:
    shared = stage.folder / "tmp"
    shared.mkdir()
    shared.chmod(0o1777)
    prepared = shared / "convlstm-0"
    prepared.mkdir()
    prepared.chmod(mode)
    os.chown(prepared, OTHER, OTHER)
    code = (
        f"import os, sys; os.environ['TMPDIR'] = {str(shared)!r}; from convlstm.cli.__main__ import main; "
        f"import mlx.core; assert os.environ.get('TMPDIR') != {str(prepared)!r}; main()"
    )
    return ["-c", code, *stage.evaluate(stage.digits())]
