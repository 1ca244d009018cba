"""Text of unknown origin, made fit to be shown."""


def plain(text: str) -> str:
    """Return a text on one line, without what steers a terminal, turns the order of letters or can't be encoded.

    Spaces of any kind become one; any other character that is not printable becomes ``\\ufffd``.
    """
    return " ".join("".join(c if c.isprintable() else " " if c.isspace() else "\ufffd" for c in text).split())
