"""What a person opens: the first look, the score card, the report."""
