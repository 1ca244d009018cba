"""A hook of MkDocs: docstrings name things by Sphinx's roles, which the site shows as plain code."""

import re
from typing import Any

_ROLE = re.compile(r":(?:class|func|meth|mod|attr):(<code[^>]*>)(?:~[\w.]*?(?=\w+</code>))?")


def on_page_content(html: str, **_: Any) -> str:
    """Take ``:class:`` and the like away; ``~a.b.C`` becomes ``C``."""
    return _ROLE.sub(r"\1", html)
