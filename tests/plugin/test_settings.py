"""Every setting: where it is written, what it accepts, and that a wrong one is refused while the engine is made."""

from __future__ import annotations

import math
import os
import pickle
import shlex
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from sqlalchemy import create_engine, make_url

import sqlalchemy_holdfast as holdfast
from sqlalchemy_holdfast import SETTINGS, Setting, SettingError, Settings
from sqlalchemy_holdfast._pages import page
from sqlalchemy_holdfast.lab import Server
from tests.conftest import EngineFactory, read

NOWHERE = "mysql+pymysql://app@127.0.0.1:1/test?plugin=holdfast"
"""Never connected to: a setting is refused before that."""

NUMBERS = [setting for setting in SETTINGS if setting.maximum]
SWITCHES = [setting for setting in SETTINGS if not setting.unit and not setting.choices]
WRITTEN = [setting for setting in SETTINGS if setting.unit != "function" and setting.name != "tls_ca"]
"""Those that a URL can have, and that mean something by themselves."""
every = pytest.mark.parametrize("setting", WRITTEN, ids=lambda setting: setting.name)
every_number = pytest.mark.parametrize("setting", NUMBERS, ids=lambda setting: setting.name)


def settings_of(query: str = "", /, **options: Any) -> Settings:
    """The settings in force for an engine with this in its URL's query and these keyword arguments."""
    if "holdfast_password_ttl" in f"{query} {options}":  # it means nothing alone
        options.setdefault("holdfast_password", str)
    engine = create_engine(NOWHERE + (f"&{query}" if query else ""), **options)
    return holdfast.status(engine).settings


def another(setting: Setting) -> tuple[str, Any]:
    """A value that is not the default, as text and as what it means."""
    if setting.unit in ("path", "file", "command"):
        return "/tmp", "/tmp"
    if setting.choices:
        return (setting.choices[1],) * 2
    if setting.unit:
        return f"{setting.minimum + 2:g}", setting.minimum + 2
    return str(not setting.default).lower(), not setting.default


def test_the_table_and_the_dataclass_agree() -> None:
    assert {field.name: field.default for field in fields(Settings)} == {s.name: s.default for s in SETTINGS}
    assert [field.name for field in fields(Settings)] == [s.name for s in SETTINGS], "in the same order"


def test_nothing_needs_to_be_set() -> None:
    assert settings_of() == Settings()


@every
def test_a_default_is_a_value_that_the_setting_accepts(setting: Setting) -> None:
    assert setting.parse(setting.default) == setting.default


@every
def test_the_consequence_is_said_and_a_number_has_a_range(setting: Setting) -> None:
    assert len(setting.consequence) > 40
    assert setting.key == f"holdfast_{setting.name}"
    if setting in NUMBERS:
        assert 0 <= setting.minimum < setting.maximum < math.inf


@every
def test_in_the_url_and_as_a_keyword_argument(setting: Setting) -> None:
    text, value = another(setting)
    assert getattr(settings_of(f"{setting.key}={text}"), setting.name) == value
    assert getattr(settings_of(**{setting.key: text}), setting.name) == value
    assert getattr(settings_of(**{setting.key: value}), setting.name) == value


@every_number
def test_both_ends_of_the_range_are_accepted(setting: Setting) -> None:
    for end in (setting.minimum, setting.maximum):
        assert getattr(settings_of(f"{setting.key}={end!r}"), setting.name) == end


@every_number
@pytest.mark.parametrize("off", ["off", "OFF", "no", "false", False, None])
def test_off_where_a_number_can_be_off(setting: Setting, off: Any) -> None:
    if setting.can_be_off:
        assert getattr(settings_of(**{setting.key: off}), setting.name) is None
        if isinstance(off, str):
            assert getattr(settings_of(f"{setting.key}={off}"), setting.name) is None
    else:
        with pytest.raises(SettingError, match="is not accepted"):
            settings_of(**{setting.key: off})


@pytest.mark.parametrize("setting", SWITCHES, ids=lambda setting: setting.name)
@pytest.mark.parametrize(
    ("word", "value"),
    [(word, True) for word in ("1", "true", "True", "yes", "on", " on ")]
    + [(word, False) for word in ("0", "false", "FALSE", "no", "off")],
)
def test_the_words_of_a_switch(setting: Setting, word: str, value: bool) -> None:
    assert setting.parse(word) is value


WRONG_NUMBERS = ["-1", "-0.5", "soon", "5s", "nan", "inf", "-inf", "1e99", "1e999", "", " ", "true", "5,0", "0x10"]
WRONG_OBJECTS: list[Any] = [True, -1, -0.5, math.nan, math.inf, 1e99, 10**400, [], {}, b"5", 5j, object()]


@every_number
@pytest.mark.parametrize("value", WRONG_NUMBERS + WRONG_OBJECTS, ids=lambda value: repr(value)[:20])
def test_a_wrong_number_is_refused_with_the_range_that_is_allowed(setting: Setting, value: Any) -> None:
    with pytest.raises(SettingError) as caught:
        settings_of("", **{setting.key: value})
    message = str(caught.value)
    assert setting.key in message
    assert f"from {setting.minimum:g} to {setting.maximum:g}" in message
    assert ("or off" in message) is setting.can_be_off
    assert f"default {'off' if setting.default is None else setting.default}" in message
    assert len(message) < 300 + len(page("errors/setting-error")), "whatever was given"
    if isinstance(value, str) and value.strip():  # SQLAlchemy drops a key without a value from a URL
        with pytest.raises(SettingError, match="is not accepted"):
            settings_of(f"{setting.key}={value}")


@pytest.mark.parametrize("setting", [s for s in NUMBERS if s.minimum > 0], ids=lambda setting: setting.name)
def test_zero_is_refused_where_it_would_mean_never_or_at_once(setting: Setting) -> None:
    for zero in (0, 0.0, "0"):
        with pytest.raises(SettingError, match="is not accepted"):
            settings_of(**{setting.key: zero})


@pytest.mark.parametrize("setting", SWITCHES, ids=lambda setting: setting.name)
@pytest.mark.parametrize("value", ["2", "", "maybe", "truee", "nan", 1, 0, 1.0, None, [True]], ids=repr)
def test_a_switch_takes_true_or_false_and_nothing_else(setting: Setting, value: Any) -> None:
    with pytest.raises(SettingError, match="true or false") as caught:
        settings_of(**{setting.key: value})
    assert setting.key in str(caught.value)


@pytest.mark.parametrize(
    ("given_name", "meant"),
    [
        ("holdfast_probe_timout", "holdfast_probe_timeout"),
        ("holdfast_pipelining", "holdfast_pipeline"),
        ("holdfast_tcp_timeout", "holdfast_tcp_user_timeout"),
        ("holdfast_Enabled", "holdfast_enabled"),
    ],
)
def test_a_misspelt_setting_is_refused_with_the_nearest_one_and_the_page(given_name: str, meant: str) -> None:
    for query, options in ((f"{given_name}=1", {}), ("", {given_name: 1})):
        with pytest.raises(SettingError, match=f"{given_name} is not a holdfast setting") as caught:
            settings_of(query, **options)
        assert str(caught.value).endswith(f"Did you mean {meant}? {page('errors/setting-error')}")


def test_a_setting_that_resembles_none_is_refused_with_the_page_that_has_all_of_them() -> None:
    with pytest.raises(SettingError) as caught:
        settings_of("holdfast_xyzzy=1")
    assert "Did you mean" not in str(caught.value)
    assert page("settings") in str(caught.value)


def test_an_error_of_a_setting_names_its_page_once_also_when_it_is_pickled() -> None:
    with pytest.raises(SettingError) as caught:
        settings_of("holdfast_headroom=-1")
    for error in (caught.value, pickle.loads(pickle.dumps(caught.value))):
        assert str(error).count(page("errors/setting-error")) == 1


def test_a_setting_without_a_value_in_a_url_is_not_there() -> None:
    """SQLAlchemy drops it before any plugin is asked; the default is then in force."""
    assert "holdfast_pipeline" not in make_url(NOWHERE + "&holdfast_pipeline=").query
    assert settings_of("holdfast_pipeline=") == Settings()


@every
def test_twice_is_allowed_when_both_say_the_same(setting: Setting) -> None:
    text, value = another(setting)
    assert getattr(settings_of(f"{setting.key}={text}", **{setting.key: value}), setting.name) == value


@pytest.mark.parametrize("setting", [s for s in WRITTEN if s.default is not None or s.can_be_off], ids=lambda s: s.name)
def test_twice_is_refused_when_they_differ(setting: Setting) -> None:
    text, _ = another(setting)
    with pytest.raises(SettingError, match=f"{setting.key} is given twice") as caught:
        settings_of(f"{setting.key}={text}", **{setting.key: setting.default})
    assert "URL" in str(caught.value)
    assert "keyword argument" in str(caught.value)


@pytest.mark.parametrize("setting", [s for s in NUMBERS if s.whole], ids=lambda setting: setting.name)
def test_a_count_is_a_whole_number(setting: Setting) -> None:
    assert type(getattr(settings_of(f"{setting.key}=3.0"), setting.name)) is int
    for half in (2.5, "2.5"):
        with pytest.raises(SettingError, match="a whole number of"):
            settings_of(**{setting.key: half})


def test_a_budget_is_learned_a_number_or_off() -> None:
    assert settings_of("holdfast_budget=Learned").budget == "learned"
    assert settings_of(holdfast_budget=5).budget == 5
    assert settings_of(holdfast_budget=None).budget is None
    with pytest.raises(SettingError, match=r"takes learned, a whole number of connections .* or off"):
        settings_of(holdfast_budget="auto")


@pytest.mark.parametrize("wrong", ["relative/path", "", 5, True, b"/tmp", "/tmp\0/x", ["/tmp"]])
def test_a_directory_is_an_absolute_path(wrong: Any) -> None:
    with pytest.raises(SettingError, match="absolute path"):
        settings_of(holdfast_budget_directory=wrong)
    assert settings_of(holdfast_budget_directory=Path("/tmp")).budget_directory == "/tmp"


def test_a_share_of_nothing_is_a_contradiction() -> None:
    for name, value in (("headroom", 2), ("budget_directory", "/tmp")):
        with pytest.raises(SettingError, match=f"holdfast_{name} contradicts holdfast_budget=off"):
            settings_of("holdfast_budget=off", **{f"holdfast_{name}": value})


def test_off_and_a_number_differ_too() -> None:
    for query, option in (("off", 30), ("30", None)):
        with pytest.raises(SettingError, match=r"given twice.*off"):
            settings_of(f"holdfast_probe_after_idle={query}", holdfast_probe_after_idle=option)


@every
def test_a_key_repeated_in_the_url_is_refused(setting: Setting) -> None:
    text, _ = another(setting)
    for second in (text, "1"):
        with pytest.raises(SettingError, match=f"{setting.key} is given 2 times in the URL"):
            settings_of(f"{setting.key}={text}&{setting.key}={second}")


def test_a_pipeline_without_a_deferred_rollback_is_a_contradiction() -> None:
    contradiction = "holdfast_pipeline=true contradicts holdfast_defer_rollback=false"
    with pytest.raises(SettingError, match=contradiction):
        settings_of("holdfast_pipeline=true&holdfast_defer_rollback=false")
    with pytest.raises(SettingError, match=contradiction):
        settings_of("holdfast_pipeline=true", holdfast_defer_rollback=False)


def test_without_a_deferred_rollback_nothing_is_pipelined() -> None:
    assert settings_of("holdfast_defer_rollback=false") == Settings(defer_rollback=False, pipeline=False)
    assert settings_of("holdfast_pipeline=false") == Settings(pipeline=False)


@pytest.mark.parametrize("name", ["defer_rollback", "pipeline"])
def test_a_switch_that_is_off_is_off_on_the_wire(server: Server, driver: str, held: EngineFactory, name: str) -> None:
    engine = held(server.url(driver), **{f"holdfast_{name}": False})
    for number in range(3):
        assert read(engine, number) == number
    counters = holdfast.status(engine).counters
    assert counters.statements_pipelined == 0
    assert bool(counters.rollbacks_deferred) is (name == "pipeline")


def test_enabled_false_leaves_the_engine_as_sqlalchemy_made_it(
    server: Server, driver: str, held: EngineFactory, stock: EngineFactory
) -> None:
    url = server.url(driver)
    engine, plain = held(url, holdfast_enabled=False), stock(url)
    classes = []
    for each in (engine, plain):
        with each.connect() as connection:
            classes.append(type(connection.connection.driver_connection))
            assert not hasattr(connection.connection.driver_connection, "_holdfast")
    assert classes[0] is classes[1]
    with held(url).connect() as connection:
        assert type(connection.connection.driver_connection) is not classes[0], "held, it is a subclass"
    hold = holdfast.status(engine)
    assert not hold.active
    assert hold.reason == "holdfast_enabled is false"
    assert hold.counters.connects == hold.counters.checkouts == 0
    for name in ("connect", "checkout", "checkin", "reset"):
        assert len(list(getattr(engine.pool.dispatch, name))) == len(list(getattr(plain.pool.dispatch, name))), name


def test_the_settings_do_not_reach_the_driver(server: Server, driver: str, held: EngineFactory) -> None:
    query = {setting.key: another(setting)[0] for setting in NUMBERS if setting.name != "password_ttl"}
    engine = held(server.url(driver, query=query))
    assert read(engine, 3) == 3
    assert engine.url.query["holdfast_probe_timeout"] == query["holdfast_probe_timeout"], "but engine.url keeps them"


def check(setting: Setting, value: object) -> None:
    try:
        parsed = setting.parse(value)
    except SettingError:
        return
    if setting.choices:
        assert parsed in (*setting.choices, setting.default)
    elif not setting.unit:
        assert isinstance(parsed, bool)
    elif parsed is None:
        assert setting.can_be_off or setting.default is None
    elif setting.unit == "function":
        assert callable(parsed)
    elif setting.unit == "command":
        assert shlex.split(parsed)
    elif isinstance(parsed, str):
        assert parsed == setting.word or os.path.isabs(parsed)
    else:
        assert setting.minimum <= parsed <= setting.maximum


@given(
    st.sampled_from(SETTINGS), st.text() | st.from_regex(r"\A[ +-]?[0-9_]{0,6}[.,]?[0-9]{0,4}([eE][+-]?[0-9]{1,4})?\Z")
)
@example(SETTINGS[-1], "1_000")
@example(SETTINGS[-1], "\u0663")
@example(SETTINGS[-1], "\ud800")
def test_any_text_is_a_value_in_the_range_or_a_setting_error(setting: Setting, text: str) -> None:
    check(setting, text)


@given(
    st.sampled_from(SETTINGS),
    st.none() | st.booleans() | st.integers() | st.floats() | st.decimals() | st.binary() | st.lists(st.text()),
)
def test_any_object_is_a_value_in_the_range_or_a_setting_error(setting: Setting, value: object) -> None:
    check(setting, value)


@given(st.text(min_size=1), st.text())
def test_any_query_is_taken_or_refused_with_a_setting_error(name: str, text: str) -> None:
    options: dict[str, Any] = {f"holdfast_{name}": text, "pool_size": 5}
    try:
        Settings.take({f"holdfast_{name}": text}, options)
    except SettingError:
        return
    assert options == {"pool_size": 5}, "taken out of create_engine's arguments, and nothing else is"
