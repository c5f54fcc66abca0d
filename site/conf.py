"""Sphinx's configuration. The site is the repository's own documents, in place: a link that holds there holds here."""

import importlib.metadata

from sphinx.application import Sphinx

project = "snapsafe_rt"
author = copyright = "the snapsafe_rt project"
release = importlib.metadata.version("snapsafe-rt")
root_doc = "site/index"
exclude_patterns = [".github/ISSUE_TEMPLATE", ".github/PULL_REQUEST_TEMPLATE.md"]
default_role = "code"
highlight_language = "text"
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx_copybutton"]
myst_heading_anchors = 4
myst_enable_extensions = ["colon_fence"]
autodoc_typehints = "signature"
autodoc_member_order = "bysource"
html_theme = "furo"
html_title = f"snapsafe_rt {release}"
html_static_path = ["static"]
html_css_files = ["site.css"]
html_extra_path = ["extra"]
html_copy_source = False
html_show_sphinx = False


def plain(app: Sphinx, what: str, name: str, thing: object, options: object, lines: list[str]) -> None:
    """The docstrings are plain text with `code`: a star begins nothing."""
    lines[:] = [line.replace("*", r"\*") for line in lines]


def setup(app: Sphinx) -> None:
    app.connect("autodoc-process-docstring", plain)
