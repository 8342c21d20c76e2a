"""Tuning: params of a model tried one after the other, and judged on the valid part."""
