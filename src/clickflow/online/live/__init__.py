"""What became of the answers: their log, live metrics by version, shadow, canary, and the rule that ends a canary."""
