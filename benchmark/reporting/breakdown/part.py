"""A breakdown for people: what ``leaderboard.md`` and the page alike show of one."""

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
    """What is said of one breakdown of a comparison group.

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
        parts = [f"### {self.title}", escaped(self.reading)]
        parts += [text_table(each.head, each.lines, each.left) for each in self.tables if not each.heading]
        parts += [f"![{self.title}]({picture}.png)"] if picture else []
        for each in self.tables:
            if each.heading:
                parts += [f"#### {each.heading}", text_table(each.head, each.lines, each.left)]
        return parts
