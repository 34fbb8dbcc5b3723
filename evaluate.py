"""Scores and draws forecasts: `python evaluate.py ckpt=runs/quickstart`. The same as `convlstm evaluate`."""

from convlstm.cli.evaluate import main

if __name__ == "__main__":
    main()
