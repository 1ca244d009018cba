"""Who else may write to a file or folder: what decides whether its content can be trusted."""

import errno
import os
import stat
from pathlib import Path

if os.name == "posix":
    import grp
    import pwd

PRIVATE_FOLDER, PRIVATE_FILE = 0o755, 0o644  # modes with which others may read, and not write


def other_writers(path: Path) -> str:
    """Return in a clause who beside this user may write to a path, empty where nobody may or it is not there.

    Root may write everywhere and is no other. A group of this user alone, as many systems give to each user, is none
    either. What access control lists allow beyond owner, group and others is not seen.
    """
    if os.name != "posix":
        return ""
    try:
        status = path.stat()
    except OSError:
        return ""
    if status.st_uid not in (os.geteuid(), 0):
        return f"it belongs to user {_user(status.st_uid)}"
    if status.st_mode & stat.S_IWOTH and not (path.is_dir() and status.st_mode & stat.S_ISVTX):
        return "every user of this machine may write to it"
    if status.st_mode & stat.S_IWOTH:
        return "every user of this machine may add files to it"
    if status.st_mode & stat.S_IWGRP and not _is_private(status.st_gid):
        return f"group {_group(status.st_gid)} may write to it"
    return ""


def make_private(folder: Path) -> None:
    """Make a folder, with those above it that are missing, such that nobody else may write there whatever the umask.

    Raises:
        OSError: it can't be made.
    """
    for missing in reversed([place for place in (folder, *folder.parents) if not place.exists()]):
        missing.mkdir(mode=PRIVATE_FOLDER, exist_ok=True)
    if not folder.is_dir():
        raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(folder))


def _is_private(group: int) -> bool:
    """Return whether a group is this user's own: of its name, and with nobody else in it."""
    try:
        user, entry = pwd.getpwuid(os.geteuid()), grp.getgrgid(group)
    except KeyError:
        return False
    return entry.gr_name == user.pw_name and user.pw_gid == group and set(entry.gr_mem) <= {user.pw_name}


def _user(number: int) -> str:
    try:
        return f"'{pwd.getpwuid(number).pw_name}'"
    except KeyError:
        return str(number)


def _group(number: int) -> str:
    try:
        return f"'{grp.getgrgid(number).gr_name}'"
    except KeyError:
        return str(number)
