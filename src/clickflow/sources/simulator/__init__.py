"""A simulated shop whose true probabilities are known."""
