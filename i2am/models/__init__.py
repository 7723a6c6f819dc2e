"""Families of models: what each takes and gives, and how its weights are read."""
