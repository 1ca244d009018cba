"""What boards of many rows need: all pairs at once, and what was computed before."""
