"""Measures the bundled model against the drawn truth."""
