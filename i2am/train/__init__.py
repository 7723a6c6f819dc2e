"""Trains the paper's custom try-on model on a VITON-HD folder: `python -m i2am.train`; needs `pip install 'i2am[train]'`."""
