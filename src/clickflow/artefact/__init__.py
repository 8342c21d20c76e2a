"""The exported model, and how it is asked."""
