"""Tuning: params of a model tried one after the other, and judged on the validation part.

`tune.py` and what it imports need no torch: only trials, which are processes of their own, load it.
"""

MARK = "clickflow-trial: "
"""Begins a line that a trial says to the process that started it; a JSON object follows."""
