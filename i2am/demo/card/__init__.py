"""The model card and every other figure that a page tells, written from the committed JSON."""
