"""Prints what a model is made of: `python summary.py model=simvp`. The same as `convlstm summary`."""

from convlstm.cli.summary import main

if __name__ == "__main__":
    main()
