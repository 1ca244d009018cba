"""Data sets: opened from any source, prepared once, split without leaks, audited."""
