"""The training loop, batches and checkpoints."""
