"""Folders of photographs, and the pages that commands write."""

from html.parser import HTMLParser

import numpy as np
import pytest


def write_images(folder, n=4, seed=0):
    cv2 = pytest.importorskip("cv2", reason="OpenCV is not installed")
    folder.mkdir(parents=True)
    rng = np.random.RandomState(seed)
    for i in range(n):
        coarse = rng.randint(256, size=(5, 5, 3)).astype(np.uint8)
        cv2.imwrite(str(folder / f"{i}.png"), cv2.resize(coarse, (40, 40), interpolation=cv2.INTER_LINEAR))


class _Page(HTMLParser):
    def __init__(self, text):
        super().__init__()
        self.tags, self.images, self.links = set(), [], []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.tags.add(tag)
        assert not any(name.startswith("on") for name, _ in attributes)
        self.links += [value for name, value in attributes if tag == "a" and name == "href"]
        self.images += [value for name, value in attributes if tag == "img" and name == "src"]


def parse_page(path):
    page = _Page(path.read_text(encoding="utf-8"))
    allowed = {"html", "head", "meta", "title", "style", "body", "h1", "h2", "p", "section", "figure", "figcaption"}
    assert page.tags <= allowed | {"img", "b", "a", "footer"}
    return page
