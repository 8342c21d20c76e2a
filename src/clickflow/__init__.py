"""clickflow: from a shop's click log to a promoted model, by one graph."""

__version__ = "0.1.0"
