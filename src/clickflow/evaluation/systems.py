"""The names of the systems that are measured on the same rows, and of the files that hold their answers row by row."""

CANDIDATE, CHAMPION, ORACLE = "candidate", "champion", "oracle"
BEST = "best_champion"
"""The best champion of the past, where another is champion now (clickflow.registry.tries.best)."""
ONE_STEP = "one_step"
"""The candidate's answer for the next item, taken for the items of several next steps."""
PREDICTIONS, AHEAD, ACTIONS = "predictions.parquet", "ahead.parquet", "actions.parquet"
"""The rows of next_item, next_items and next_action, in the folder of the evaluation."""
ROWS = (PREDICTIONS, AHEAD, ACTIONS)
