"""Comparisons of speed and memory with PyTorch on the same CPU: `python -m benchmarks`."""
