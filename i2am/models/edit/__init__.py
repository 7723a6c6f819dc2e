"""The bundled edit model: two references and the picture in one sequence, as FLUX does it."""
