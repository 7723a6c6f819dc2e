"""The kinds of model that can be evaluated; a file for each."""

AUTO, DEMO, EDIT = "auto", "demo", "edit"
"""Families besides those of `models.families`: told from the weights; the bundled try-on model; the bundled edit model."""
