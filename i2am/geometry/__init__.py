"""Tokens, cells and pixels: layouts, token grids, masks, shapes, and resizing between grids."""
