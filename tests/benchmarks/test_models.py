"""Both sides of the benchmarks compute the same, at tiny sizes."""

from __future__ import annotations

from benchmarks import ours
from benchmarks.rows import select
from benchmarks.workload import Workload
from tests.support.reference import close

import pytest

SMALL = {
    "simvp train": {"hidden_channels": 4, "translator_channels": 6, "blocks": 2, "frames": 2},
    "simvp_incepu train": {"hidden_channels": 8, "translator_channels": 32, "blocks": 3, "frames": 2},
    "convgru-128-5x5": {"hidden_channels": [5, 4], "kernel_size": 3},
    "trajgru-64 train": {"hidden_channels": [5, 4], "links": 3},
    "convlstm-128-5x5": {"hidden_channels": [5, 4], "kernel_size": 3},
    "predrnn train": {"hidden_channels": [4, 4], "kernel_size": 3},
    "convlstm-s train": {"hidden_channels": [4, 4], "kernel_size": 3},
}


@pytest.mark.parametrize("name", SMALL)
@pytest.mark.filterwarnings("ignore::UserWarning")  # of PyTorch
def test_pytorch_computes_the_same(name, tmp_path):
    pytest.importorskip("torch")
    from benchmarks import pytorch_side

    [row] = select(name)
    values = row.workload.as_json()
    channels = values["inputs"][-1]
    values |= {"inputs": (2, 2, 8, 8, channels), "horizon": 2, "arguments": values["arguments"] | SMALL[name]}
    workload, problem = Workload.from_json(values), tmp_path / "problem.npz"
    left = ours.Side(workload, problem, {}).check()
    right = pytorch_side.Side(workload, problem, {}).check()
    assert set(left) == set(right)
    largest = max(abs(a).max() for name, a in right.items() if name.startswith("gradient"))
    for key, expected in right.items():
        # A bias before a norm has a gradient of rounding errors.
        if abs(expected).max() > 1e-5 * largest:
            close(left[key], expected, 1e-3)
