"""Execution: runs are planned, placed on workers, watched and stored."""
