"""Why a model answers what it answers: the steps that mattered, what would have changed it, features, neighbours.

All of it is said of the model: what it makes of a history, not what made the visitor do it. See docs/howto/explain.md.
"""
