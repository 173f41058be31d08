"""Sphinx makes the documentation from this folder: `make docs`."""

from __future__ import annotations

import sys
from pathlib import Path

from sqlalchemy_holdfast import __version__

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE / "_ext"))

project = "holdfast"
copyright = "holdfast contributors"
version = release = __version__

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx_copybutton",
    "changes",
    "commands",
    "doctor",
    "elsewhere",
    "findable",
    "measurements",
    "structure",
    "tables",
]
exclude_patterns = ["_build"]
default_role = "code"  # docstrings of the lab write `name`
nitpicky = True
smartquotes = False  # error messages are quoted as they are

html_theme = "furo"
html_title = f"holdfast {__version__}"
html_copy_source = False
html_static_path = ["_static"]
html_css_files = ["holdfast.css"]
html_js_files = ["holdfast.js"]

# Not on what is printed, and not on the texts of errors: those are `text`.
copybutton_selector = ", ".join(f"div.highlight-{kind} pre" for kind in ("python", "default", "none", "sql"))

myst_heading_anchors = 3
myst_enable_extensions = ["deflist"]
suppress_warnings = ["myst.header"]  # an error's number is a good heading at any level

autodoc_member_order = "bysource"
autodoc_typehints_format = "short"
python_use_unqualified_type_names = True
