"""Data sets on disk, and single pictures from files."""
