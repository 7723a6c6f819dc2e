"""Which tokens, cells and pixels: layouts, grids, masks, shapes, and resizing between them."""
