"""The README and the documentation: every command, snippet, table and link in them."""
