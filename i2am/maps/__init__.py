"""What a recorded run leaves: the facts about it, its maps as one value, and that value as a file."""
