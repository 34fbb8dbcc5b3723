"""A new score of rain: its formula and its entry in the table bring it into files, tables and charts."""

from convlstm.evaluation import table, write_scores
from convlstm.metrics import events, rain
from convlstm.metrics.events import ratio
from convlstm.metrics.table import HIGHER, RAIN, TABLE, Score
from convlstm.report import score_curves
from tests.support.pages import Rain, cells, charts, evaluation, of, page, read

import numpy as np


def with_threat_score(counts):
    """Returns the scores of contingency tables, with the equitable threat score among them."""
    hits, misses, false_alarms, negatives = np.moveaxis(counts, -1, 0)
    chance = (hits + misses) * (hits + false_alarms) / (hits + misses + false_alarms + negatives)
    ets = ratio(hits - chance, hits + misses + false_alarms - chance)
    return events.table_scores(counts) | {"ets": ets}


def test_a_formula_and_an_entry_are_enough(monkeypatch, tmp_path):
    entry = Score("ETS at {at}", "equitable threat score", HIGHER, heading=("ETS", "{short}"), chart=True)
    for part in (RAIN, TABLE):
        monkeypatch.setitem(part, "ets", entry)
    monkeypatch.setattr(rain, "table_scores", with_threat_score)
    result = evaluation(rain=Rain())
    write_scores(tmp_path, result)
    assert "model,ets@2mmh,1,mean over leads," in (tmp_path / "metrics.csv").read_text()
    assert '"ets@2mmh": "1"' in (tmp_path / "metrics.json").read_text()
    assert "ETS" in table(result).splitlines()[1]
    root = read(page(tmp_path, result, rain=Rain()))
    assert "ETS at 2 mm/h" in charts(of("leads", root))
    assert "ETS 2 mm/h" in cells(of("scores", root), "Rain, means over the lead times")[0]
    assert cells(of("scores", root), "All scores, over all lead times and pixels")[1]["ETS at 5 mm/h"][-1] == "ets@5mmh"
    assert len(score_curves(None, result.scores, "ets").axes) == 4
