"""The site: `sphinx-build -W docs build/site`, with `jaxgan[site]` installed.

The front page is the README, guides are this folder's pages, notebooks those of notebooks/ as they were executed, and
the reference is made of docstrings. Nothing is fetched, neither now nor by who reads it.
"""

import itertools
import posixpath
import re
import shutil
import tomllib
from pathlib import Path
from typing import Any

from sphinx.application import Sphinx
from sphinx.ext.napoleon import GoogleDocstring

import jaxgan

DOCS = Path(__file__).parent
ROOT = DOCS.parent
ADDRESS = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["urls"]["Source"]

project = "jaxgan"
author = copyright = "The jaxgan developers"
version = release = jaxgan.__version__
extensions = ["sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx.ext.viewcode", "myst_nb"]
exclude_patterns = ["images"]

html_theme = "furo"
html_title = f"jaxgan {version}"
html_theme_options = {"top_of_page_buttons": []}
html_static_path = ["site.css"]
html_css_files = ["site.css"]
html_copy_source = False

nb_execution_mode = "off"
nb_ipywidgets_js = {}  # Else a script is fetched by each page; beside each slider there is a picture.
myst_heading_anchors = 3

default_role = "code"
autodoc_default_options = {"members": True, "exclude-members": "name, parent, scope", "member-order": "bysource"}
autodoc_inherit_docstrings = False
autodoc_preserve_defaults = True
autodoc_typehints = "none"  # Signatures would fill pages; docstrings give shapes, which types do not.
napoleon_attr_annotations = False
napoleon_google_docstring = napoleon_numpy_docstring = False  # `_google` does it.
napoleon_use_ivar = True
napoleon_use_rtype = False

# Pages whose text stands elsewhere.
TEXTS = {"index": "README.md", "changelog": "CHANGELOG.md", "contributing": "CONTRIBUTING.md"}
shutil.rmtree(DOCS / "notebooks", ignore_errors=True)
(DOCS / "notebooks").mkdir()
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
for notebook in NOTEBOOKS:
    shutil.copy2(notebook, DOCS / "notebooks")


def _read(app: Sphinx, page: str, source: list[str]) -> None:
    """Brings in texts from elsewhere; makes links between files those between pages, else to the repository."""
    if text := TEXTS.get(page):
        notebooks = "\n".join(f"notebooks/{path.stem}" for path in NOTEBOOKS)
        source[0] = (ROOT / text).read_text() + source[0].replace("NOTEBOOKS", notebooks)
    folder = posixpath.dirname(text or (page if page.startswith("notebooks/") else f"docs/{page}"))

    def linked(match: re.Match[str]) -> str:
        path = posixpath.normpath(posixpath.join(folder, match[1]))
        if not (ROOT / path).is_relative_to(ROOT) or not (ROOT / path).exists():
            return match[0]
        for page, text in TEXTS.items():
            if text == path:
                return f"](/{page}.md{match[2]})"
        if path.startswith(("docs/", "notebooks/")) and not path.endswith(".py"):
            return f"](/{path.removeprefix('docs/')}{match[2]})"
        return f"]({ADDRESS}/blob/main/{path})"

    source[0] = re.sub(r"\]\(([\w./-]+)(#[\w-]*|)\)", linked, source[0])


def _google(app: Sphinx, what: str, name: str, value: Any, options: Any, lines: list[str]) -> None:
    """Docstrings as they are written here: Google's sections, indented code, and colons anywhere in prose."""
    if what in ("attribute", "data"):
        return
    found, section = [], False
    for before, line in itertools.pairwise(["", *lines]):
        indented = line.startswith("    ")
        if indented and not before and not section:
            found += ["::", ""]
        elif line:
            section = indented and (section or not before.startswith(" "))
        found.append(line)
    lines[:] = GoogleDocstring(found, app.config, app, what, name, value, options).lines()


def setup(app: Sphinx) -> None:
    """What Sphinx calls."""
    app.connect("source-read", _read)
    app.connect("autodoc-process-docstring", _google)
