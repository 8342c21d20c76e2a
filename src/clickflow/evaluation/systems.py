"""The names of the systems that are measured on the same held-out rows.

The candidate is the model that was just trained and exported, the champion the registered version in use, the oracle
the true process of simulated data. Baselines have their own names.
"""

CANDIDATE, CHAMPION, ORACLE = "candidate", "champion", "oracle"
BEST = "best_champion"
"""The best champion of the past, where another is champion now (clickflow.registry.try_log.best)."""
ONE_STEP = "one_step"
"""The candidate's answer for the next item, taken for the items of several next steps."""
EVERYBODY = "everybody"
"""No system, but acting on everybody, beside which money is held."""
