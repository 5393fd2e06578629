"""A page that shows what was found: each query with its neighbours, in one file without anything from elsewhere."""

import base64
import html

_PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<style>
body {{ font: 15px/1.4 system-ui, sans-serif; margin: 2rem; color: #222; background: #fafafa; }}
h1 {{ font-size: 1.3rem; }}
section {{ display: flex; flex-wrap: wrap; gap: .8rem; margin: 1rem 0; padding: 1rem; }}
section {{ background: #fff; border: 1px solid #ddd; }}
figure {{ margin: 0; width: 150px; }}
figure img {{ width: 150px; height: 150px; object-fit: contain; background: #eee; }}
figure.query {{ border-right: 3px solid #1668a8; padding-right: .8rem; }}
figcaption {{ font-size: .8rem; overflow-wrap: anywhere; }}
b {{ display: block; }}
</style>
</head>
<body>
<h1>{title}</h1>
{sections}
</body>
</html>
"""


def write_report(path, found, failed, *, n_bits):
    """Write the page. ``found`` is {query: [(distance, file), …]}, ``failed`` a list of (query, reason)."""
    sections = [_section(query, neighbors, n_bits) for query, neighbors in found.items()]
    sections += [f"<p>{html.escape(query)}: {html.escape(reason)}</p>" for query, reason in failed]
    title = f"Nearest photographs, by codes of {n_bits} bits"
    with open(path, "w", encoding="utf-8", errors="backslashreplace") as file:
        file.write(_PAGE.format(title=title, sections="\n".join(sections)))


def _section(query, neighbors, n_bits):
    figures = [_figure(query, "query", "query")]
    figures += [_figure(file, f"{distance} of {n_bits} bits differ", "") for distance, file in neighbors]
    return f"<section>{''.join(figures)}</section>"


def _figure(file, caption, kind):
    text = f"<figcaption><b>{html.escape(caption)}</b>{html.escape(file)}</figcaption>"
    return f'<figure class="{kind}"><img alt="{html.escape(file)}" src="{_thumbnail(file)}">{text}</figure>'


def _thumbnail(file, size=300):
    """A small JPEG inside the page; nothing where the file is gone."""
    import cv2

    from sklinvariant._images import read_picture

    try:
        picture = read_picture(file)
    except ValueError:
        return ""
    scale = min(size / max(picture.shape[:2]), 1)
    shape = max(round(picture.shape[1] * scale), 1), max(round(picture.shape[0] * scale), 1)
    small = cv2.resize(picture, shape, interpolation=cv2.INTER_AREA)
    data = cv2.imencode(".jpg", small[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 85])[1]
    return f"data:image/jpeg;base64,{base64.b64encode(data.tobytes()).decode()}"
