"""The page: the board as one offline HTML file."""
