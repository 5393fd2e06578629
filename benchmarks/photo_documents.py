"""Documents that differ only in a digit, a name or a line, for the benchmark of duplicates.

Cards, forms, letters and screenshots are drawn with the fonts of matplotlib, with random layouts and texts.
"""

import numpy as np
from matplotlib.font_manager import findfont
from PIL import Image, ImageDraw, ImageFont

SIZES = {"card": (640, 400), "form": (600, 850), "letter": (600, 850), "screenshot": (960, 600)}  # width, height
EDITS = ("digit", "name", "line")
NAMES = [
    "Anna Bauer",
    "Maria Rossi",
    "John Smith",
    "Paul Dubois",
    "Eva Novak",
    "Luis Garcia",
    "Ingrid Berg",
    "Tom Miller",
]
WORDS = ["account", "address", "amount", "april", "balance", "claim", "contract", "council", "date", "delivery", "due"]
WORDS += [
    "for",
    "from",
    "in",
    "insurance",
    "invoice",
    "is",
    "meeting",
    "number",
    "of",
    "office",
    "order",
    "our",
    "please",
]
WORDS += [
    "receive",
    "regards",
    "report",
    "request",
    "school",
    "street",
    "the",
    "this",
    "total",
    "we",
    "with",
    "year",
    "you",
]


def number(rng, n_digits):
    return "".join(map(str, rng.randint(10, size=n_digits)))


def sentence(rng, n_words):
    return " ".join(rng.choice(WORDS, n_words)).capitalize() + "."


def name(rng):
    return NAMES[rng.randint(len(NAMES))]


def lines_of(kind, rng):
    """Texts as [x, y, size in pixels, kind of text, text]."""
    left, top = rng.randint(25, 60), rng.randint(20, 50)
    lines = [[left, top, rng.randint(26, 40), "line", sentence(rng, 2)]]
    if kind == "card":
        size, x = rng.randint(16, 24), left + rng.randint(0, 200)
        lines += [[x, 150, size, "name", name(rng)], [x, 200, size, "digit", number(rng, 10)]]
        lines += [
            [x, 250, size, "line", sentence(rng, 3)],
            [x, 300, size, "digit", f"{number(rng, 2)}/{number(rng, 2)}"],
        ]
    elif kind == "letter":
        size = rng.randint(14, 18)
        lines += [[left, 120, size, "name", f"Dear {name(rng)},"], [400, 90, size, "digit", f"No. {number(rng, 6)}"]]
        lines += [[left, 170 + 30 * i, size, "line", sentence(rng, 7)] for i in range(rng.randint(8, 18))]
    else:
        size, n_rows = rng.randint(13, 17), rng.randint(8, 13)
        for row in range(n_rows):
            y = 110 + row * (700 // n_rows if kind == "form" else 36)
            lines.append([left, y, size, "label", " ".join(rng.choice(WORDS, 2))])
            lines.append([left + 180, y, size, "name", name(rng)])
            lines.append([left + 330, y, size, "digit", number(rng, rng.randint(3, 8))])
            if kind == "screenshot":
                lines.append([left + 450, y, size, "line", sentence(rng, 4)])
    return lines


def edited(text, kind, rng):
    """The text with another digit or name, or another line."""
    if kind == "digit":
        place = rng.choice([i for i, letter in enumerate(text) if letter.isdigit()])
        return text[:place] + str((int(text[place]) + rng.randint(1, 10)) % 10) + text[place + 1 :]
    if kind == "name":
        old = next(one for one in NAMES if one in text)
        return text.replace(old, NAMES[(NAMES.index(old) + rng.randint(1, len(NAMES))) % len(NAMES)])
    return sentence(rng, len(text.split()))


def drawn(kind, lines, font, colours):
    """The image (h, w, 3) of uint8."""
    ink, paper, frame = colours
    image = Image.new("RGB", SIZES[kind], paper)
    pen = ImageDraw.Draw(image)
    width, height = SIZES[kind]
    if kind == "screenshot":
        pen.rectangle((0, 0, width, 18), fill=frame)
    for x, y, size, of_text, _ in lines:
        if kind in ("form", "screenshot") and of_text == "digit":
            pen.rectangle((x - 5, y - 4, x + 100, y + size + 8), outline=frame)
    if kind == "card":
        pen.rectangle((8, 8, width - 9, height - 9), outline=frame, width=3)
    for x, y, size, _, text in lines:
        pen.text((x, y), text, fill=ink, font=ImageFont.truetype(font, size))
    return np.array(image)


def make_document(seed):
    """An image of a document, and {edit: its image after a digit, a name or a line was replaced}."""
    rng = np.random.RandomState(seed)
    kind = list(SIZES)[seed % len(SIZES)]
    font = findfont(["DejaVu Sans", "DejaVu Serif", "DejaVu Sans Mono"][rng.randint(3)])
    colours = [tuple(rng.randint(low, high, 3).tolist()) for low, high in ((0, 90), (215, 256), (60, 200))]
    lines = lines_of(kind, rng)
    images = {}
    for edit in EDITS:
        copy = [list(line) for line in lines]
        line = copy[rng.choice([i for i, line in enumerate(copy) if line[3] == edit])]
        line[4] = edited(line[4], edit, rng)
        images[edit] = drawn(kind, copy, font, colours)
    return drawn(kind, lines, font, colours), images
