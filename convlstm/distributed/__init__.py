"""Distributed training: the processes that train together, their launch, and the watchdog that ends them together."""
