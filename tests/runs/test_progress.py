"""The progress of a run in its checkpoints."""

from __future__ import annotations

import json

from convlstm.checkpoints import (
    CheckpointError,
)
from convlstm.runs.progress import Progress

import pytest


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"step": 5, "seeds": 1}, "seeds"),
        ({"seed": "0"}, "seed"),
        ({"seconds": None}, "seconds"),
        ({"best": "low"}, "best"),
        ({"loss_count": 1.5}, "loss_count"),
        ({"data": []}, "data"),
        ({"unvalidated": []}, "unvalidated"),
        ({"unvalidated": {"train_loss": "low"}}, "unvalidated"),
        ({"status": 3, "best_step": [1]}, "best_step, status"),
    ],
)
def test_progress_is_restored_from_what_it_wrote_only(change, named, tmp_path):
    whole = vars(Progress(step=4, seconds=1.5, best=0.25, best_step=4, data={"digits": "builtin"}))
    assert vars(Progress.restored(json.loads(json.dumps(whole)), tmp_path)) == whole
    with pytest.raises(CheckpointError, match=rf"state\.json' is damaged or of another version \(see {named}\)"):
        Progress.restored(whole | change, tmp_path)
    with pytest.raises(CheckpointError, match=r"\(see loss_sum\)"):
        Progress.restored({name: value for name, value in whole.items() if name != "loss_sum"}, tmp_path)
