"""Forecasters scored side by side, and the files and tables of their scores."""

from convlstm.evaluation.files import write_scores
from convlstm.evaluation.scoring import Evaluation, evaluate
from convlstm.evaluation.tables import table

__all__ = ["Evaluation", "evaluate", "table", "write_scores"]
