"""The board: records compared, ranked and turned into rows and columns."""
