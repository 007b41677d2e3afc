"""The docs site: plain Markdown pages, turned into a site by Sphinx with MyST. `make docs` builds it strictly.

The pages read well without this file. Three things are added to them here: the tree of pages, from the lists of links
on the index pages; docstrings, in place of the tables of Python names; and web addresses, for links that leave docs/.
"""

from __future__ import annotations

import enum
import inspect
import posixpath
import re
from importlib import import_module
from typing import TYPE_CHECKING, Any

from docutils import nodes

import playbill

if TYPE_CHECKING:
    from sphinx.addnodes import pending_xref
    from sphinx.application import Sphinx
    from sphinx.environment import BuildEnvironment

project = "Playbill"
author = "the Playbill authors"
copyright = "the Playbill authors; MIT licence"
version = release = playbill.__version__
REPOSITORY = "https://github.com/playbill-eval/playbill"

extensions = ["myst_parser", "sphinx.ext.autodoc"]
exclude_patterns = ["_build"]
smartquotes = False

# Pages: headings have the anchors that code hosts give them, so one link serves both.
myst_heading_anchors = 4

# Python: names in single backticks link to what they name, where that is public.
default_role = "py:obj"
add_module_names = False
autodoc_member_order = "bysource"
autodoc_typehints_format = "short"
autodoc_class_signature = "mixed"
autodoc_preserve_defaults = True
python_maximum_signature_line_length = 88
python_use_unqualified_type_names = True

html_theme = "furo"
html_title = "Playbill"
html_favicon = "_static/favicon.svg"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_js_files = ["copy.js"]
html_show_sphinx = False
html_show_sourcelink = False
html_copy_source = False
html_theme_options: dict[str, Any] = {
    "top_of_page_buttons": [],
    "light_css_variables": {"color-brand-primary": "#8c2f1b", "color-brand-content": "#8c2f1b"},
    "dark_css_variables": {"color-brand-primary": "#f0a08c", "color-brand-content": "#f0a08c"},
}
pygments_style = "tango"
pygments_dark_style = "github-dark"

PUBLIC_MODULES = ("playbill.backends", "playbill.runs", "playbill.mock_services")
_LIST_LINK = re.compile(r"^\s*[-|] ?(?:\*\*)?\[[^]]+\]\(([^):#]+\.md)\)", re.MULTILINE)
_LINK = re.compile(r"(\]\()((?:\.\./)+[^)#\s]+)")
_API = re.compile(r"<!-- generated: api (\S+) -->\n(.*?)<!-- end: api \1 -->", re.DOTALL)


def add_tree(docname: str, text: str) -> str:
    """An index page with the pages that its lists link to as its part of the tree."""
    pages = list(dict.fromkeys(page.removesuffix(".md") for page in _LIST_LINK.findall(text)))
    if posixpath.basename(docname) != "index" or not pages:
        return text
    return "\n".join([text, "```{toctree}", ":hidden:", "", *pages, "```", ""])


def name_the_repository(docname: str, text: str) -> str:
    """Links that leave docs/ lead to the repository on the web."""

    def absolute(match: re.Match[str]) -> str:
        path = posixpath.normpath(posixpath.join("docs", posixpath.dirname(docname), match[2]))
        return match[0] if path.startswith("docs/") else f"{match[1]}{REPOSITORY}/blob/main/{path}"

    return _LINK.sub(absolute, text)


def document(module: str, name: str, summary: str) -> str:
    """The directive that shows a public name with its docstring; a value has none, but the summary."""
    value = getattr(import_module(module), name)
    options = [":members:"]
    if not isinstance(value, type):
        if not inspect.isfunction(value):
            return "\n".join([f".. py:data:: {name}", f"   :module: {module}", "", f"   {summary}", ""])
        kind, options = "function", []
    elif issubclass(value, BaseException):
        kind = "exception"
    else:
        kind = "class"
        options += [":undoc-members:"] if issubclass(value, enum.Enum) else []
    return "\n".join([f".. auto{kind}:: {module}.{name}", *(f"   {option}" for option in options), ""])


def add_docstrings(text: str) -> str:
    """Tables of Python names, each replaced by what their docstrings say."""

    def docstrings(match: re.Match[str]) -> str:
        module = match[1].partition("/")[0]
        names = re.findall(r"^\| `(\w+)` \| (.*) \|$", match[2], re.MULTILINE)
        return "\n".join(["```{eval-rst}", *(document(module, *name) for name in names), "```"])

    return _API.sub(docstrings, text)


def read_source(app: Sphinx, docname: str, source: list[str]) -> None:
    source[0] = add_docstrings(add_tree(docname, name_the_repository(docname, source[0])))


def find_public_name(app: Sphinx, env: BuildEnvironment, node: pending_xref, content: nodes.Node) -> nodes.Node | None:
    """A class is public under another path than the one that annotations name; link to the public one."""
    if node.get("refdomain") != "py":
        return None
    name = str(node["reftarget"]).rpartition(".")[2]
    for module in PUBLIC_MODULES:
        found = env.domains.python_domain.objects.get(f"{module}.{name}")
        if found is not None and node.get("refdoc"):
            refuri = app.builder.get_relative_uri(node["refdoc"], found.docname) + f"#{found.node_id}"
            return nodes.reference("", "", content, internal=True, refuri=refuri)
    return None


def setup(app: Sphinx) -> dict[str, Any]:
    app.connect("source-read", read_source)
    app.connect("missing-reference", find_public_name)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
