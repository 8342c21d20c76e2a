"""`clickflow doctor`: what is missing or wrong on this machine, and how to repair it."""
