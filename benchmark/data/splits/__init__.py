"""Splits: which images train, validate and test; patients are never parted unless asked for."""
