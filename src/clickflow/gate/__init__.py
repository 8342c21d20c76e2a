"""Whether a candidate ships: rules, paired comparison, verdicts."""
