"""Builds models as ComfyUI's own MODEL and VAE. Import only inside ComfyUI."""
