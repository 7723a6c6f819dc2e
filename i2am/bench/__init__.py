"""What recording costs: time, memory, size."""
