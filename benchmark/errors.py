"""The one exception for what a user did wrong."""

from collections.abc import Iterator
from contextlib import contextmanager


class UserError(Exception):
    """Something the user can mend.

    The message is one sentence that says what is wrong, where, and what to do. The command line prints it
    without a traceback and exits with code 2; anything else that escapes is a bug of ours.
    """


@contextmanager
def writing(target: str) -> Iterator[None]:
    """Tell the user in one sentence where the block can't write.

    Args:
        target: what it writes, as the sentence begins: ``--out results``.

    Raises:
        UserError: the block raised ``OSError``.
    """
    try:
        yield
    except OSError as error:
        raise UserError(f"{target} can't be written: {error.strerror or error}.") from None


def nearest(name: str, names: "list[str] | tuple[str, ...]") -> str:
    """Return `` Did you mean 'x'?`` for the known name nearest to ``name``, or an empty string."""
    import difflib

    close = difflib.get_close_matches(name, names, n=1, cutoff=0.5)
    return f" Did you mean '{close[0]}'?" if close else ""
