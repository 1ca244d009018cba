"""The one exception for what a user did wrong."""


class UserError(Exception):
    """Something the user can mend.

    The message is one sentence that says what is wrong, where, and what to do. The command line prints it
    without a traceback and exits with code 2; anything else that escapes is a bug of ours.
    """


def nearest(name: str, names: "list[str] | tuple[str, ...]") -> str:
    """Return `` Did you mean 'x'?`` for the known name nearest to ``name``, or an empty string."""
    import difflib

    close = difflib.get_close_matches(name, names, n=1, cutoff=0.5)
    return f" Did you mean '{close[0]}'?" if close else ""
