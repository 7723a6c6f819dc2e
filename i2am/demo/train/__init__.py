"""Trains the bundled model from drawn pairs."""
