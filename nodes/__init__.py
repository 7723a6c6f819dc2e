"""The nodes: thin steps from a ComfyUI graph to the library `i2am`, without mathematics of their own."""
