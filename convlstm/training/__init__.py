"""Training: the loop, the step, the settings, learning-rate schedules and optimizers."""
