"""Tables for people with what is said of them, which ``leaderboard.md`` and the page show alike."""

from dataclasses import dataclass

from benchmark.reporting.documents.markdown_cells import escaped, text_table


@dataclass(frozen=True)
class PartTable:
    """A table of plain text.

    Args:
        head: its headings.
        lines: as many cells each.
        left: the headings of the columns of text, which stand to the left.
        label: what it shows, for who can't see it.
        heading: above it, where it stands apart from those before it.
    """

    head: list[str]
    lines: list[list[str]]
    left: tuple[str, ...]
    label: str
    heading: str = ""


@dataclass(frozen=True)
class Part:
    """What is said of one breakdown of a comparison group, or of its heat maps.

    Args:
        title: its heading.
        reading: how its tables are read.
        tables: one at least, or a picture.
    """

    title: str
    reading: str
    tables: tuple[PartTable, ...]

    def markdown(self, picture: str) -> list[str]:
        """Return its section of ``leaderboard.md``.

        Args:
            picture: the name of its figure without suffix, empty where there is none.
        """
        parts = [f"### {self.title}", *self.texts()]
        parts += [f"![{self.title}]({picture}.png)"] if picture else []
        for each in self.tables:
            if each.heading:
                parts += [f"#### {each.heading}", text_table(each.head, each.lines, each.left)]
        return parts

    def texts(self) -> list[str]:
        """Return how it is read, and its tables without a heading of their own."""
        tables = [text_table(each.head, each.lines, each.left) for each in self.tables if not each.heading]
        return [escaped(self.reading), *tables]
