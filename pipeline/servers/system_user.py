"""The user that Postgres runs as when Tocsin runs as root: Postgres refuses to be root.

It is a system user without a shell. It may pass through the folders that lead to the program and to its data,
and into nothing else: each folder that is closed to it gets an access rule for this one user (a POSIX ACL).
"""

from __future__ import annotations

import errno
import os
import pwd
import struct
import subprocess
from pathlib import Path

import structlog

from pipeline.errors import ServerStartFailed

log = structlog.get_logger()

NAME = "embedded_postgres"

# The extended attribute of a POSIX ACL (Linux, include/uapi/linux/posix_acl_xattr.h): a version, then entries.
_ATTRIBUTE = "system.posix_acl_access"
_version = struct.Struct("<I")
_entry = struct.Struct("<HHI")
_OWNER, _USER, _GROUP_OWNER, _MASK, _OTHER = 0x01, 0x02, 0x04, 0x10, 0x20
_NOBODY = 0xFFFFFFFF
_SEARCH = 0o1


def system_user() -> pwd.struct_passwd:
    """The user, made when there is none. Raises ServerStartFailed."""
    try:
        return pwd.getpwnam(NAME)
    except KeyError:
        pass
    command = ["useradd", "--system", "--user-group", "--no-create-home", "--shell", "/usr/sbin/nologin", NAME]
    try:
        subprocess.run(command, check=True, capture_output=True, text=True)
        return pwd.getpwnam(NAME)
    except (OSError, subprocess.CalledProcessError, KeyError) as error:
        raise ServerStartFailed(
            f"Postgres does not run as root and the user {NAME} could not be made ({error}); make it, run Tocsin "
            "as another user, or set TOCSIN_DATABASE_URL"
        ) from error


def let_pass(user: pwd.struct_passwd, path: Path) -> None:
    """Let the user through every folder above `path`; it gets no right to list or read them."""
    for folder in path.resolve().parents:
        if not _may_pass(user, folder):
            log.info("folder_opened_to_user", folder=str(folder), user=user.pw_name)
            try:
                os.setxattr(folder, _ATTRIBUTE, _with_search(user.pw_uid, folder))
            except OSError as error:
                if error.errno != errno.ENOTSUP:
                    raise ServerStartFailed(f"cannot let {user.pw_name} pass {folder}: {error.strerror}") from error
                folder.chmod(folder.stat().st_mode | _SEARCH)


def _may_pass(user: pwd.struct_passwd, folder: Path) -> bool:
    status = folder.stat()
    if status.st_uid == user.pw_uid:
        return bool(status.st_mode & 0o100)
    entries = _entries(folder)
    # A later chmod leaves the rule and closes the mask that bounds it.
    mask = next((rights for tag, rights, _ in entries if tag == _MASK), 0)
    for tag, rights, name in entries:
        if tag == _USER and name == user.pw_uid:
            return bool(rights & mask & _SEARCH)
    return bool(status.st_mode & (0o010 if status.st_gid == user.pw_gid else _SEARCH))


def _entries(folder: Path) -> list[tuple[int, int, int]]:
    try:
        data = os.getxattr(folder, _ATTRIBUTE)
    except OSError:  # no rules beyond the mode
        return []
    return [_entry.unpack_from(data, at) for at in range(_version.size, len(data), _entry.size)]


def _with_search(uid: int, folder: Path) -> bytes:
    """The access rules of a folder, and search for one user more."""
    mode = folder.stat().st_mode
    entries = _entries(folder) or [
        (_OWNER, mode >> 6 & 7, _NOBODY),
        (_GROUP_OWNER, mode >> 3 & 7, _NOBODY),
        (_OTHER, mode & 7, _NOBODY),
    ]
    mask = next((rights for tag, rights, _ in entries if tag == _MASK), mode >> 3 & 7)
    kept = [e for e in entries if e[0] != _MASK and not (e[0] == _USER and e[2] == uid)]
    kept += [(_USER, _SEARCH, uid), (_MASK, mask | _SEARCH, _NOBODY)]
    return _version.pack(2) + b"".join(_entry.pack(*e) for e in sorted(kept, key=lambda e: (e[0], e[2])))
