"""Preparation: a source decoded once, to one size, into arrays on disk that are memory-mapped."""
