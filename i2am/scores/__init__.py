"""IMACS: how well a map agrees with a mask."""
