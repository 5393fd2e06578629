"""HTML pages that show the neighbours of queries, or clusters: small pictures that link to the photographs."""

from __future__ import annotations

import base64
import html
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from sklinvariant.base import replacing
from sklinvariant.cli._outputs import MARK, printable

if TYPE_CHECKING:
    from sklinvariant.cli._photo_index import Answer

_PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="generator" content="{mark}">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; img-src data:; style-src 'unsafe-inline'">
<title>{title}</title>
<style>
body {{ font: 15px/1.4 system-ui, sans-serif; margin: 2rem; color: #222; background: #fafafa; }}
h1 {{ font-size: 1.3rem; }}
h2 {{ font-size: 1rem; margin: 1.5rem 0 0; }}
section {{ display: flex; flex-wrap: wrap; gap: .8rem; margin: 1rem 0; padding: 1rem; }}
section {{ background: #fff; border: 1px solid #ddd; }}
figure {{ margin: 0; width: 150px; }}
figure img {{ width: 150px; height: 150px; object-fit: contain; background: #eee; }}
figure.query {{ border-right: 3px solid #1668a8; padding-right: .8rem; }}
figcaption {{ font-size: .8rem; overflow-wrap: anywhere; }}
b {{ display: block; }}
a {{ color: inherit; text-decoration: none; }}
a:hover figcaption {{ text-decoration: underline; }}
footer {{ color: #666; }}
</style>
</head>
<body>
<h1>{title}</h1>
{sections}
<footer>{note}</footer>
</body>
</html>
"""
_NOTE = (
    "Click a picture to open the photograph. The small pictures are part of this page, the photographs are not. Links "
    "lead to their places relative to this page, so if you move the page, move the photographs with it."
)
_CERTAINTY = (
    "The certainty of a photograph is the estimated probability that it shows the same kind of thing as most of its "
    "cluster. It is high if the same photographs come together again when some of all photographs are left out. The "
    "certainty of a cluster is the mean over its photographs. Below 50% a cluster is called mixed: it probably has "
    "several kinds of things. A photograph that is alone in its cluster has no certainty."
)


def write_report(path: str | os.PathLike, answer: Answer) -> None:
    """Write the page of a query. Files that are missing or have changed are named but not shown."""
    sections = [_section(path, query, neighbors, answer) for query, neighbors in answer.found.items()]
    sections += [_failure(query, reason) for query, reason in answer.failed]
    _write_page(path, f"Nearest photographs, by key points and codes of {answer.n_bits} bits", sections)


def write_clusters(
    path: str | os.PathLike,
    folder: Path,
    clusters: Sequence[Mapping[str, Any]],
    failed: Sequence[tuple[str, str]],
    *,
    n_shown: int,
) -> None:
    """Write the page of clusters, of which each has ``certainty``, ``mixed`` and ``photographs``, best first."""
    sections = [f"<p>{_text(_CERTAINTY)}</p>"]
    for cluster in clusters:
        photographs = cluster["photographs"]
        more = f", of which the {n_shown} most certain are shown" if len(photographs) > n_shown else ""
        words = f"Cluster {cluster['cluster']}: {len(photographs)} photographs{more}"
        sections.append(f"<h2>{_text(f'{words}; certainty {certainty_in_words(cluster)}')}</h2>")
        figures = [_photograph(path, folder, photograph) for photograph in photographs[:n_shown]]
        sections += [f"<section>{''.join(figures)}</section>"] if figures else []
    sections += [_failure(name, reason) for name, reason in failed]
    n_photographs = sum(len(cluster["photographs"]) for cluster in clusters)
    _write_page(path, f"{n_photographs} photographs of {folder} in {len(clusters)} clusters", sections)


def certainty_in_words(cluster: Mapping[str, Any]) -> str:
    """The certainty of a cluster, and whether it is mixed."""
    return _share(cluster["certainty"]) + (" (mixed)" if cluster["mixed"] else "")


def _share(certainty):
    return "none" if certainty is None else f"{certainty:.0%}"


def _photograph(page, folder, photograph):
    name = photograph["file"]
    return _figure(page, folder / name, f"certainty {_share(photograph['certainty'])}", name=name)


def write_duplicates(
    path: str | os.PathLike,
    folder: Path,
    groups: Sequence[Sequence[tuple[str, int]]],
    failed: Sequence[tuple[str, str]],
) -> None:
    """Write the page of duplicates. ``groups`` lists (relative file, bytes) of each group."""
    sections = []
    for group, files in enumerate(groups):
        figures = [_figure(path, folder / name, f"{size / 1000:,.0f} kB", name=name) for name, size in files]
        sections.append(f"<h2>Group {group}: {len(files)} photographs</h2><section>{''.join(figures)}</section>")
    sections += [_failure(name, reason) for name, reason in failed]
    _write_page(path, f"{len(groups)} groups of the same photographs in {folder}", sections)


def _write_page(path, title, sections):
    with replacing(path, "w", encoding="utf-8", errors="backslashreplace") as file:
        file.write(_PAGE.format(title=_text(title), mark=MARK, sections="\n".join(sections), note=_text(_NOTE)))


def _text(words):
    """Escape untrusted text for HTML."""
    return html.escape(printable(words))


def _failure(name, reason):
    return f"<p>{_text(name)}: {_text(reason)}</p>"


def _section(page, query, neighbors, answer):
    figures = [_figure(page, query, "query", kind="query")]
    for distance, file in neighbors:
        count = answer.matches[query].get(file)
        caption = f"same: {count} key points match" if count else f"{distance} of {answer.n_bits} bits differ"
        figures.append(_figure(page, file, caption, missing=answer.changed.get(file)))
    return f"<section>{''.join(figures)}</section>"


def _figure(page, file, caption, *, name=None, kind="", missing=None):
    """An image with its caption, which link to the file. If ``missing`` gives a reason, it replaces image and link."""
    name = _text(name or file)
    words = f"<figcaption><b>{_text(caption)}</b>{name}</figcaption>"
    if missing:
        return f'<figure class="{kind}"><p>{_text(missing)}</p>{words}</figure>'
    image = f'<img alt="{name}" src="{_thumbnail(file)}">'
    return f'<figure class="{kind}"><a href="{_address(file, page)}">{image}{words}</a></figure>'


def _address(file, page):
    """The URL of a file, relative to the folder of the page."""
    file, folder = os.path.realpath(file), os.path.realpath(os.path.dirname(page))
    try:
        relative = os.path.relpath(file, folder)
    except ValueError:  # on another drive of Windows
        return Path(file).as_uri()
    return quote(os.fsencode(relative.replace(os.sep, "/")))  # also escapes a colon: no name becomes a scheme


def _thumbnail(file, size=300):
    """A small JPEG as a data URL; empty if the file cannot be read."""
    import cv2

    from sklinvariant.images import read_image

    try:
        image = read_image(file)
    except ValueError:
        return ""
    scale = min(size / max(image.shape[:2]), 1)
    shape = max(round(image.shape[1] * scale), 1), max(round(image.shape[0] * scale), 1)
    small = cv2.resize(image, shape, interpolation=cv2.INTER_AREA)
    data = cv2.imencode(".jpg", small[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 85])[1]
    return f"data:image/jpeg;base64,{base64.b64encode(data.tobytes()).decode()}"
