"""How far a map can be trusted: what it says matters, cut, against what it says does not."""
