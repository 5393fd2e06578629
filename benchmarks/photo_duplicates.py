"""Duplicates among photographs: precision and recall of pairs, against perceptual hashes in eight orientations.

    python benchmarks/photo_duplicates.py PHOTOS [--others FOLDER ...] [--same FOLDER ...] [--split NAME]
    python benchmarks/photo_duplicates.py --documents [--split NAME]

Each photograph of PHOTOS is in the set with three of its changes, see ``photo_changes.py``; these are the duplicates
that are made. Images of a folder in ``--same`` are duplicates of each other. Those of ``--others`` are other
photographs, however similar: views of the same object, frames of the same video. A method names pairs, and its groups
are their connected components: pairs of the same group count as found. The hashes of ``imagehash``
have 64 bits, and are left out if it is not installed. Two images are a pair if at most ``t`` bits differ in one of
eight orientations of the first. Each hash is listed with the ``t`` that had the highest F1 on the development
photographs.

With ``--documents``, the photographs are documents made by ``photo_documents.py``, and the others are copies of them
with another digit, name or line. The table then counts how many of these are in another group than their original.
"""

import argparse
import importlib.util
import time
from collections import Counter
from pathlib import Path

import cv2
import numpy as np
import torch
from measuring import add_json, report
from photo_changes import CHANGES
from photo_documents import EDITS, make_document
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

from sklinvariant.cluster import DuplicateImages
from sklinvariant.images import IMAGE_SUFFIXES, read_image
from sklinvariant.neighbors import HammingNeighbors

OURS = {"DuplicateImages": DuplicateImages(), "DuplicateImages, max_contrast=8": DuplicateImages(max_contrast=8)}
HASHES = {"average_hash": 2, "dhash": 4, "phash": 4, "whash": 0}  # bits, chosen on the development photographs
N_CHANGES = 3  # of a photograph


def images_below(folder):
    return [path for path in sorted(folder.rglob("*")) if path.suffix.lower() in IMAGE_SUFFIXES]


def make_set(photos, same, others, n_photos):
    """Images, the label of the photograph of each, the change or the kind of each, and the name of its folder."""
    images: list = []
    labels: list = []
    kinds: list = []
    folders: list = []
    files = images_below(photos)
    files = [files[i] for i in np.linspace(0, len(files) - 1, min(n_photos, len(files))).astype(int)]
    for i, file in enumerate(files):
        copies = changed(read_image(file), i)
        images += copies.values()
        kinds += copies
        labels += [i] * len(copies)
        folders += [photos.name] * len(copies)
    for kind, given in (("same", same), ("other", others)):
        for folder in given:
            for file in images_below(folder):
                images.append(read_image(file))
                labels.append(f"{folder}" if kind == "same" else f"{file}")
                kinds.append(kind)
                folders.append(file.parent.name)
    return images, np.unique(labels, return_inverse=True)[1], np.array(kinds), folders


def changed(image, i):
    """{kind: image} of the original and some of its changes, others for each ``i``."""
    names, rng = list(CHANGES), np.random.RandomState(i)
    chosen = [names[(N_CHANGES * i + k) % len(names)] for k in range(N_CHANGES)]
    return {"original": image} | {name: CHANGES[name](image, rng) for name in chosen}


def make_documents(seeds):
    """The set of `make_set` for documents, where the folder of a document is its seed."""
    images, labels, kinds, folders = [], [], [], []
    for i, seed in enumerate(seeds):
        original, edits = make_document(seed)
        copies = changed(original, i)
        images += [*copies.values(), *edits.values()]
        kinds += [*copies, *edits]
        labels += [f"{seed}"] * len(copies) + [f"{seed}, {edit}" for edit in edits]
        folders += [f"{seed}"] * (len(copies) + len(edits))
    return images, np.unique(labels, return_inverse=True)[1], np.array(kinds), folders


def hash_codes(images, name):
    """Packed codes (n, 8 orientations, 8 bytes)."""
    import imagehash
    from PIL import Image

    function = getattr(imagehash, name)
    views = [[np.rot90(view, k) for view in (image, image[:, ::-1]) for k in range(4)] for image in images]
    codes = [[function(Image.fromarray(np.ascontiguousarray(view))).hash.ravel() for view in own] for own in views]
    return np.packbits(np.array(codes), axis=2)


def pairs_of_hashes(codes, most_bits):
    index = HammingNeighbors(radius=most_bits, packed=True).fit(codes[:, 0])
    near = index.radius_neighbors(codes.reshape(-1, 8), return_distance=False)
    one = np.repeat(np.arange(len(near)) // 8, [len(rows) for rows in near])
    return np.column_stack([one, np.concatenate(near)])


def groups_of(pairs, n):
    return connected_components(coo_matrix((np.ones(len(pairs)), pairs.T), shape=(n, n)), directed=False)[1]


def scores(groups, labels, kinds, folders):
    """F1; precision, recall and F1 of pairs, recall of originals with each change, and the share of separated edits.

    Without edits, the last column is the recall of the pairs of ``same``.
    """
    found = groups[:, None] == groups
    true = labels[:, None] == labels
    upper = np.triu(np.ones_like(true), 1)
    found, true = found & upper, true & upper
    hits = (found & true).sum()
    precision, recall = hits / max(found.sum(), 1), hits / true.sum()
    by_change = []
    for name in [*CHANGES, "same"]:
        chosen = kinds == name
        wanted = true & (chosen if name == "same" else (kinds == "original")[:, None] & chosen)
        by_change.append(f"{100 * found[wanted].mean():.0f}" if wanted.any() else "")
    document, original = np.array(folders)[:, None] == folders, (kinds == "original")[:, None]
    edits = [document & original & (kinds == edit) for edit in EDITS if (kinds == edit).any()]
    if edits:
        together = groups[:, None] == groups
        by_change[-1:] = [f"{100 * (1 - together[edit].mean()):.0f}" for edit in edits]
    f1 = 2 * hits / max(found.sum() + true.sum(), 1)
    return f1, [f"{100 * value:.1f}" for value in (precision, recall, f1)] + by_change


def wrong_pairs(groups, labels, folders):
    """Number of pairs of the same group that are not duplicates, and those of each pair of folders."""
    one, other = np.nonzero(np.triu((groups[:, None] == groups) & (labels[:, None] != labels), 1))
    counted = Counter(" and ".join(sorted({folders[i], folders[j]})) for i, j in zip(one, other, strict=True))
    return [f"{len(one)} wrong pairs", *(f"{n:5} {name}" for name, n in counted.most_common())]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("photos", type=Path, nargs="?")
    parser.add_argument("--same", type=Path, nargs="*", default=[])
    parser.add_argument("--others", type=Path, nargs="*", default=[])
    parser.add_argument("--photographs", type=int, default=200, help="number of photographs or documents, at most")
    parser.add_argument("--documents", action="store_true")
    parser.add_argument("--split", default="evaluation", help="evaluation or development; names the table")
    add_json(parser)
    args = parser.parse_args()
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    first = 0 if args.split == "development" else 1000  # seeds of other documents
    if args.documents:
        given = make_documents(range(first, first + args.photographs))
    else:
        given = make_set(args.photos, args.same, args.others, args.photographs)
    rows = measured(given, args.split)
    last = [f"other {edit}" for edit in EDITS] if args.documents else ["real pairs"]
    columns = [f"{len(given[0])} images", "precision, %", "recall, %", "F1, %", *CHANGES, *last, "ms per image"]
    name = "photo_duplicates" + "_documents" * args.documents
    report(name if args.split == "evaluation" else f"{name}_{args.split}", columns, rows, args)


def measured(given, split):
    """A row of the table for each method."""
    images, *known = given
    rows = []
    for name, model in OURS.items():
        started = time.perf_counter()
        pairs = model.fit(images).pairs_
        rows.append(row_of(name, pairs, started, *known))
        print("\n".join([name, *wrong_pairs(groups_of(pairs, len(images)), known[0], known[2])]))
    for name, chosen in HASHES.items() if importlib.util.find_spec("imagehash") else ():
        started = time.perf_counter()
        codes = hash_codes(images, name)
        limits = {most_bits: pairs_of_hashes(codes, most_bits) for most_bits in range(0, 13, 2)}
        if split == "development":  # the best of all
            chosen = max(limits, key=lambda bits: scores(groups_of(limits[bits], len(images)), *known)[0])
        rows.append(row_of(f"{name}, {chosen} bits", limits[chosen], started, *known))
    return rows


def row_of(name, pairs, started, labels, *known):
    milliseconds = 1000 * (time.perf_counter() - started) / len(labels)
    return [name, *scores(groups_of(pairs, len(labels)), labels, *known)[1], f"{milliseconds:.0f}"]


if __name__ == "__main__":
    main()
