"""What makes a page findable: a search that knows numbers, and a title and a description for other people's searches.

Sphinx leaves pure numbers out of its index, and out of what a reader searches for: nobody would find the page on error
2006 by its number. Both halves are changed here; tests/docs/test_in_a_browser.py searches in a real browser.
"""

from __future__ import annotations

import html
from pathlib import Path
from typing import TYPE_CHECKING, Any

from docutils import nodes
from sphinx.errors import ExtensionError
from sphinx.search.en import SearchEnglish

if TYPE_CHECKING:
    from sphinx.application import Sphinx

__all__ = ["setup"]


class WithNumbers(SearchEnglish):
    """English, with numbers among its words."""

    def word_filter(self, word: str) -> bool:
        return word not in self.stopwords


_SKIPS_NUMBERS = r" || queryTerm.match(/^\d+$/)"
"""What Sphinx's searchtools.js says where it drops a word of the reader's."""


def keep_numbers(app: Sphinx, error: Exception | None) -> None:
    """Take out of the finished pages' script what drops numbers.

    :raises ExtensionError: when this Sphinx says it in other words: the search must be looked at again.
    """
    script = Path(app.outdir) / "_static" / "searchtools.js"
    if error is not None or app.builder.format != "html" or not script.exists():
        return
    text = script.read_text(encoding="utf-8")
    if _SKIPS_NUMBERS not in text:
        raise ExtensionError(f"{script.name} drops numbers in another way than {_SKIPS_NUMBERS!r}: see {__name__}")
    script.write_text(text.replace(_SKIPS_NUMBERS, ""), encoding="utf-8")


_LONGEST = 160
"""Characters of a description that search engines show."""


def describe(app: Sphinx, page: str, template: str, context: dict[str, Any], doctree: nodes.document | None) -> None:
    """Give a page the first words of its text as its description."""
    if doctree is None:
        return
    words = next((" ".join(text.astext().split()) for text in doctree.findall(nodes.paragraph)), "")
    if len(words) > _LONGEST:
        words = words[:_LONGEST].rpartition(" ")[0].rstrip(" ,;:(") + " …"
    title = f"{context['title']} - {app.config.project}"
    metas = {"name='description'": words, "property='og:description'": words, "property='og:title'": title}
    for name, value in metas.items():
        context["metatags"] += f"\n<meta {name} content='{html.escape(html.unescape(value))}' />"


def setup(app: Sphinx) -> dict[str, bool]:
    app.add_search_language(WithNumbers)
    app.connect("build-finished", keep_numbers)
    app.connect("html-page-context", describe)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
