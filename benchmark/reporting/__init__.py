"""Reporting: records turned into a leaderboard, its documents, figures and page."""
