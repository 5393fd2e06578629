"""How the examples of the documentation are written, and that they run; `make docs` runs them too, on one platform."""

import ast
import runpy
from pathlib import Path

import pytest

plt = pytest.importorskip("matplotlib.pyplot", reason="matplotlib is not installed")

DOCS = Path(__file__).parents[1] / "docs"
SCRIPTS = sorted(DOCS.glob("examples/*/plot_*.py"))
OTHERS = sorted({*DOCS.glob("examples/*/*.py")} - {*SCRIPTS})  # shown, but not run
QUICK = ("plot_out_of_core", "plot_which_pooling")  # under five seconds, with required packages
LONG = ("plot_serving", "plot_video_file")  # write files first
NEEDS = {
    "plot_codes_and_search": ["skimage", "faiss"],
    "plot_dataframe_of_embeddings": ["pandas"],
    "plot_duplicates": ["skimage", "faiss"],
    "plot_nested_pooling": ["skimage", "faiss"],
    "plot_pose": ["skimage"],
    "plot_rotated_photographs": ["skimage"],
    "plot_serving": ["onnxscript", "onnxruntime"],
    "plot_video_file": ["cv2", "av"],
}


def _case(script):
    return pytest.param(script, id=script.stem, marks=() if script.stem in QUICK else pytest.mark.slow)


def _title(script):
    return ast.get_docstring(ast.parse(script.read_text(encoding="utf-8"))).splitlines()


@pytest.mark.skipif(not SCRIPTS, reason="the examples are not part of the package")
def test_there_is_a_gallery():
    assert len(SCRIPTS) >= 15
    assert {*QUICK, *LONG, *NEEDS} <= {script.stem for script in SCRIPTS}


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.stem)
def test_how_examples_are_written(script):
    """With a title, text between the cells and a conclusion; without arguments and a backend, as in a notebook."""
    text = script.read_text(encoding="utf-8")
    name, line, *_ = _title(script)
    assert set(line) == {"="}
    assert len(line) == len(name)
    assert "sys.argv" not in text
    assert "matplotlib.use" not in text
    cells = text.split("\n# %%\n")
    assert len(cells) >= 4
    assert all(cell.startswith("# ") for cell in cells[1:])
    assert "plt.show()\n" in text
    assert all(line.startswith("# ") for line in cells[-1].splitlines())
    assert 30 <= len(text.splitlines()) <= (75 if script.stem in LONG else 60)


@pytest.mark.parametrize("script", OTHERS, ids=lambda script: script.stem)
def test_an_example_that_is_not_run_has_a_thumbnail(script, pyplot):
    path = f"images/{script.stem}-thumbnail.png"
    assert f"# sphinx_gallery_thumbnail_path = '{path}'\n" in script.read_text(encoding="utf-8")
    assert (DOCS / path).is_file()
    drawings = runpy.run_path(str(DOCS / "images" / "thumbnails.py"))["THUMBNAILS"]
    figure = drawings[script.stem]()
    figure.canvas.draw()
    assert _titles(figure)
    plt.close(figure)


def test_titles_differ():
    titles = [_title(script)[0] for script in SCRIPTS]
    assert len(set(titles)) == len(titles)


@pytest.mark.parametrize("script", [_case(script) for script in SCRIPTS])
def test_examples_run(script, tmp_path, monkeypatch, capsys):
    """Without warnings, from an empty folder. Every figure has a title, and can be drawn."""
    for module in NEEDS.get(script.stem, ()):
        pytest.importorskip(module)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(plt, "show", lambda: None)
    backend = plt.get_backend()
    plt.switch_backend("agg")
    plt.close("all")  # figures that other tests have left open
    try:
        with plt.rc_context():
            runpy.run_path(str(script), run_name="__main__")
            figures = [plt.figure(number) for number in plt.get_fignums()]
            assert figures
            for figure in figures:
                figure.canvas.draw()
                assert _titles(figure)
    finally:
        plt.close("all")
        plt.switch_backend(backend)
    assert capsys.readouterr().out.strip()
    assert not list(tmp_path.iterdir())


def _titles(figure):
    """Titles of a figure, of its parts and of its axes."""
    parts = [figure, *figure.subfigs]
    above = [part.get_suptitle() for part in parts] + [axes.get_title() for axes in figure.axes]
    return [title for title in above if title]
