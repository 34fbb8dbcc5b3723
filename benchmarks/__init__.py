"""Speed and memory beside PyTorch on the same CPU: `python -m benchmarks`, and `.scaling`, `.memory`, `.profile`."""
