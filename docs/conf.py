"""Configuration of the documentation."""

import inspect
import tempfile

import sklinvariant

project = "sklinvariant"
author = "the sklinvariant developers"
version = release = sklinvariant.__version__
extensions = [
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "numpydoc",
    "myst_parser",
    "matplotlib.sphinxext.plot_directive",
]
html_theme = "pydata_sphinx_theme"
html_title = "sklinvariant"
autodoc_typehints = "none"  # the docstrings say the types in words
autosummary_generate = True
templates_path = ["_templates"]
numpydoc_show_class_members = False
myst_heading_anchors = 3
exclude_patterns = ["_build", "examples", "changes"]
source_suffix = {".rst": "restructuredtext", ".md": "markdown"}
plot_html_show_formats = plot_html_show_source_link = False
plot_working_directory = tempfile.mkdtemp()  # the examples save their figures there
rst_prolog = r".. |G| replace:: \|G\|"  # the order of a group, not a substitution


def skip_member(app, what, name, obj, skip, options):
    """Show the methods and properties that this package defines; parameters are in the docstring of the class."""
    method = obj.fget if isinstance(obj, property) else getattr(obj, "__func__", obj)
    return not (inspect.isfunction(method) and method.__module__.startswith("sklinvariant")) or name.startswith("_")


def setup(app):
    app.connect("autodoc-skip-member", skip_member)
