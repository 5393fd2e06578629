"""Configuration of the documentation."""

import importlib
import inspect
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import numpy as np
from docutils import nodes
from numpydoc.docscrape_sphinx import SphinxDocString
from PIL import Image, ImageChops, ImageStat
from sphinx import addnodes
from sphinx.domains.python import PyXRefRole
from sphinx.errors import ExtensionError
from sphinx_gallery.sorting import ExplicitOrder

import sklinvariant

ROOT = Path(__file__).parents[1]
URLS = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["urls"]

project = "sklinvariant"
author = "the sklinvariant developers"
version = release = sklinvariant.__version__
extensions = [
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.linkcode",
    "numpydoc",
    "myst_parser",
    "sphinx_copybutton",
    "sphinx_design",
    "sphinx_gallery.gen_gallery",
]
html_theme = "pydata_sphinx_theme"
html_title = "sklinvariant"
html_theme_options = {
    "github_url": URLS["Source"],
    "header_links_before_dropdown": 6,
    "navigation_with_keys": False,
    "show_prev_next": False,
    "secondary_sidebar_items": ["page-toc", "sg_download_links", "sg_launcher_links", "colab"],
}
html_sidebars = {page: [] for page in ("index", "install", "benchmarks*", "changelog")}
html_static_path = ["_static"]
html_css_files = ["site.css"]
toc_object_entries_show_parents = "hide"
html_baseurl = URLS["Documentation"]
autodoc_typehints = "none"  # the docstrings say the types in words
autosummary_generate = True
default_role = "py:name"
smartquotes = False  # quotes in docstrings are those of Python
templates_path = ["_templates"]
numpydoc_show_class_members = False
myst_heading_anchors = 3
myst_enable_extensions = ["colon_fence", "dollarmath"]
exclude_patterns = ["_build", "examples", "changes", "_generated", "binder", "sg_execution_times.rst"]
source_suffix = {".rst": "restructuredtext", ".md": "markdown"}
copybutton_prompt_text = r">>> |\.\.\. |\$ "
copybutton_prompt_is_regexp = True
organisation, repository = URLS["Source"].split("/")[-2:]
html_context = {"github": f"{organisation}/{repository}"}
examples = {  # in the order in which a user meets them
    "first_steps": ["plot_grid_search", "plot_which_pooling", "plot_learned_codewords", "plot_league"],
    "photographs": [
        "plot_rotated_photographs",
        "plot_duplicates",
        "plot_nested_pooling",
        "plot_codes_and_search",
        "anyloc_in_ten_lines",
    ],
    "clustering": ["plot_clustering", "plot_dataframe_of_embeddings", "plot_few_labels", "plot_segmentation"],
    "video": ["plot_video_file", "plot_learned_pooling"],
    "rotation": ["plot_pose", "plot_equivariant_autoencoder"],
    "own_network": ["plot_own_network", "plot_triplet_loss"],
    "practice": ["plot_convergence", "plot_out_of_core", "plot_serving", "distributed"],
}
sphinx_gallery_conf = {
    "binder": {
        "org": organisation,
        "repo": repository,
        "branch": "gh-pages",  # the published documentation, which has the notebooks
        "binderhub_url": "https://mybinder.org",
        "dependencies": "binder/requirements.txt",
        "use_jupyter_lab": True,
    },
    "first_notebook_cell": f"# On Colab, first: %pip install 'sklinvariant[image,plot] @ git+{URLS['Source']}'",
    "examples_dirs": "examples",
    "gallery_dirs": "auto_examples",
    "filename_pattern": r"[\\/]plot_",  # other scripts are shown, but not run
    "backreferences_dir": "api/backreferences",
    "doc_module": ("sklinvariant",),
    "reset_modules": ("matplotlib",),
    "remove_config_comments": True,
    "min_reported_time": 1,
    "show_memory": False,
    "write_computation_times": False,
    "subsection_order": [f"examples/{section}" for section in examples],
    "within_subsection_order": ExplicitOrder([f"{name}.py" for names in examples.values() for name in names]),
    "parallel": True,  # as many as sphinx has jobs
}
linkcheck_ignore = [r"auto_examples/.*\.html"]  # targets of figures: pages that only exist in the built site
rst_prolog = r".. |G| replace:: \|G\|"  # the order of a group, not a substitution

nitpicky = True
# types in the words of docstrings, and names of other libraries, which are links only with their inventories
nitpick_ignore_regex = [("py:obj", ".*"), ("py:.*", r"(sklearn|torch|numpy|scipy|skorch|joblib|matplotlib)\..*")]
if os.environ.get("ONLINE"):  # the inventories are downloaded
    extensions.append("sphinx.ext.intersphinx")
    intersphinx_mapping = {
        "sklearn": ("https://scikit-learn.org/stable", None),
        "torch": ("https://docs.pytorch.org/docs/stable", None),
        "numpy": ("https://numpy.org/doc/stable", None),
        "scipy": ("https://docs.scipy.org/doc/scipy", None),
        "skorch": ("https://skorch.readthedocs.io/en/stable", None),
        "matplotlib": ("https://matplotlib.org/stable", None),
    }


# numpydoc would describe attributes that are properties by their own docstrings, but the class describes all in full
process_param = SphinxDocString._process_param
SphinxDocString._process_param = lambda self, param, desc, fake_autosummary: process_param(self, param, desc, False)


class Name(PyXRefRole):
    """A link to what is in backticks: a class of any room, or a name of the current module or class."""

    def process_link(self, env, refnode, has_explicit_title, title, target):
        title, target = super().process_link(env, refnode, has_explicit_title, title, target)
        refnode["reftype"] = "obj"
        if target[:1].isupper():
            refnode["refspecific"] = True
        return title, target


def linkcode_resolve(domain, info):
    """The lines of an object in the repository."""
    found = importlib.import_module(info["module"])
    for name in info["fullname"].split("."):
        found = inspect.getattr_static(found, name, None) or getattr(found, name)
    found = found.fget if isinstance(found, property) else getattr(found, "__func__", getattr(found, "fn", found))
    try:
        found = inspect.unwrap(found)
        path = Path(inspect.getsourcefile(found)).relative_to(ROOT)
        lines, first = inspect.getsourcelines(found)
    except (TypeError, ValueError, OSError):  # not a function or class, or one of another library
        return None
    return f"{URLS['Source']}/blob/main/{path.as_posix()}#L{first}-L{first + len(lines) - 1}"


def skip_member(app, what, name, obj, skip, options):
    """Show the methods and properties of this package and of scikit-learn, without those that route metadata."""
    if what == "module":
        return None
    if isinstance(obj, property) and name.endswith("_"):
        return True  # in the attributes of the class
    method = obj.fget if isinstance(obj, property) else getattr(obj, "__func__", getattr(obj, "fn", obj))
    is_ours = inspect.isfunction(method) and method.__module__.startswith(("sklinvariant", "sklearn"))
    return not is_ours or name.startswith("_") or name.endswith(("_routing", "_request", "_extra_state", "extra_repr"))


def mend_inherited(app, what, name, obj, options, lines):
    """Docstrings of other libraries: references to pages of scikit-learn are shown as text, torch's are left out."""
    if any("every call" in line for line in lines[:1]):  # of torch.nn.Module.forward
        lines.clear()
    if getattr(obj, "__module__", "").startswith("sklearn"):
        text = re.sub(r":(?:ref|term):`([^`<]+?)\s*(?:<[^>]*>)?`", r"\1", "\n".join(lines))
        text = re.sub(r"sphx_glr_\S+", "scikit-learn's gallery", text)
        lines[:] = text.split("\n")


def write_unreleased_changes(app):
    """What `towncrier build` would add to the changelog, without the numbers of issues."""
    version = ["--version", "Not released yet", "--date", "all changes"]
    command = [sys.executable, "-m", "towncrier", "build", "--draft", *version]
    draft = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, encoding="utf-8").stdout
    text = re.sub(r" \(\d+(, \d+)*\)$", "", draft[draft.index("## ") :], flags=re.MULTILINE)
    path = Path(app.srcdir, "_generated", "unreleased.txt")
    path.parent.mkdir(exist_ok=True)
    if not path.exists() or path.read_text(encoding="utf-8") != text:
        path.write_text(text, encoding="utf-8")


def check_examples(app):
    """Examples print and draw something, without warnings, and leave no file behind."""
    if not app.config.sphinx_gallery_conf["plot_gallery"]:
        return
    faults = {"Warning: ": "warns", ":alt: plot": "draws a figure without a title"}
    for page in sorted(Path(app.srcdir, "auto_examples").glob("*/plot_*.rst")):
        text = page.read_text(encoding="utf-8")
        found = [fault for sign, fault in faults.items() if sign in text]
        found += [f"has no {sign}" for sign in ("sphx-glr-script-out", "image-sg::") if sign not in text]
        if found:
            raise ExtensionError(f"{page.stem} {', '.join(found)}")
    left = {path.name for path in Path(app.srcdir, "examples").glob("*/*") if path.suffix not in (".py", ".rst")}
    if left:
        raise ExtensionError(f"an example has left {sorted(left)} behind")


def check_copied_pictures(app):
    """The guides show copies of pictures of examples, which GitHub can show as well. They look like the new ones."""
    if not app.config.sphinx_gallery_conf["plot_gallery"]:
        return
    for copy in sorted(Path(app.srcdir, "images").glob("plot_*.png")):
        (drawn,) = Path(app.srcdir, "auto_examples").glob(f"*/images/sphx_glr_{copy.stem}_001.png")
        with Image.open(copy) as old, Image.open(drawn) as new:
            small = [image.convert("RGB").resize((64, 64), Image.Resampling.BOX) for image in (old, new)]
            difference = np.mean(ImageStat.Stat(ImageChops.difference(*small)).mean)
            if old.size != new.size or difference > 3:
                raise ExtensionError(f"docs/images/{copy.name} differs from what its example draws. Copy {drawn} to it")


def link_names(app, doctree):
    """In the guides, a public name of the package in code style is a link to its page."""
    for literal in list(doctree.findall(nodes.literal)):
        name = re.match(r"\w*", literal.astext()).group()
        is_name = name in sklinvariant.__all__ and name[0].isupper() and re.fullmatch(r"\w+(\(.*\))?", literal.astext())
        if is_name and not isinstance(literal.parent, (nodes.reference, addnodes.pending_xref, nodes.title)):
            link = addnodes.pending_xref(
                "", refdomain="py", reftype="obj", reftarget=name, refspecific=True, refexplicit=True, refwarn=False
            )
            link["refdoc"] = app.env.docname
            literal.replace_self(link)
            link += literal


def setup(app):
    app.connect("builder-inited", write_unreleased_changes)
    for check in (check_examples, check_copied_pictures):
        app.connect("builder-inited", check, priority=900)  # after the examples have run
    app.connect("doctree-read", link_names)
    app.add_role_to_domain("py", "name", Name())
    app.connect("autodoc-skip-member", skip_member)
    app.connect("autodoc-process-docstring", mend_inherited, priority=100)
