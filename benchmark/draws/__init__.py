"""Draws: every random number of a run, drawn by NumPy as a function of seed, epoch, step and image."""
