"""Short runs of train.py under faults: what is tried, what survives, what is lost. `python -m soak --help`."""
