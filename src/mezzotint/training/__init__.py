"""Training: one loop for every family, optimizers and their rates, the moving average of weights."""
