"""Scores in parts: by the set that trained and the set that tested, and by what the test images have in common."""
