"""Forecasts from the newest frames: `python forecast.py ckpt=... input=...`. The same as `convlstm forecast`."""

from convlstm.cli.__main__ import start

if __name__ == "__main__":
    start("forecast")
