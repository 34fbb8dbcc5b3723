"""Scores and draws forecasts: `python evaluate.py ckpt=runs/quickstart`. The same as `convlstm evaluate`."""

from convlstm.cli.__main__ import start

if __name__ == "__main__":
    start("evaluate")
