"""Checkpoint files of any kind, read without running what they hold."""
