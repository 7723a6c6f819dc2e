"""ComfyUI as a host."""
