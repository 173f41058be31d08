"""The values in force for one engine: read from its URL and its keyword arguments, and refused where two contradict."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping, MutableMapping
from dataclasses import dataclass, field, fields
from typing import Any

from .._pages import page
from ..errors import SettingError
from .setting import PREFIX, Setting, shown
from .table import SETTINGS

__all__ = ["Settings"]

_SOURCES = ("holdfast_password", "holdfast_password_file", "holdfast_password_command")
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
                values = ("one value", "another") if key in _SOURCES else (shown(given[key]), shown(value))
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
            f"holdfast_tls_ca={shown(ca)} has no effect with holdfast_tls={mode or '(not set)'}, which verifies no "
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
        hint = f"Did you mean {PREFIX}{near[0]}?" if near else f"All of them: {page('settings')}"
        raise SettingError(f"{key} is not a holdfast setting. {hint}".rstrip(": "))
    return setting


def _single(key: str, value: object) -> object:
    if isinstance(value, tuple):
        raise SettingError(f"{key} is given {len(value)} times in the URL. Keep one of them.")
    return value
