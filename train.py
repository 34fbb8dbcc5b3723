"""Trains a forecaster: `python train.py experiment=quickstart`. The same as `convlstm train`."""

from convlstm.cli.train import main

if __name__ == "__main__":
    main()
