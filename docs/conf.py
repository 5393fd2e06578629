"""Configuration of the documentation."""

import inspect

import sklinvariant

project = "sklinvariant"
author = "the sklinvariant developers"
version = release = sklinvariant.__version__
extensions = [
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "numpydoc",
    "myst_parser",
    "sphinx_copybutton",
    "sphinx_design",
    "sphinx_gallery.gen_gallery",
]
html_theme = "pydata_sphinx_theme"
html_title = "sklinvariant"
autodoc_typehints = "none"  # the docstrings say the types in words
autosummary_generate = True
templates_path = ["_templates"]
numpydoc_show_class_members = False
myst_heading_anchors = 3
exclude_patterns = ["_build", "examples", "changes", "sg_execution_times.rst"]
source_suffix = {".rst": "restructuredtext", ".md": "markdown"}
copybutton_prompt_text = r">>> |\.\.\. |\$ "
copybutton_prompt_is_regexp = True
sphinx_gallery_conf = {
    "examples_dirs": "examples",
    "gallery_dirs": "auto_examples",
    "filename_pattern": r"[\\/]plot_",  # other scripts are shown, but not run
    "backreferences_dir": "api/backreferences",
    "doc_module": ("sklinvariant",),
    "reset_modules": ("matplotlib",),
    "min_reported_time": 1,
    "show_memory": False,
    "write_computation_times": False,
    "within_subsection_order": "FileNameSortKey",
    "parallel": True,  # as many as sphinx has jobs
}
rst_prolog = r".. |G| replace:: \|G\|"  # the order of a group, not a substitution


def skip_member(app, what, name, obj, skip, options):
    """Show the methods and properties that this package defines; parameters are in the docstring of the class."""
    method = obj.fget if isinstance(obj, property) else getattr(obj, "__func__", obj)
    return not (inspect.isfunction(method) and method.__module__.startswith("sklinvariant")) or name.startswith("_")


def setup(app):
    app.connect("autodoc-skip-member", skip_member)
