"""What hatchling does when it builds holdfast: it makes the README's links absolute.

In the repository the README's links are relative, so that they work in every clone and branch. On a package's page they
would lead nowhere. The repository's address comes from `[project.urls]` in pyproject.toml.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any
from urllib.parse import urljoin, urlsplit

from hatchling.metadata.plugin.interface import MetadataHookInterface

BRANCH = "main"
IMAGES = (".png", ".svg", ".gif", ".jpg", ".webp")

_CODE = re.compile(r"(^```.*?^```$|`[^`\n]+`)", re.DOTALL | re.MULTILINE)
_TARGET = re.compile(
    r"""(?P<before> \]\( | ^\[[^\]]+\]:\s+ | \b(?:href|src|srcset)=" )  # [text](x, [text]: x, <img src="x
        (?P<target> [^()\s"]+ )""",
    re.MULTILINE | re.VERBOSE,
)


def with_absolute_links(text: str, repository: str) -> str:
    """Make the links of a README absolute; what is in code stays as it is.

    :param text: Markdown, as it stands in the repository's top folder.
    :param repository: the address of the repository's page.
    """

    def replace(found: re.Match[str]) -> str:
        target: str = found["target"]
        kind = "raw" if urlsplit(target).path.endswith(IMAGES) else "blob"
        address = urljoin(f"{repository}/{kind}/{BRANCH}/README.md", target)
        return f"{found['before']}{address}"

    parts = _CODE.split(text)
    return "".join(part if number % 2 else _TARGET.sub(replace, part) for number, part in enumerate(parts))


class CustomMetadataHook(MetadataHookInterface):
    """Gives the wheel and the sdist their README."""

    def update(self, metadata: dict[str, Any]) -> None:
        text = (Path(self.root) / "README.md").read_text(encoding="utf-8")
        text = with_absolute_links(text, metadata["urls"]["Repository"])
        metadata["readme"] = {"content-type": "text/markdown", "text": text}
