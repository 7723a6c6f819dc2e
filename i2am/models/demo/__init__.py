"""The bundled try-on model and its weights."""
