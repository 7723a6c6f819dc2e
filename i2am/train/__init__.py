"""Training of the paper's custom try-on model."""
