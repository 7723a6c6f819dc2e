"""The bundled model in use: the demo run, its training, its evaluation, its card."""
