"""Executors: where workers run. The local one here; the interface (``base``) is narrow enough for others."""
