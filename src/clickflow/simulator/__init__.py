"""A shop with a known truth."""
