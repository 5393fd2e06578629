"""The documentation's build."""

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
autosummary_generate = True
numpydoc_show_class_members = False
myst_heading_anchors = 3
exclude_patterns = ["_build", "examples", "changes"]
source_suffix = {".rst": "restructuredtext", ".md": "markdown"}
plot_html_show_formats = plot_html_show_source_link = False
plot_working_directory = tempfile.mkdtemp()  # the examples save their figure where they run
rst_prolog = r".. |G| replace:: \|G\|"  # the order of a group, which reStructuredText would take for a substitution
