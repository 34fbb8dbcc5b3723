"""Forecasts from the newest frames: `python forecast.py ckpt=... input=...`. The same as `convlstm forecast`."""

from convlstm.cli.forecast import main

if __name__ == "__main__":
    main()
