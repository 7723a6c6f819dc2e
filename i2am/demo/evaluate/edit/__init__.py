"""Measures the bundled edit model against the drawn truth."""
