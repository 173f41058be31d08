"""Each check of the doctor has a page, which says what the check says, and whose address is the one that is printed."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

from sqlalchemy_holdfast._pages import page
from sqlalchemy_holdfast.doctor.check import GROUPS
from sqlalchemy_holdfast.doctor.checks import CHECKS

TOP = Path(__file__).resolve().parents[2]
FOLDER = TOP / "docs" / "doctor"


def tool() -> Any:
    spec = importlib.util.spec_from_file_location("doctor_pages", TOP / "tools" / "doctor_pages.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_pages_are_those_of_the_checks_and_say_the_same() -> None:
    """If this fails: python tools/doctor_pages.py"""
    assert {path.name: path.read_text() for path in FOLDER.iterdir()} == tool().pages()


def test_the_address_of_each_page_leads_to_a_file() -> None:
    start = page("doctor/HF101").removesuffix("docs/doctor/HF101.md")
    assert start != page("doctor/HF101")
    for check in CHECKS:
        assert (TOP / check.page.removeprefix(start)).is_file()


def test_there_are_at_least_40_checks_with_ids_of_their_group_in_order() -> None:
    assert len(CHECKS) >= 40
    ids = [check.id for check in CHECKS]
    assert ids == sorted(set(ids))
    for check in CHECKS:
        assert GROUPS[int(check.id[2]) - 1] == check.group


def test_what_a_check_says_is_short_and_plain() -> None:
    for check in CHECKS:
        assert not check.title.endswith("."), check.id
        assert len(check.title) <= 70, (check.id, len(check.title))
        assert "\n" not in check.cure, check.id
        assert len(check.cure) <= 130, (check.id, len(check.cure))
        assert check.explanation.endswith((".", '".', ".)")), check.id
        assert check.explanation.count(". ") + 1 <= 7, check.id
        assert 60 <= len(check.explanation) <= 600, (check.id, len(check.explanation))
