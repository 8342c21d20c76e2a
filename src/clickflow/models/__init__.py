"""Encoders, heads, losses, and the exported artefact."""
