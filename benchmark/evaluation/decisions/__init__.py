"""Decisions made with probabilities: at a threshold, in sets, with other shares of the classes, at a benefit."""
