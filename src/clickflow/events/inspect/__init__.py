"""`clickflow inspect`: what a file seems to be, written as the block of params.yaml that reads it, and tried on it."""
