"""Answers from a champion."""
