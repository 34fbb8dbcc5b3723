"""Correctness, speed and training on a GPU in half an hour: `python -m benchmarks.gpu`."""
