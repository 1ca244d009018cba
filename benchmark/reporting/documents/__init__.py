"""Documents: the board as Markdown and LaTeX, checklists, reports and the gallery."""
