"""What is measured: of a generated picture, of its maps, and of a whole set of pictures."""
