"""Files of runs that were never trained, for the tests of what reads them."""

from __future__ import annotations

import json

import yaml


def write_run(folder, *, config=None, rows=(), starts=None, state=None):
    """Writes the files of a run; `rows` are (step, val_loss) or (step, val_loss, val_psnr)."""
    folder.mkdir(parents=True)
    config = {"trainer": {"monitor": "val_loss", "max_steps": 40}} if config is None else config
    (folder / "config.yaml").write_text(config if isinstance(config, str) else yaml.safe_dump(config))
    lines = [",".join(map(str, (*row, "", "")[:4])) for row in rows]
    (folder / "metrics.csv").write_text("\n".join(["step,val_loss,val_psnr,seconds", *lines, ""]))
    if starts is not None:
        (folder / "run.json").write_text(json.dumps({"starts": starts}))
    if state is not None:
        (folder / "checkpoints" / "last").mkdir(parents=True)
        (folder / "checkpoints" / "last" / "state.json").write_text(json.dumps(state))
    return folder
