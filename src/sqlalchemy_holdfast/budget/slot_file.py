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
  table of what it holds (:class:`~sqlalchemy_holdfast.budget.sharing.Budget`).

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
from collections.abc import Callable, Container
from typing import TypeVar

from .._outside import raised_inside
from ..errors import BudgetUnavailable

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

__all__ = ["LINE", "MEMBERS", "SLOTS", "SlotFile", "SlotFileError", "can_share", "default_directory"]

T = TypeVar("T")

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
        opened: list[int] = []
        if not self._is_open():
            self._fd = -1  # the number may be another's by now, or the one that comes next
        try:
            try:
                _open_directory(directory, opened)
                identity = _open_file(self.name, opened)
                # Before any lock is taken: should both be the same file, this frees the new one's too.
                self.close()
                self.path, self._fd, self._identity = path, opened[-1], identity
            finally:
                self._close_others(opened)
        except _Unsafe as unsafe:
            raise _unavailable(path, str(unsafe)) from None
        except SlotFileError as error:
            raise _unavailable(path, str(error)) from error
        finally:
            self._close_others(opened)  # again: an exception from outside may have come just before

    def intact(self) -> bool:
        """Whether the descriptor is still the file's, and the file is still the one under its name."""
        try:
            there = _ask(lambda: os.stat(self.path, follow_symlinks=False))
        except SlotFileError:
            return False
        return self._is_open() and self._identity == (there.st_dev, there.st_ino)

    def lock(self, byte: int) -> bool:
        """Lock one byte, if no other process has it. One that this process has itself counts as locked.

        :raises SlotFileError: when the descriptor is gone or the system has no more locks.
        """
        try:
            _ask(lambda: fcntl.fcntl(self._fd, fcntl.F_SETLK, _flock(fcntl.F_WRLCK, byte, 1)))
        except SlotFileError as error:
            if error.number in (errno.EAGAIN, errno.EACCES):
                return False
            raise
        return True

    def unlock(self, area: range) -> None:
        """Free what this process has of an area. Harmless when that is nothing, or the descriptor is gone."""
        try:
            _ask(lambda: fcntl.fcntl(self._fd, fcntl.F_SETLK, _flock(fcntl.F_UNLCK, area.start, len(area))))
        except SlotFileError:
            pass

    def find(self, area: range) -> range | None:
        """Find bytes that another process has locked: any of those in the area, not necessarily the first.

        The answer is the whole of one lock, which may reach beyond the area.

        :raises SlotFileError: when the descriptor is gone.
        """
        if not area:
            return None
        answer = _ask(lambda: fcntl.fcntl(self._fd, fcntl.F_GETLK, _flock(fcntl.F_WRLCK, area.start, len(area))))
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
            header = _HEADER.match(_ask(lambda: os.pread(self._fd, 256, 0)))
        except SlotFileError:
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
            _ask(lambda: os.pwrite(self._fd, header + _EXPLANATION, 0))
        except SlotFileError:
            pass

    def close(self) -> None:
        """Close the descriptor. All locks of this process are gone then."""
        is_open = self._is_open()
        fd, self._fd = self._fd, -1
        if is_open:
            os.close(fd)

    def _is_open(self) -> bool:
        """Say whether the descriptor is ours: not closed by somebody, and its number another's by now."""
        try:
            own = _ask(lambda: os.fstat(self._fd))
        except SlotFileError:
            return False
        return self._identity == (own.st_dev, own.st_ino)

    def _close_others(self, opened: list[int]) -> None:
        while opened:
            if opened[-1] == self._fd:
                opened.pop()
            else:
                os.close(opened.pop())  # never twice: by then the number may be another's


class SlotFileError(Exception):
    """The system does not do what the file needs: its descriptor is gone, or there are no more locks."""

    def __init__(self, error: OSError) -> None:
        super().__init__(error.strerror or str(error))
        self.number = error.errno
        """What the system calls it (``errno``)."""


def _ask(system: Callable[[], T]) -> T:
    """Call the system.

    :raises SlotFileError: for what it refuses. A signal's handler may raise anything, in the middle of anything. What
        it raises is passed on, also when it is an ``OSError``, as ``TimeoutError`` is.
    """
    try:
        return system()
    except OSError as error:
        if not raised_inside(error, system):
            raise
        raise SlotFileError(error) from error


class _Unsafe(Exception):
    """What is wrong with a place, as half a sentence."""


def _unavailable(path: str, reason: str) -> BudgetUnavailable:
    return BudgetUnavailable(
        f"holdfast cannot share connections between processes through {path}: {reason}. "
        "Set holdfast_budget_directory to a directory that belongs to this user alone (mode 0700), or remove what is "
        "in the way."
    )


def _open_directory(path: str, opened: list[int]) -> None:
    """Add the directory's descriptor to those that are open."""
    try:
        _ask(lambda: os.mkdir(path, 0o700))
    except SlotFileError as error:
        if error.number != errno.EEXIST:
            raise
    flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        _ask(lambda: opened.append(os.open(path, flags)))
    except SlotFileError as error:
        if error.number in (errno.ELOOP, errno.ENOTDIR, errno.EMLINK):
            raise _Unsafe(f"{path} is a symbolic link or not a directory") from None
        raise
    found = _ask(lambda: os.fstat(opened[-1]))
    if found.st_uid != os.geteuid():
        raise _Unsafe(f"{path} belongs to user {found.st_uid}, not to this process's user {os.geteuid()}")
    if found.st_mode & 0o077:
        raise _Unsafe(f"others may use {path} (mode {stat.S_IMODE(found.st_mode):04o})")


def _open_file(name: str, opened: list[int]) -> tuple[int, int]:
    """Add the file's descriptor to those that are open, behind its directory's, and return the file's identity."""
    flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
    folder = opened[-1]
    for _ in range(100):
        try:
            _ask(lambda: opened.append(os.open(name, flags, 0o600, dir_fd=folder)))
        except SlotFileError as error:
            if error.number == errno.ELOOP:
                raise _Unsafe("it is a symbolic link") from None
            if error.number == errno.EISDIR:
                raise _Unsafe("it is not a regular file") from None
            raise
        found = _ask(lambda: os.fstat(opened[-1]))
        if found.st_nlink:
            break
        os.close(opened.pop())  # somebody deleted it between our opening it and looking at it
    if not stat.S_ISREG(found.st_mode):
        raise _Unsafe("it is not a regular file")
    if found.st_uid != os.geteuid():
        raise _Unsafe(f"it belongs to user {found.st_uid}, not to this process's user {os.geteuid()}")
    if found.st_nlink != 1:
        raise _Unsafe(f"it has {found.st_nlink} names (hard links)")
    return found.st_dev, found.st_ino


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
