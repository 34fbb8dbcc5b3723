"""The CPU's kernels: C++ that is compiled once on the machine, and called as operations of MLX's graph."""
