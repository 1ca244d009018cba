"""Duplicates: identical images, and near-duplicates found by perceptual hashes."""
