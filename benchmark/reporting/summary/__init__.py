"""What a board says in short: its answer, its doubts, and the sections of its table."""
