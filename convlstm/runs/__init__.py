"""Runs: the files in a run's folder, how a run is resumed, its loggers, lists of runs and sweeps."""
