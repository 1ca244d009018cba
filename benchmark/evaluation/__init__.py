"""Evaluation: scores, intervals and comparisons, computed from probabilities alone."""
