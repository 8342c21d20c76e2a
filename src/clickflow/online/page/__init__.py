"""The page for people: histories, the answer after every step, why, what if; segments, forecasts, models."""
