"""How somebody reports a problem: what they are asked for can be had, and goes to one address."""

from __future__ import annotations

import re

import pytest

import sqlalchemy_holdfast as holdfast
from sqlalchemy_holdfast.lab import Server
from tests.conftest import EngineFactory
from tests.packaging.conftest import ROOT, run

TEMPLATES = ROOT / ".github" / "ISSUE_TEMPLATE"


def test_what_a_bug_report_asks_for_can_be_had(
    server: Server, driver: str, held: EngineFactory, capsys: pytest.CaptureFixture[str]
) -> None:
    (block,) = re.findall(r"```python\n(.*?)```", (TEMPLATES / "bug_report.md").read_text(), re.DOTALL)
    server.execute("CREATE OR REPLACE USER somebody IDENTIFIED BY 'S3CRET'")
    server.execute("GRANT ALL ON test.* TO somebody")
    exec(block, {"engine": held(server.url(driver, user="somebody", password="S3CRET"))})
    printed = capsys.readouterr().out
    assert f"holdfast {holdfast.__version__}\n" in printed
    assert re.search(rf"^driver {driver} \S*\d.*$", printed, re.MULTILINE)
    assert re.search(r"^status <holdfast: .+ is held;", printed, re.MULTILINE)
    assert re.search(r"^server \d+\.\d+", printed, re.MULTILINE)
    assert "S3CRET" not in printed
    assert "somebody" not in printed


@pytest.mark.parametrize("template", ["bug_report.md", "feature_request.md"])
def test_each_template_has_a_name_and_says_what_it_is_for(template: str) -> None:
    head = re.match(r"---\nname: .+\nabout: .+\nlabels: \w+\n---\n", (TEMPLATES / template).read_text())
    assert head is not None


def test_the_address_for_reports_stands_in_one_place() -> None:
    """It will change once, when there is one."""
    (address,) = re.findall(r"\S+@[\w.-]+\w", (ROOT / "SECURITY.md").read_text().replace("*", ""))
    assert run("git", "grep", "-l", "--untracked", "-F", address).stdout.split() == ["SECURITY.md"]
    assert "(SECURITY.md)" in (ROOT / "CODE_OF_CONDUCT.md").read_text()
