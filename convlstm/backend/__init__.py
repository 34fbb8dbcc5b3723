"""The machine: its BLAS, memory, files and signals, and the libraries that MLX compiles."""
