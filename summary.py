"""Prints what a model is made of: `python summary.py model=simvp`. The same as `convlstm summary`."""

from convlstm.cli.__main__ import start

if __name__ == "__main__":
    start("summary")
