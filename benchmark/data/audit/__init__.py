"""The audit: duplicates, leaks between the parts, and what images give away without any network."""
