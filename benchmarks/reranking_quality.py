"""Query expansion, database augmentation, k-reciprocal re-ranking and diffusion: mean average precision of retrieval.

    python benchmarks/reranking_quality.py --data FOLDER [--cache FOLDER] [--seeds 5] [--only WORD ...] [--json FOLDER]

Vectors are means over the cells of SqueezeNet 1.1 (fire9) for photographs fitted into squares of 128 pixels, minus the
mean of the database, of length 1. For each seed, two random photographs of each label (one, if there are fewer than
six) are queries, and all others are the database. Each cell is the mean ± standard deviation over the seeds of the
mean average precision in %, of photographs with the same label: a scene, a product, or an object.

Settings are the defaults of the functions, and 5 neighbours for expansion and augmentation. They were chosen on the
development sets. ``--tune`` prints a grid of settings on these sets. FOLDER contains ``multiview_groups.zip``,
``grocery_packages_176.zip``, ``eth80_128.zip``, ``coil20_32.npz``, ``davis16_256.zip`` and
``weights/squeezenet_v1.1_imagenet_notop.npz``.
"""

import argparse
import functools
import itertools
import tempfile
import time
from pathlib import Path

import numpy as np
from league_retrieval import photographs
from league_sets import eth, features, from_files, groceries
from measuring import add_json, report
from sklearn.preprocessing import normalize

from sklinvariant.metrics import average_precision, exact_ranking
from sklinvariant.neighbors import augment_database, diffusion_ranking, expand_queries, k_reciprocal_ranking

K = 5  # neighbours for expansion and augmentation


def scenes(data):
    """All photographs of the groups."""
    images, labels = photographs(data, "multiview_groups.zip", "group", each=100)
    return features(data, images, 128), np.unique(labels, return_inverse=True)[1]


def frames(data, each):
    """Frames of 20 videos."""
    images, labels = photographs(data, "davis16_256.zip", "sequence", each=each, path="frame")
    return features(data, images, 128), np.unique(labels, return_inverse=True)[1]


def poses(data, each):
    """Poses of the 20 objects of COIL-20."""
    with np.load(data / "coil20_32.npz") as file:
        images, labels = file["x"].reshape(-1, 32, 32), file["y"].astype(int)
    order = np.random.RandomState(0).permutation(len(labels))
    chosen = np.concatenate([order[labels[order] == label][:each] for label in np.unique(labels)])
    enlarged = images[chosen].repeat(4, axis=1).repeat(4, axis=2).astype(np.uint8)
    return features(data, np.repeat(enlarged[..., None], 3, axis=-1), 128), labels[chosen]


DEVELOPMENT = {
    "COIL-20, 6 poses": from_files(poses, each=6),
    "COIL-20, 30 poses": from_files(poses, each=30),
    "videos, 6 frames": from_files(frames, each=6),
    "videos, 30 frames": from_files(frames, each=30),
}
EVALUATION = {
    "groups, 13 scenes": from_files(scenes),
    "groceries, 31 products": from_files(groceries),
    "ETH-80, 80 objects": from_files(eth),
}


def expanded(queries, X, k=K, alpha=3.0):
    return exact_ranking(expand_queries(queries, X, exact_ranking(queries, X, n_neighbors=k), alpha=alpha), X)


def augmented(X, k=K, alpha=3.0):
    return augment_database(X, exact_ranking(X, n_neighbors=k), alpha=alpha)


def both(queries, X, k=K, alpha=3.0):
    return expanded(queries, augmented(X, k, alpha), k, alpha)


METHODS = {
    "cosine": exact_ranking,
    "average query expansion": functools.partial(expanded, alpha=0),
    "α-weighted query expansion": expanded,
    "database augmentation": lambda queries, X: exact_ranking(queries, augmented(X)),
    "augmentation and expansion": both,
    "k-reciprocal ranking": lambda queries, X: k_reciprocal_ranking(queries, X)[1],
    "diffusion": lambda queries, X: diffusion_ranking(queries, X)[1],
}


def grid():
    """Settings to compare on the development sets."""
    found = {"cosine": exact_ranking}
    for k, alpha in itertools.product((2, 5, 10), (0, 3, 10)):
        found[f"expansion, k={k}, alpha={alpha}"] = functools.partial(expanded, k=k, alpha=alpha)
        found[f"augmentation and expansion, k={k}, alpha={alpha}"] = functools.partial(both, k=k, alpha=alpha)
    for k1, k2 in ((5, 2), (10, 3), (20, 6)):
        found[f"k-reciprocal, {k1}, {k2}"] = lambda q, X, k1=k1, k2=k2: k_reciprocal_ranking(q, X, k1=k1, k2=k2)[1]
    for links, starts, alpha in itertools.product((5, 10, 20, 50), (3, 10), (0.9, 0.99)):
        settings = dict(n_links=links, n_starts=starts, alpha=alpha)
        name = f"diffusion, {links}, {starts}, {alpha}"
        found[name] = lambda q, X, settings=settings: diffusion_ranking(q, X, **settings)[1]
    return found


def split(vectors, labels, seed):
    """Centred queries and database, and their labels."""
    order = np.random.RandomState(seed).permutation(len(labels))
    sizes = np.bincount(labels)
    chosen = [order[labels[order] == label][: 1 + (sizes[label] >= 6)] for label in np.unique(labels)]
    asked = np.zeros(len(labels), dtype=bool)
    asked[np.concatenate(chosen)] = True
    vectors = normalize(vectors)
    vectors = normalize(vectors - vectors[~asked].mean(axis=0))
    queries, database = vectors[asked], vectors[~asked]
    return queries, database, labels[asked], labels[~asked]


def scored(method, vectors, labels, seeds):
    """Mean average precision for each seed, and milliseconds of a query."""
    found, taken, n_queries = [], 0, 0
    for seed in range(seeds):
        queries, database, asked, stored = split(vectors, labels, seed)
        started = time.process_time()
        ranking = method(queries, database)
        taken, n_queries = taken + time.process_time() - started, n_queries + len(queries)
        found.append(100 * average_precision(ranking, asked[:, None] == stored).mean())
    return found, 1000 * taken / n_queries


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--cache", type=Path, default=Path(tempfile.gettempdir()))
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--only", nargs="+", default=[""], help="words in the names of the sets")
    parser.add_argument("--tune", action="store_true", help="a grid of settings on the development sets")
    add_json(parser)
    args = parser.parse_args()
    for kind, sets in (("development", DEVELOPMENT), ("evaluation", EVALUATION)):
        chosen = {name: load for name, load in sets.items() if any(word in name for word in args.only)}
        if not chosen or (args.tune and kind == "evaluation"):
            continue
        loaded = {name: load(args.data, args.cache)[:2] for name, load in chosen.items()}
        rows = []
        for name, method in (grid() if args.tune else METHODS).items():
            results = [scored(method, *one, args.seeds) for one in loaded.values()]
            cells = [f"{np.mean(found):.1f} ± {np.std(found):.1f}" for found, _ in results]
            mean = np.mean([np.mean(found) for found, _ in results])
            rows.append((name, *cells, f"{mean:.1f}", f"{np.mean([ms for _, ms in results]):.1f}"))
            print(rows[-1], flush=True)
        report(f"reranking_{kind}", ("", *chosen, "mean", "ms"), rows, args)


if __name__ == "__main__":
    main()
