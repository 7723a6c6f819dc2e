"""Trains the bundled edit model from drawn groups."""
