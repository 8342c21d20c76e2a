"""Predictions of the champion: for one session, or for all of them."""
