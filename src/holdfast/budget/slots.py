"""The file that the processes share, its locks, and its header.

What counts is the kernel's locks alone. They lie behind the file's data, where they need no disk space:

========= ==================================================================================
SLOTS     one byte for each connection that may be open
MEMBERS   one byte for each process that holds a slot or waits for one
LINE      one byte for each process that waits; the lower, the earlier. The numbers only grow
          until the line is empty, so a waiter never has to move up, and a dead one leaves a gap
========= ==================================================================================

The locks are POSIX record locks, because they are a process's own: a forked child has none of its parent's, and a
parent that is killed frees its own even while children live. An open-file-description lock belongs to the descriptor,
which children inherit. POSIX locks have two weaknesses, and both decide how this module is used:

* they vanish when *any* descriptor of the file is closed in the process. So a process opens the file once, and closes
  that descriptor only when it belongs to a file that was deleted;
* they do not exclude threads of one process. So a process has one :class:`SlotFile` for a file, and its user keeps a
  table of what it holds (:class:`~holdfast.budget.sharing.Budget`).

The file may be deleted, replaced or overwritten at any time, and the descriptor closed by a program that makes itself
a daemon: :meth:`SlotFile.intact` tells, :meth:`SlotFile.open` opens anew. The header is a hint at the limit for
processes that have not asked the server yet; whatever is not exactly a header counts as no hint.
"""

from __future__ import annotations

import errno
import hashlib
import os
import re
import stat
import struct
import sys
import tempfile
import zlib
from collections.abc import Container

from ..errors import BudgetUnavailable

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

__all__ = ["LINE", "MEMBERS", "SLOTS", "SlotFile", "can_share", "default_directory"]

SLOTS = range(1 << 20, 1 << 21)
MEMBERS = range(1 << 24, 1 << 25)
LINE = range(1 << 40, 1 << 60)

_HEADER = re.compile(rb"holdfast slots 1 limit=(\d{1,7}) headroom=(\d{1,7}) ([0-9a-f]{8})\n")
_EXPLANATION = b"Locks on this file count an account's open database connections. It may be deleted at any time.\n"


_NEEDED = ("O_CLOEXEC", "O_DIRECTORY", "O_NOFOLLOW", "O_NONBLOCK", "geteuid", "pread", "pwrite")


def can_share() -> bool:
    """Say whether this system has what sharing needs: the POSIX record locks of Linux or macOS, and files that are a
    user's own."""
    return fcntl is not None and sys.platform in ("linux", "darwin") and all(hasattr(os, name) for name in _NEEDED)


def default_directory() -> str:
    """Where slot files lie when no directory is set: in memory where the system has a place for that.

    It is named after the effective user, which a server that started as root changes after it has imported the site.
    """
    memory = "/dev/shm"
    usable = (
        sys.platform == "linux"
        and os.path.isdir(memory)
        and os.access(memory, os.W_OK, effective_ids=os.access in os.supports_effective_ids)
    )
    user = os.geteuid() if hasattr(os, "geteuid") else "user"  # Windows: there is never such a directory
    return os.path.join(memory if usable else tempfile.gettempdir(), f"holdfast-{user}")


class SlotFile:
    """One slot file as one process sees it. Not thread-safe: its user holds a lock around every call.

    :param key: what the slots are for, as text that the processes agree on. Only its hash is written anywhere.
    :param directory: where the file lies; made when it is missing. ``None`` is :func:`default_directory`.
    """

    def __init__(self, key: str, directory: str | None = None) -> None:
        self.name = hashlib.sha256(key.encode("utf-8", "surrogateescape")).hexdigest()[:32] + ".slots"
        self.directory = directory
        self.path = ""
        """Where the file was opened last."""
        self._fd = -1
        self._identity: tuple[int, int] | None = None

    def exists(self) -> bool:
        """Say whether there is such a file, whatever it is."""
        return os.path.lexists(os.path.join(self.directory or default_directory(), self.name))

    def open(self) -> None:
        """Open the file, or open it anew. All locks of this process are gone then, and have to be taken again.

        :raises BudgetUnavailable: when there is no safe place for it, or the system has no such locks.
        """
        if not can_share():
            raise BudgetUnavailable(
                f"holdfast cannot share connections between processes on {sys.platform}: it needs the POSIX record "
                "locks of Linux or macOS. Set holdfast_budget=off."
            )
        directory = self.directory or default_directory()
        path = os.path.join(directory, self.name)
        try:
            folder = _open_directory(directory)
            try:
                fd, identity = _open_file(self.name, folder)
            finally:
                os.close(folder)
        except _Unsafe as unsafe:
            raise _unavailable(path, str(unsafe)) from None
        except OSError as error:
            raise _unavailable(path, error.strerror or str(error)) from error
        if fd != self._fd:  # or somebody has closed ours, and this is the same number
            self._close()  # before any lock is taken: should both be the same file, this frees the new one's too
        self.path, self._fd, self._identity = path, fd, identity

    def intact(self) -> bool:
        """Whether the descriptor is still the file's, and the file is still the one under its name."""
        try:
            own, there = os.fstat(self._fd), os.stat(self.path, follow_symlinks=False)
        except OSError:
            return False
        return self._identity == (own.st_dev, own.st_ino) == (there.st_dev, there.st_ino)

    def lock(self, byte: int) -> bool:
        """Lock one byte, if no other process has it. One that this process has itself counts as locked.

        :raises OSError: when the descriptor is gone or the system has no more locks.
        """
        try:
            fcntl.fcntl(self._fd, fcntl.F_SETLK, _flock(fcntl.F_WRLCK, byte, 1))
        except OSError as error:
            if error.errno in (errno.EAGAIN, errno.EACCES):
                return False
            raise
        return True

    def unlock(self, area: range) -> None:
        """Free what this process has of an area. Harmless when that is nothing, or the descriptor is gone."""
        try:
            fcntl.fcntl(self._fd, fcntl.F_SETLK, _flock(fcntl.F_UNLCK, area.start, len(area)))
        except OSError:
            pass

    def find(self, area: range) -> range | None:
        """Find bytes that another process has locked: any of those in the area, not necessarily the first.

        The answer is the whole of one lock, which may reach beyond the area.

        :raises OSError: when the descriptor is gone.
        """
        if not area:
            return None
        answer = fcntl.fcntl(self._fd, fcntl.F_GETLK, _flock(fcntl.F_WRLCK, area.start, len(area)))
        kind, start, length = _read_flock(answer)
        if kind == fcntl.F_UNLCK:
            return None
        return range(start, start + length if length else LINE.stop)

    def count(self, area: range) -> int:
        """Count the bytes in the area that other processes have locked."""
        found, parts = 0, [area]
        while parts:
            part = parts.pop()
            other = self.find(part)
            if other is not None:
                start, stop = max(other.start, part.start), min(other.stop, part.stop)
                found += stop - start
                parts += [range(part.start, start), range(stop, part.stop)]
        return found

    def first_free(self, area: range, own: Container[int] = ()) -> int | None:
        """Find the first byte in the area that nobody has locked; ``own`` are the bytes that this process has."""
        byte = area.start
        while byte < area.stop:
            if byte in own:
                byte += 1
                continue
            other = self.find(range(byte, byte + 1))
            if other is None:
                return byte
            byte = other.stop
        return None

    def read_hint(self) -> tuple[int, int] | None:
        """Read the limit and the headroom that some process has written, or ``None``."""
        try:
            header = _HEADER.match(os.pread(self._fd, 256, 0))
        except OSError:
            return None
        if header is None or _checksum(header[1], header[2]) != header[3]:
            return None
        return int(header[1]), int(header[2])

    def write_hint(self, limit: int, headroom: int) -> None:
        """Write the limit for processes that do not know it yet. A full disk does not matter."""
        if self.read_hint() == (limit, headroom):
            return
        numbers = b"%d" % limit, b"%d" % headroom
        header = b"holdfast slots 1 limit=%s headroom=%s %s\n" % (*numbers, _checksum(*numbers))
        try:
            os.pwrite(self._fd, header + _EXPLANATION, 0)
        except OSError:
            pass

    def _close(self) -> None:
        """Close the descriptor, unless its number is somebody else's by now."""
        try:
            own = os.fstat(self._fd)
            if self._identity == (own.st_dev, own.st_ino):
                os.close(self._fd)
        except OSError:
            pass


class _Unsafe(Exception):
    """What is wrong with a place, as half a sentence."""


def _unavailable(path: str, reason: str) -> BudgetUnavailable:
    return BudgetUnavailable(
        f"holdfast cannot share connections between processes through {path}: {reason}. "
        "Set holdfast_budget_directory to a directory that belongs to this user alone (mode 0700), or remove what is "
        "in the way."
    )


def _open_directory(path: str) -> int:
    try:
        os.mkdir(path, 0o700)
    except FileExistsError:
        pass
    try:
        fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.ENOTDIR, errno.EMLINK):
            raise _Unsafe(f"{path} is a symbolic link or not a directory") from None
        raise
    try:
        found = os.fstat(fd)
        if found.st_uid != os.geteuid():
            raise _Unsafe(f"{path} belongs to user {found.st_uid}, not to this process's user {os.geteuid()}")
        if found.st_mode & 0o077:
            raise _Unsafe(f"others may use {path} (mode {stat.S_IMODE(found.st_mode):04o})")
    except BaseException:
        os.close(fd)
        raise
    return fd


def _open_file(name: str, folder: int) -> tuple[int, tuple[int, int]]:
    flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
    for _ in range(100):
        try:
            fd = os.open(name, flags, 0o600, dir_fd=folder)
        except OSError as error:
            if error.errno == errno.ELOOP:
                raise _Unsafe("it is a symbolic link") from None
            if error.errno == errno.EISDIR:
                raise _Unsafe("it is not a regular file") from None
            raise
        found = os.fstat(fd)
        if found.st_nlink:
            break
        os.close(fd)  # somebody deleted it between our opening it and looking at it
    try:
        if not stat.S_ISREG(found.st_mode):
            raise _Unsafe("it is not a regular file")
        if found.st_uid != os.geteuid():
            raise _Unsafe(f"it belongs to user {found.st_uid}, not to this process's user {os.geteuid()}")
        if found.st_nlink != 1:
            raise _Unsafe(f"it has {found.st_nlink} names (hard links)")
    except BaseException:
        os.close(fd)
        raise
    return fd, (found.st_dev, found.st_ino)


def _flock(kind: int, start: int, length: int) -> bytes:
    if sys.platform == "darwin":
        return struct.pack("@qqihh0q", start, length, 0, kind, os.SEEK_SET)
    return struct.pack("@hhqqi0q", kind, os.SEEK_SET, start, length, 0)


def _read_flock(answer: bytes) -> tuple[int, int, int]:
    if sys.platform == "darwin":
        start, length, _, kind, _ = struct.unpack("@qqihh0q", answer)
    else:
        kind, _, start, length, _ = struct.unpack("@hhqqi0q", answer)
    return kind, start, length


def _checksum(limit: bytes, headroom: bytes) -> bytes:
    return b"%08x" % zlib.crc32(b"holdfast %s %s" % (limit, headroom))
