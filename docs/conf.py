"""The documentation's build."""

import sklinvariant

project = "sklinvariant"
author = "the sklinvariant developers"
version = release = sklinvariant.__version__
extensions = ["sphinx.ext.autodoc", "sphinx.ext.autosummary", "numpydoc", "myst_parser"]
html_theme = "pydata_sphinx_theme"
autosummary_generate = True
numpydoc_show_class_members = False
exclude_patterns = ["_build", "examples", "changes"]
source_suffix = {".rst": "restructuredtext", ".md": "markdown"}
