"""Cuts and edits of a run, at the same noise."""
