"""All settings: the name, unit, default and range of each, and what it changes.

A setting is written in the URL as ``holdfast_<name>=<value>`` or given to ``create_engine`` as a keyword
argument of the same name. None is needed. What the values of the settings for passwords are, no error shows.
"""

from __future__ import annotations

import difflib
import inspect
import math
import os
import shlex
from collections.abc import Callable, Mapping, MutableMapping
from dataclasses import dataclass, field, fields
from typing import Any

from .errors import SettingError

__all__ = ["PREFIX", "SETTINGS", "Setting", "Settings"]

PREFIX = "holdfast_"
"""What every setting's name starts with, in the URL and as a keyword argument."""

_TRUE = frozenset({"1", "true", "yes", "on"})
_FALSE = frozenset({"0", "false", "no", "off"})
_KINDS = {
    "path": "the absolute path of a directory",
    "file": "the absolute path of a file",
    "command": "a command line",
    "function": "a function, as a keyword argument of create_engine",
}
"""Units of what is no number."""
_NEEDS_SHELL = frozenset({"|", "||", "&", "&&", ";", "<", ">", ">>", "2>", "2>&1"})
_SOURCES = ("holdfast_password", "holdfast_password_file", "holdfast_password_command")


@dataclass(frozen=True)
class Setting:
    """One row of the settings table."""

    name: str
    """Name without the ``holdfast_`` prefix."""
    default: bool | float | str | None
    """Value when nothing is given; ``None`` means off."""
    consequence: str
    """What the setting changes, and when to touch it."""
    unit: str = ""
    """Unit of a number; empty for a switch; ``path`` for a directory, ``file``, ``command``, ``function``."""
    minimum: float = 0.0
    """Smallest number accepted."""
    maximum: float = 0.0
    """Largest number accepted."""
    can_be_off: bool = False
    """Whether ``off`` is accepted in place of a number."""
    whole: bool = False
    """Whether the number must be a whole one."""
    word: str = ""
    """A word that is accepted in place of a number or a switch's two values."""
    choices: tuple[str, ...] = ()
    """The words that are accepted, where it is neither a number nor a switch nor a path."""
    none_means: str = "off"
    """What it means when nothing is given, where the default is ``None``."""

    @property
    def key(self) -> str:
        """The name as it is written in a URL or a keyword argument."""
        return PREFIX + self.name

    @property
    def accepts(self) -> str:
        """The accepted values, in words."""
        if self.choices:
            return f"{', '.join(self.choices[:-1])} or {self.choices[-1]}"
        if not self.unit:
            return f"true or false, or {self.word}" if self.word else "true or false"
        if self.unit == "file" and self.word:
            return f"the path of a file, or {self.word}"
        if self.unit in _KINDS:
            return f"{_KINDS[self.unit]}, or off"
        span = f"a {'whole ' * self.whole}number of {self.unit} from {self.minimum:g} to {self.maximum:g}"
        choices = [self.word] * bool(self.word) + [span] + ["off"] * self.can_be_off
        return ", or ".join(filter(None, [", ".join(choices[:-1]), choices[-1]]))

    def parse(self, value: object) -> Any:
        """Turn a URL's text or a keyword argument into the setting's value.

        :raises SettingError: when the value is not one that :attr:`accepts` describes.
        """
        word = value.strip().lower() if isinstance(value, str) else None
        if self.choices:
            if value is False and "off" in self.choices:
                return "off"
            if value is None and self.default is None:
                return None
            if word not in self.choices:
                raise self._refused(value)
            return word
        if not self.unit:
            if isinstance(value, bool):
                return value
            if word in _TRUE:
                return True
            if word in _FALSE:
                return False
            if self.word and word == self.word:
                return word
            raise self._refused(value)
        if self.can_be_off and (value is None or value is False or word in _FALSE - {"0"}):
            return None
        if self.unit == "function":
            return self._function(value)
        if self.unit == "command":
            return self._command(value)
        if self.unit == "file" and self.word:
            return self.word if word == self.word else value if value is None else self._file(value)
        if self.unit in _KINDS:
            return self._path(value)
        if self.word and word == self.word:
            return word
        if isinstance(value, bool) or not isinstance(value, (str, int, float)):
            raise self._refused(value)
        try:
            number = float(value)
        except (ValueError, OverflowError):
            raise self._refused(value) from None
        if not math.isfinite(number) or not self.minimum <= number <= self.maximum:
            raise self._refused(value)
        if self.whole and number != int(number):
            raise self._refused(value)
        return int(number) if self.whole else number

    def _path(self, value: object) -> str:
        if not isinstance(value, (str, os.PathLike)):
            raise self._refused(value)
        path = os.fspath(value)
        if not isinstance(path, str) or not os.path.isabs(path) or "\0" in path:
            raise self._refused(value)
        return path

    def _file(self, value: object) -> str:
        if not isinstance(value, (str, os.PathLike)):
            raise self._refused(value)
        path = os.fspath(value)
        if not isinstance(path, str) or not path or "\0" in path:
            raise self._refused(value)
        return os.path.abspath(path)  # a worker may go to another directory

    def _function(self, value: object) -> Callable[[], Any]:
        if not callable(value):
            raise SettingError(
                f"{self.key} takes {self.accepts}; what was given is none, and is not shown here. The function returns "
                "the password. A password itself belongs into the URL, into a file (holdfast_password_file), or comes "
                "from a command (holdfast_password_command)."
            )
        if inspect.iscoroutinefunction(value):
            raise SettingError(f"{self.key} takes {self.accepts}: an ordinary one, not one that is defined as async.")
        return value

    def _command(self, value: object) -> str:
        if isinstance(value, (list, tuple)) and all(isinstance(part, str) for part in value):
            value = shlex.join(value)
        try:
            parts = shlex.split(value) if isinstance(value, str) else []
        except ValueError:
            parts = []
        if not parts or not isinstance(value, str) or "\0" in value:
            raise SettingError(
                f"{self.key} takes {self.accepts} (or a list of its parts); what was given is none, or has a quotation "
                "mark without the other one, and is not shown here."
            )
        if found := _NEEDS_SHELL.intersection(parts):
            raise SettingError(
                f"{self.key} has {min(found)} in it, which only a shell understands, and holdfast runs the command "
                "without one. Give the shell as the command: sh -c 'first | second'."
            )
        return value

    def _refused(self, value: object) -> SettingError:
        default = self.none_means if self.default is None else f"{self.default}".lower()
        return SettingError(
            f"{self.key}={_shown(value)} is not accepted: {self.key} takes {self.accepts} (default {default})."
        )


SETTINGS: tuple[Setting, ...] = (
    Setting(
        "enabled",
        True,
        "Whether holdfast does anything. When this is off, the engine is exactly as SQLAlchemy made it. Use it to "
        "compare, or to find out whether a problem comes from holdfast.",
    ),
    Setting(
        "defer_rollback",
        True,
        "Whether a read may end without waiting for the reply to its ROLLBACK. holdfast sends the ROLLBACK at once and "
        "reads the reply before the connection is next used. When this is off, holdfast waits for every ROLLBACK, as "
        "stock SQLAlchemy does.",
    ),
    Setting(
        "pipeline",
        "auto",
        "Whether holdfast may send the next statement while the reply to such a ROLLBACK is still on its way. It reads "
        "both replies in order. With auto, it does not do so when it recognises something between the site and its "
        "server that may not accept it, such as MySQL Router. Then, and with false, it waits for the reply first. With "
        "true, it does so whatever it recognises. Needs defer_rollback.",
        word="auto",
    ),
    Setting(
        "reset",
        "off",
        "What happens to a session that a checkout has changed: a user variable, a temporary table, sql_mode, a named "
        "lock, USE, and so on. With off, the next user of the connection finds it changed, as with stock SQLAlchemy. "
        "With changed, holdfast puts the session back first, without one more wait for the server. A checkout that "
        "changes nothing costs nothing.",
        choices=("off", "changed"),
    ),
    Setting(
        "replay",
        True,
        "Whether the first statement of a checkout may run on a new connection when its own is lost. If nothing was "
        "sent yet, holdfast replaces the connection. If the statement was sent and only reads, holdfast repeats it on "
        "a new connection. When this is off, both raise the driver's error.",
    ),
    Setting(
        "probe_after_idle",
        30.0,
        "After which idle time a TCP connection makes one round trip before it is used. It is needed because a "
        "firewall that forgot the connection sends nothing that holdfast could notice. A shorter time finds a silent "
        "loss sooner, and costs quiet sites more round trips. When this is off, only the TCP settings below find a "
        "silent loss.",
        unit="seconds",
        minimum=0,
        maximum=86400,
        can_be_off=True,
    ),
    Setting(
        "probe_timeout",
        5.0,
        "How long that round trip may take. After this time holdfast replaces the connection. Five seconds are enough "
        "even when two packets are lost (TCP sends again after 0.2 s, 0.4 s, 0.8 s, 1.6 s).",
        unit="seconds",
        minimum=0.05,
        maximum=300,
    ),
    Setting(
        "keepalive_idle",
        60.0,
        "TCP keepalive: after which idle time the kernel checks the connection. It checks again after each sixth of "
        "that time, and gives the connection up after three checks without an answer. Firewalls and load balancers "
        "forget a connection that was idle for about a minute or more; keepalive prevents that. When this is off, the "
        "socket is as the driver made it.",
        unit="seconds",
        minimum=1,
        maximum=32767,
        can_be_off=True,
    ),
    Setting(
        "tcp_user_timeout",
        60.0,
        "TCP_USER_TIMEOUT: how long sent bytes may stay unacknowledged before the kernel gives the connection up. It "
        "works on Linux, whose own limit is about fifteen minutes. It never limits a slow query. It does cut off a "
        "server that reads nothing for this time, as LOAD DATA LOCAL may do while it waits for a row lock. The default "
        "is above the 50 s of innodb_lock_wait_timeout for that reason.",
        unit="seconds",
        minimum=1,
        maximum=3600,
        can_be_off=True,
    ),
    Setting(
        "budget",
        "learned",
        "How many connections all processes together may have. They share them when they run on one machine as one "
        "user, and use the same server with the same account. With learned, it is what the server says "
        "(max_user_connections, max_connections), if that is 200 or less. When this is off, processes do not share; "
        "holdfast still waits for a server that is full.",
        unit="connections",
        minimum=1,
        maximum=100000,
        can_be_off=True,
        whole=True,
        word="learned",
    ),
    Setting(
        "headroom",
        1,
        "How many of these connections are left for the owner's own console. A process without any connection that "
        "would get none otherwise, or a process that shares with no other, may use one of them for one request.",
        unit="connections",
        minimum=0,
        maximum=1000,
        whole=True,
    ),
    Setting(
        "budget_directory",
        None,
        "In which directory the file is through which processes share. When this is off, it is a directory that "
        "belongs to the user, in /dev/shm or the system's temporary directory. Containers share when they have the "
        "same directory.",
        unit="path",
        can_be_off=True,
    ),
    Setting(
        "tls",
        None,
        "Whether connections are encrypted, and what is verified of the server's certificate, with one meaning for "
        "every driver. holdfast looks at each new connection, and closes one that is not what was asked for before it "
        "is used. off: no TLS. preferred: TLS if the server offers it. required: TLS, with whatever certificate. "
        "verify-ca: TLS, and an authority of holdfast_tls_ca has signed the certificate. verify-identity: that, and "
        "the certificate is for the host in the URL. When this is not set, the driver decides, and a warning says when "
        "it did not do what its own arguments ask for.",
        choices=("off", "preferred", "required", "verify-ca", "verify-identity"),
        none_means="as the driver does",
    ),
    Setting(
        "tls_ca",
        None,
        "Which authorities count for holdfast_tls=verify-ca and verify-identity: those in this file (PEM), which your "
        "host offers for download, and no others. With system, which is the default of verify-identity, those that the "
        "operating system trusts.",
        unit="file",
        word="system",
        none_means="system, for verify-identity",
    ),
    Setting(
        "wait_for_server",
        10.0,
        "How long a checkout tries again when nothing answers at the server's address, as during a restart. When the "
        "server has been away for longer, requests fail at once until it is back. When this is off, they always do.",
        unit="seconds",
        minimum=0,
        maximum=3600,
        can_be_off=True,
    ),
    Setting(
        "max_waiting_for_server",
        "auto",
        "How many threads of a process may wait for a server that does not answer. One more fails at once with "
        "ServerAway, so that the others can answer what needs no database. With auto, holdfast leaves a quarter of the "
        "web server's threads free, at least one, where it knows their number: under uWSGI, gunicorn, waitress, "
        "Starlette and FastAPI. A process with a single thread waits, for 3 s at most. Everywhere else, as in scripts "
        "and in Celery, every thread may wait. When this is off, every thread may wait everywhere.",
        unit="threads",
        minimum=1,
        maximum=100000,
        can_be_off=True,
        whole=True,
        word="auto",
    ),
    Setting(
        "max_waiting",
        None,
        "How many threads of a process may wait for a connection at the same time. One more fails at once instead of "
        "waiting for pool_timeout, so an overloaded site says so quickly. When this is off, there is no limit.",
        unit="threads",
        minimum=0,
        maximum=100000,
        can_be_off=True,
        whole=True,
    ),
    Setting(
        "leak_warning",
        300.0,
        "After which time a warning names a connection that is still checked out. The warning comes once and names the "
        "line that checked the connection out; nothing is done to the connection. A warning also names a line whose "
        "connection the garbage collector had to return. When this is off, there is no such warning.",
        unit="seconds",
        minimum=0.05,
        maximum=86400,
        can_be_off=True,
    ),
    Setting(
        "password",
        None,
        "A function that returns the database password, for one that changes. It is a keyword argument of "
        "create_engine, or stands in SQLALCHEMY_ENGINE_OPTIONS; in a URL there is no place for it. holdfast calls it "
        "without arguments for each new connection. It returns a str, or a sqlalchemy_holdfast.Password with the time "
        "for which the password is valid and kept. Several threads may call it. The URL then has no password.",
        unit="function",
        can_be_off=True,
    ),
    Setting(
        "password_file",
        None,
        "The file that has the database password, as a secret that is mounted into a container. holdfast reads it for "
        "each new connection, so it may be replaced at any time. A newline at its end does not count. The URL then has "
        "no password.",
        unit="file",
        can_be_off=True,
    ),
    Setting(
        "password_command",
        None,
        "The command that prints the database password on its standard output, and nothing else. holdfast runs it for "
        "each new connection, without a shell, for 10 s at the most. What it says on its standard error is shown when "
        "it fails. The URL then has no password.",
        unit="command",
        can_be_off=True,
    ),
    Setting(
        "password_ttl",
        None,
        "For how long such a password is kept and used for further connections before it is asked for again. It is "
        "asked for sooner when the server refuses it. When this is off, it is asked for at each new connection, unless "
        "holdfast_password says for how long it is valid.",
        unit="seconds",
        minimum=1,
        maximum=86400,
        can_be_off=True,
    ),
    Setting(
        "uncommitted_warning",
        "debug",
        "Whether a warning names a line whose INSERT, UPDATE, DELETE or REPLACE was rolled back because its session or "
        "connection was closed without commit(). It comes once for each line, and never after an error or a call of "
        "rollback(). With debug, it comes in Flask's debug mode only, when the site uses holdfast's class for Flask. "
        "While it is on, holdfast looks at each statement after it was run, which costs some microseconds.",
        word="debug",
    ),
)
"""The settings table, in the order the documentation shows it."""

_BY_KEY: Mapping[str, Setting] = {setting.key: setting for setting in SETTINGS}


@dataclass(frozen=True)
class Settings:
    """The values in force for one engine. Field names and defaults are those of :data:`SETTINGS`."""

    enabled: bool = True
    defer_rollback: bool = True
    pipeline: bool | str = "auto"
    reset: str = "off"
    replay: bool = True
    probe_after_idle: float | None = 30.0
    probe_timeout: float = 5.0
    keepalive_idle: float | None = 60.0
    tcp_user_timeout: float | None = 60.0
    budget: int | str | None = "learned"
    headroom: int = 1
    budget_directory: str | None = None
    tls: str | None = None
    tls_ca: str | None = None
    wait_for_server: float | None = 10.0
    max_waiting_for_server: int | str | None = "auto"
    max_waiting: int | None = None
    leak_warning: float | None = 300.0
    password: Callable[[], Any] | None = field(default=None, repr=False)
    password_file: str | None = None
    password_command: str | None = field(default=None, repr=False)
    password_ttl: float | None = None
    uncommitted_warning: bool | str = "debug"

    @classmethod
    def take(cls, query: Mapping[str, Any], options: MutableMapping[str, Any]) -> Settings:
        """Read the settings from a URL's query and remove them from ``create_engine``'s keyword arguments.

        :param query: the URL's query; not changed.
        :param options: the keyword arguments; every ``holdfast_*`` key is popped.
        :raises SettingError: for an unknown name (with the nearest known one), a value out of range, a setting
            given twice with different values, or settings that contradict each other.
        """
        given: dict[str, Any] = {}
        for key, value in query.items():
            if key.startswith(PREFIX):
                given[key] = _known(key).parse(_single(key, value))
        for key in [key for key in options if key.startswith(PREFIX)]:
            setting, value = _known(key), options.pop(key)
            if value is None and setting.default is None and not setting.can_be_off:
                continue  # as if it were not given, as in holdfast_tls=os.environ.get(...)
            value = setting.parse(value)
            if given.get(key, value) != value:
                values = ("one value", "another") if key in _SOURCES else (_shown(given[key]), _shown(value))
                raise SettingError(
                    f"{key} is given twice: {values[0]} in the URL and {values[1]} as a keyword argument. Keep one of "
                    "them."
                )
            given[key] = value
        if given.get("holdfast_pipeline") is True and given.get("holdfast_defer_rollback") is False:
            raise SettingError(
                "holdfast_pipeline=true contradicts holdfast_defer_rollback=false: a statement is pipelined behind "
                "a deferred ROLLBACK. Remove one of the two."
            )
        if given.get("holdfast_budget", "learned") is None:
            unused = [key for key in ("holdfast_headroom", "holdfast_budget_directory") if given.get(key) is not None]
            if unused:
                raise SettingError(
                    f"{unused[0]} contradicts holdfast_budget=off: it says how connections are shared between "
                    "processes. Remove one of the two."
                )
        _refuse_tls_that_contradicts(given.get("holdfast_tls"), given.get("holdfast_tls_ca"))
        sources = [key for key in _SOURCES if given.get(key) is not None]
        if len(sources) > 1:
            raise SettingError(
                f"{' and '.join(sources)} contradict each other: each says where the password comes from. Keep one."
            )
        settings = cls(**{key[len(PREFIX) :]: value for key, value in given.items()})
        return settings if settings.defer_rollback else _replaced(settings, pipeline=False)


def _refuse_tls_that_contradicts(mode: str | None, ca: str | None) -> None:
    verifies = mode in ("verify-ca", "verify-identity")
    if ca is not None and not verifies:
        raise SettingError(
            f"holdfast_tls_ca={_shown(ca)} has no effect with holdfast_tls={mode or '(not set)'}, which verifies no "
            "certificate. Set holdfast_tls=verify-identity, or remove holdfast_tls_ca."
        )
    if mode == "verify-ca" and ca is None:
        raise SettingError(
            "holdfast_tls=verify-ca needs holdfast_tls_ca=<path of the CA's certificate>: the file that your host "
            "offers for download. For a certificate of a public authority, set holdfast_tls=verify-identity instead."
        )
    if mode == "verify-ca" and ca == "system":
        raise SettingError(
            "holdfast_tls=verify-ca with holdfast_tls_ca=system would accept everybody's certificate: the system "
            "trusts public authorities, which sign one for whoever asks. Set holdfast_tls=verify-identity."
        )


def _replaced(settings: Settings, **changes: Any) -> Settings:
    values = {field.name: getattr(settings, field.name) for field in fields(settings)}
    return Settings(**{**values, **changes})


def _known(key: str) -> Setting:
    setting = _BY_KEY.get(key)
    if setting is None:
        names = [setting.name for setting in SETTINGS]
        near = difflib.get_close_matches(key[len(PREFIX) :], names, n=1, cutoff=0.6)
        hint = f" Did you mean {PREFIX}{near[0]}?" if near else ""
        raise SettingError(f"{key} is not a holdfast setting.{hint} The settings are: {', '.join(_BY_KEY)}.")
    return setting


def _single(key: str, value: object) -> object:
    if isinstance(value, tuple):
        raise SettingError(f"{key} is given {len(value)} times in the URL. Keep one of them.")
    return value


def _shown(value: object) -> str:
    if value is None:
        return "off"
    text = value if isinstance(value, str) else repr(value)
    return text if len(text) <= 40 else text[:37] + "..."
