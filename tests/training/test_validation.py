import math
from itertools import pairwise
from types import SimpleNamespace

from convlstm.distributed.ranks import ALONE
from convlstm.losses import MeanSquaredError
from convlstm.runs.folder import NullFolder
from convlstm.training.batches import Batches, DataError
from convlstm.training.replicas import interruption, raise_on_all_ranks, synchronised
from convlstm.training.validation import known_share, validate
from tests.support.ranks import Gaps

import mlx.core as mx
import numpy as np
import pytest


def repeat(inputs, horizon):
    return mx.repeat(inputs[:, -1:], horizon, axis=1)


def cut(arrays, lengths):
    ends = np.cumsum([0, *lengths])
    return [({k: a[i:j] for k, a in arrays.items()}, int(j - i)) for i, j in pairwise(ends)]


def sequences(n=6):
    rng = np.random.default_rng(0)
    frames = rng.random((n, 4, 8, 8, 1), np.float32)
    known = rng.random((n, 2, 8, 8, 1)) < np.linspace(0.05, 1, n)[:, None, None, None, None]
    return {"inputs": frames[:, :2], "targets": frames[:, 2:], "mask": known}


@pytest.mark.parametrize("masked", [True, False])
def test_scores_do_not_depend_on_how_the_sequences_are_cut_into_batches(masked):
    arrays = sequences()
    if not masked:
        del arrays["mask"]
    squares = (arrays["inputs"][:, -1:] - arrays["targets"]) ** 2
    expected = squares[arrays["mask"]].mean() if masked else squares.mean()
    whole = validate(repeat, MeanSquaredError(), cut(arrays, [6]))
    assert whole["val_loss"] == pytest.approx(float(expected), rel=1e-6)
    for lengths in ([2, 2, 2], [1, 5], [4, 2]):
        assert validate(repeat, MeanSquaredError(), cut(arrays, lengths)) == pytest.approx(whole, rel=1e-6)


def test_sequences_beyond_the_given_number_do_not_score():
    arrays = sequences()
    assert validate(repeat, MeanSquaredError(), [(arrays, 4)]) == validate(
        repeat, MeanSquaredError(), cut({k: a[:4] for k, a in arrays.items()}, [4])
    )


def test_without_a_known_pixel_the_loss_is_nan():
    arrays = sequences(2) | {"mask": np.zeros((2, 2, 8, 8, 1), bool)}
    assert math.isnan(validate(repeat, MeanSquaredError(), cut(arrays, [2]))["val_loss"])


def test_the_known_share_counts_values():
    targets = mx.zeros((2, 3, 4, 4, 1))
    assert known_share(targets, None) == 1
    assert known_share(targets, mx.ones((2, 1, 1, 1, 1))) == 1
    assert known_share(targets, mx.array([1, 0]).reshape(2, 1, 1, 1, 1)) == 0.5


@pytest.mark.parametrize("ranks", [1, 2, 3, 4])
@pytest.mark.parametrize(("sequences", "size"), [(7, 7), (7, 5), (9, 8), (1, 1), (12, 12), (11, 3), (10, 9)])
def test_ranks_validate_every_sequence_once(ranks, sequences, size):
    data = Gaps(validation=sequences)
    found = []
    for rank in range(ranks):
        shares = Batches(data, 4 if ranks < 3 else 12, ranks=SimpleNamespace(rank=rank, size=ranks)).validation(size)
        found += [frame for batch, take in shares for frame in batch["targets"][:take]]
    every = [batch["targets"][0] for batch in data.stream("validation", 1)][:size]
    assert sorted(frame.tobytes() for frame in found) == sorted(frame.tobytes() for frame in every)


def test_one_rank_agrees_with_itself():
    batches = [{"x": np.zeros(1)}, {"x": np.ones(1)}]
    assert list(synchronised(ALONE, iter(batches))) == batches
    raise_on_all_ranks(ALONE, None)
    with pytest.raises(DataError, match=r"^broken$") as raised:
        raise_on_all_ranks(ALONE, DataError("broken", "validation"))
    assert raised.value.split == "validation"
    assert interruption(ALONE, []) == ""
    assert interruption(ALONE, [15, 2]) == "interrupted by SIGTERM"


def test_the_other_ranks_have_no_folder(tmp_path):
    folder = NullFolder(tmp_path / "run")
    folder.add({"step": 1})
    assert folder.save("last", None, None, None, None, insist=True)
    assert folder.last_good() == ""
    assert not folder.path.exists()
