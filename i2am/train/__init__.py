"""Trains a model of the paper's custom kind."""
