"""Evaluations side by side: the table, whether IMACS follows quality, and how much of that hangs on lambda and threshold."""
