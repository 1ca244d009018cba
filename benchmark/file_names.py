"""Names for people, made fit to be those of files and folders on any system."""


def file_name(text: str, *, longest: int = 80, dots: bool = True) -> str:
    """Return a text with a hyphen for whatever is no letter, digit, ``_``, ``-`` or, where they may stay, a dot.

    Args:
        longest: characters that are kept at most.
        dots: whether dots stay.
    """
    kept = "_-." if dots else "_-"
    return "".join(c if c.isalnum() or c in kept else "-" for c in text)[:longest]


def with_key(name: str, key: str) -> str:
    """Return ``<name>-<key8>``: the name of a folder that holds something of one run.

    Args:
        name: for people, such as the backbone's.
        key: the run's identity.
    """
    return f"{file_name(name, longest=60)}-{key[:8]}"
