"""The tables of scores for a terminal."""

from convlstm.evaluation.scoring import evaluate
from convlstm.evaluation.tables import Column, table
from tests.support.sea import Sea, evaluation
from tests.support.sequences import BASELINES, batched, halves, sequences

import numpy as np
import pytest


@pytest.mark.parametrize("horizon", [1, 4, 20])
def test_table_is_aligned_and_narrow(horizon):
    inputs, targets = sequences(size=(32, 32), horizon=horizon)
    mask = np.random.default_rng(1).random((*targets.shape[:2], 1, 1, 1)) < 0.95
    name = "an_encoder_forecaster_with_a_long_name"
    text = table(evaluate({name: halves, **BASELINES}, batched(inputs, targets, 4, mask=mask)))
    lines = text.splitlines()
    assert max(map(len, lines)) <= 100
    assert lines[0].startswith(f"6 sequences, {horizon} frame")
    assert text.count("an_encoder_foreca~") == (1 if horizon == 1 else 2)
    assert ("by lead time" in text) == (horizon > 1)
    assert ("+20" in text) == (horizon == 20)
    for word in ("MSE", "per frame", "PSNR", "dB", "L=2", "skill vs", "% of the pixels", "seq/s", "* best"):
        assert word in text


def test_table_says_who_is_best():
    targets = np.full((2, 2, 8, 8, 1), 0.5, np.float32)
    inputs = np.full((2, 3, 8, 8, 1), 0.75, np.float32)
    text = table(evaluate({"halves": halves, **BASELINES}, batched(inputs, targets, 2)))
    rows = {line.split()[0]: line.split() for line in text.splitlines()[3:6]}
    # Errors of -0.125, 0.25 and -0.5 on 64 pixels.
    assert rows["halves"][1:4] == ["1.000*", "8.000*", "18.06*"]
    assert rows["persistence"][1:4] == ["4.000", "16.000", "12.04"]
    assert rows["zeros"][1:4] == ["16.000", "32.000", "6.02"]
    assert rows["halves"][6:8] == ["+75.0%", "+93.8%"]
    assert rows["persistence"][6:8] == ["-", "+75.0%"]
    assert rows["zeros"][6:8] == ["-300.0%", "-"]


def test_table_of_one_forecaster_has_no_stars():
    inputs, targets = sequences()
    text = table(evaluate({"model": halves}, batched(inputs, targets, 4)))
    assert "*" not in text
    assert "skill" not in text
    assert "model" in text


def test_the_best_of_a_column_is_marked_if_values_differ():
    for values, marked in (
        ([1.0, 2.0, None], [False, True, False]),
        ([0.0, 0.0, None], [False, False, False]),
        ([0.0, None, float("nan")], [False, False, False]),
    ):
        assert [best for _, best in Column([], values, ".3f", max).cells()] == marked


def test_fields_have_tables_in_their_units():
    result = evaluation(Sea(), horizon=12)
    lines = table(result).splitlines()
    assert max(map(len, lines)) <= 100
    assert lines[0].startswith("3 sequences, 12 frames ahead (+72 h); means over all lead times")
    assert lines[2].split() == ["sst", "RMSE", "skill", "vs", "MAE", "bias", "correlation"]
    assert lines[3].split() == ["forecaster", "degC", "persistence", "degC", "degC"]
    values = result.scores["model"]["field_rmse[sst degC]"]
    assert float(lines[4].split()[1].strip("*")) == pytest.approx(values["mean_over_leads"], rel=1e-3)
    at = lines.index("RMSE of u10 in m s-1 by lead time (h)")
    assert lines[at + 1].split()[1:] == ["+6", "+12", "+18", "+30", "+36", "+42", "+48", "+60", "+66", "+72"]
    assert not any(word in "\n".join(lines) for word in ("rain", "CSI", "frames ahead)"))
