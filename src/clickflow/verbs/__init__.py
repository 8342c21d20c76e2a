"""What `clickflow VERB` does: one short function per verb, which calls its room. The program is `clickflow.cli`."""
