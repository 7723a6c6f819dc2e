"""The drawn world: people and garments whose true correspondence is known for every pixel."""
