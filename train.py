"""Trains a forecaster: `python train.py experiment=quickstart`. The same as `convlstm train`."""

from convlstm.cli.__main__ import start

if __name__ == "__main__":
    start("train")
