"""Retrieval of real photographs by nested pooling and hashing: figures 1 and 6, tables 1 and 3 of Morère et al. 2016.

    python benchmarks/retrieval_quality.py DATA WEIGHTS [--part angles groups hashes samples distractors]
        [--cache FOLDER] [--vectors 1500 15000 150000]

DATA is a folder with ``multiview_groups.zip``, ``grocery_packages_176.zip``, ``eth80_128.zip`` and ``bsds500_256.zip``,
each with images and a ``labels.csv``, and for "samples" with ``cifar10_residual.npz``. WEIGHTS are the weights of
SqueezeNet 1.1. Photographs are fitted into squares of 128 pixels. Images of the same object (ETH-80), product
(groceries) or scene (groups) are relevant. The feature maps of all 360 views are computed for one photograph at a time,
and every sequence of groups is computed from them. All features are cached.
"""

import argparse
import csv
import io
import itertools
import zipfile
from pathlib import Path

import cv2
import numpy as np
import torch
from measuring import add_json, report
from sklearn.preprocessing import normalize
from tqdm import tqdm

from sklinvariant import NestedInvariancePooler, RBMHasher
from sklinvariant.feature_extraction import BackbonePatches
from sklinvariant.hashing import (
    BilinearHasher,
    ITQHasher,
    LSHHasher,
    PCAHasher,
    SignHasher,
    SKLSHHasher,
    SpectralHasher,
)
from sklinvariant.inspection import palette, style
from sklinvariant.metrics import exact_ranking, mean_average_precision, recall_at_k
from sklinvariant.networks import SqueezeNet11Features
from sklinvariant.transforms import Compose, Rotation, Scale, warp

SIZE = 128
INF = np.inf
LETTER = {1: "A", 2: "S", INF: "M"}
BEST = (("scale", 1), ("translation", 2), ("rotation", INF))


def sequences():
    """The sequences of table 1: averages over every set of groups, and all orders of three groups and three moments."""
    groups = ("translation", "rotation", "scale")
    for count in range(4):
        for chosen in itertools.combinations(groups, count):
            yield tuple((group, 1) for group in chosen)
    for order in itertools.permutations(("scale", "translation", "rotation")):
        for moments in itertools.permutations((1, 2, INF)):
            yield tuple(zip(order, moments, strict=True))


def name_of(stages):
    return "-".join(f"{LETTER[order]}_{group[0].upper()}" for group, order in stages) or "feature map"


def read(archive, name):
    with archive.open(name) as file:
        return cv2.imdecode(np.frombuffer(file.read(), np.uint8), cv2.IMREAD_COLOR)[..., ::-1]


def rows_of(archive):
    return list(csv.DictReader(io.TextIOWrapper(archive.open("labels.csv"), "utf-8")))


def load(data, name):
    """Images fitted into squares, and their labels."""
    from sklinvariant.images._pixels import fit_into

    files = {"groups": "multiview_groups", "groceries": "grocery_packages_176", "eth80": "eth80_128"}
    archive = zipfile.ZipFile(next(data.glob(f"{files.get(name, 'bsds500_256')}*.zip")))
    rng = np.random.RandomState(0)
    if name == "groups":
        chosen = [(row["path"], f"{row['source']}/{row['group']}") for row in rows_of(archive)]
    elif name == "groceries":  # five photographs of each product
        rows = [row for row in rows_of(archive) if row["split"] != "iconic"]
        chosen = []
        for product in sorted({row["fine"] for row in rows}):
            own = [row for row in rows if row["fine"] == product]
            chosen += [(own[i]["path"], product) for i in rng.permutation(len(own))[:5]]
    elif name == "eth80":  # five views of every second object
        rows = rows_of(archive)
        chosen = []
        for thing in sorted({row["object"] for row in rows})[::2]:
            own = [row for row in rows if row["object"] == thing]
            chosen += [(own[i]["path"], thing) for i in rng.permutation(len(own))[:5]]
    else:
        chosen = [(n, "") for n in sorted(archive.namelist()) if n.startswith("images/") and n.endswith(".jpg")]
    images = np.stack([fit_into(np.ascontiguousarray(read(archive, path)), SIZE) for path, _ in chosen])
    return images, np.array([label for _, label in chosen])


def backbone(weights):
    mean = np.array([104, 117, 123]) / 255
    return BackbonePatches(SqueezeNet11Features(), weights=weights, bgr=True, mean=mean, std=1 / 255)


def all_sequences(images, weights):
    """A dict of the features of every sequence, computed from the 360 views of one photograph at a time."""
    see = backbone(weights).fit(images[:1]).feature_maps("cpu")
    rotations, scales = Rotation(), Scale()
    view = Compose([scales, rotations], fill="mean")
    params = Compose([rotations, scales]).orbit().flip(1)  # rotations vary slowest
    features = {stages: [] for stages in sequences()}
    for image in tqdm(images, desc="photographs"):
        x = torch.tensor(image[None], dtype=torch.float32).permute(0, 3, 1, 2) / 255
        blocks = [view._apply(x.expand(len(rows), -1, -1, -1), rows) for rows in params.split(30)]
        maps = torch.cat([see(views.permute(0, 2, 3, 1)) for views in blocks])
        maps = maps.flatten(1, 2).unflatten(0, (len(rotations.orbit()), -1))  # (rotations, scales, cells, d)
        done = {}
        for stages in features:
            pooled = pool(maps, stages, done).flatten()
            features[stages].append((pooled / pooled.norm()).numpy())
    return {name_of(stages): np.stack(rows) for stages, rows in features.items()}


def pool(maps, stages, done):
    """Pool activations over the groups of the stages. Results of common first stages are reused.

    Of groups without a stage, only the upright view at full size is used; all cells are kept.
    """
    groups = tuple(group for group, _ in stages)
    used = frozenset(groups)
    if (stages, used) in done:
        return done[stages, used]

    def begin(length):
        """The activations after the first stages, for sequences that pool the same groups."""
        key = stages[:length], used
        if key not in done:
            if length == 0:
                whole = maps if "rotation" in used else maps[:1]
                done[key] = whole if "scale" in used else whole[:, -1:]
            else:
                group, order = stages[length - 1]
                left = [axis for axis in ("rotation", "scale", "translation") if axis not in groups[: length - 1]]
                x = begin(length - 1).movedim(left.index(group), 0)
                one = NestedInvariancePooler(stages=[(group, order)], normalize=False)
                rows = x.flatten(1)[None]
                done[key] = one.fit(rows).transform(rows).reshape(x.shape[1:])
        return done[key]

    return begin(len(stages))


def cached(folder, name, make):
    path = folder / f"{name}.npz"
    if not path.exists():
        np.savez(path, **make())
    with np.load(path) as file:
        return {key: file[key] for key in file.files}


def score(features, labels):
    return mean_average_precision(*ranked(features, labels))


def ranked(features, labels, metric="euclidean"):
    """The ranking of the other images for each row, and which of them are relevant."""
    same = labels[:, None] == labels
    np.fill_diagonal(same, False)
    return exact_ranking(features, metric=metric), same


def part_groups(args, data):
    """Table 1."""
    sets = {name: load(data, name) for name in ("groups", "groceries", "eth80")}
    scores = {}
    for name, (images, labels) in sets.items():
        features = cached(args.cache, f"sequences-{name}", lambda images=images: all_sequences(images, args.weights))
        scores[name] = {sequence: score(rows, labels) for sequence, rows in features.items()}
    average = {key: np.mean([scores[name][key] for name in sets]) for key in scores["groups"]}
    order = sorted(average, key=average.get)
    rows = [[key, *(f"{scores[name][key]:.3f}" for name in sets), f"{average[key]:.3f}"] for key in order]
    report("retrieval_groups", ["sequence", *sets, "mean"], rows, args)
    orders = {"rising": ("A", "S", "M"), "falling": ("M", "S", "A")}
    for title, wanted in orders.items():
        own = [average[key] for key in average if tuple(part[0] for part in key.split("-")) == wanted]
        print(f"{title} orders, mean over the six sequences of groups: {np.mean(own):.3f}")


def part_angles(args, data):
    """Figure 1: rotated photographs of *groups* as queries for the other, upright ones; 36 rotations, 4 scales."""
    images, labels = load(data, "groups")
    angles = list(range(0, 181, 15))
    poolers = {
        "feature map": NestedInvariancePooler(backbone(args.weights), stages=[]),
        "A_T": NestedInvariancePooler(backbone(args.weights), stages=[("translation", 1)]),
        "A_S-S_T-M_R": NestedInvariancePooler(
            backbone(args.weights),
            stages=BEST,
            transforms={"rotation": Rotation(), "scale": Scale(n_steps=4)},
            verbose=1,
        ),
    }

    def make():
        found = {}
        for name, pooler in poolers.items():
            database = pooler.fit(images).transform(images)
            values = []
            for angle in tqdm(angles, desc=name):
                turned = pooler.transform(warp(images, Rotation().matrix([[angle]]), fill="mean"))
                itself = np.arange(len(labels))[:, None]  # the photograph itself does not count as a result
                order = exact_ranking(turned, database)
                values.append(mean_average_precision(order, labels[:, None] == labels, junk=itself))
            found[name] = np.array(values)
        return found

    found = cached(args.cache, "angles", make)
    rows = [[name, *(f"{v:.3f}" for v in values), f"{values.min() / values[0]:.2f}"] for name, values in found.items()]
    report("retrieval_angles", ["descriptor", *(f"{angle}°" for angle in angles), "least / upright"], rows, args)
    figure, axes = plot()
    for name, values in found.items():
        axes.plot(angles, values, "o-", label=name)
    axes.set(xlabel="rotation of the query, degrees", ylabel="mAP", ylim=(0, 1), xticks=angles[::2])
    save(figure, axes, args.cache / "angles.png")


def hashers(n_bits, seed):
    return {
        "RBMH": RBMHasher(n_bits, max_epochs=args_epochs, random_state=seed),
        "RBM": RBMHasher(n_bits, regularization=0, max_epochs=args_epochs, random_state=seed),
        "RBM, sparse": RBMHasher(
            n_bits, regularization=0, sparsity=0.2, sparsity_weight=0.5, max_epochs=args_epochs, random_state=seed
        ),
        "ITQ": ITQHasher(n_bits, random_state=seed),
        "BPBC": BilinearHasher(n_bits, random_state=seed),
        "PCAHash": PCAHasher(n_bits),
        "LSH": LSHHasher(n_bits, random_state=seed),
        "SKLSH": SKLSHHasher(n_bits, random_state=seed),
        "SH": SpectralHasher(n_bits),
    }


args_epochs = 60


def part_hashes(args, data):
    """Figure 6 and table 3: hashes of the features of the best sequence, fitted to the three sets and distractors."""
    sets = {name: load(data, name) for name in ("groups", "groceries", "eth80")}
    best = {}
    for name, (images, _) in sets.items():
        make = lambda images=images: all_sequences(images, args.weights)  # noqa: E731
        best[name] = cached(args.cache, f"sequences-{name}", make)[name_of(BEST)]
    others = cached(args.cache, "distractors", lambda: {"features": distractor_features(args, data)})["features"]
    learned_on = np.concatenate([*best.values(), others])
    print(f"hashes learned on {len(learned_on)} photographs; mean ± std of mAP over {args.seeds} seeds\n")
    curves, rows = {}, []
    sizes = (32, 64, 128, 256, 512)
    for name in hashers(32, 0):
        line = [name]
        for n_bits in sizes:
            values = []
            for seed in range(args.seeds):
                hasher = hashers(n_bits, seed)[name].fit(learned_on)
                values.append([hashed_score(hasher, best[key], labels) for key, (_, labels) in sets.items()])
            mean = np.mean(values, axis=1)
            curves.setdefault(name, []).append(mean.mean())
            line.append(f"{mean.mean():.3f} ± {mean.std():.3f}")
            tqdm.write(f"{name} {n_bits}: {line[-1]}, by set {np.mean(values, axis=0).round(3)}")
        rows.append(line)
    sign = np.mean([hashed_score(SignHasher().fit(learned_on), best[key], sets[key][1]) for key in sets])
    exact = np.mean([score(best[key], sets[key][1]) for key in sets])
    report("retrieval_hashes", ["hash", *(f"{n_bits} bits" for n_bits in sizes)], rows, args)
    print(f"\nsigns of the 512 features: {sign:.3f}; the features themselves: {exact:.3f}")
    figure, axes = plot()
    for name, values in curves.items():
        axes.plot(sizes, values, "o-" if name == "RBMH" else "s--", label=name)
    axes.axhline(exact, color="k", lw=0.8)
    axes.set(xscale="log", xlabel="bits", ylabel="mAP, mean of three sets", xticks=sizes, xticklabels=sizes)
    axes.minorticks_off()
    save(figure, axes, args.cache / "hashes.png")


def part_samples(args, data):
    """Hashes learned on growing numbers of vectors of other images, as in the paper, which used 150,000 of ImageNet.

    The vectors are S_T of CIFAR-10 images enlarged to 96 pixels, and of two windows of the feature map of each.
    """
    pooler = NestedInvariancePooler(backbone(args.weights), stages=[("translation", 2)])
    sets = {}
    for name in ("groups", "groceries", "eth80"):
        images, labels = load(data, name)
        make = lambda images=images: {"features": pooler.fit(images[:1]).transform(images)}  # noqa: E731
        sets[name] = cached(args.cache, f"cells-{name}", make)["features"], labels
    others = cached(args.cache, "windows", lambda: {"features": window_features(args, data)})["features"]
    rows = []
    for n_bits, count, name in itertools.product((64, 256), args.vectors, ("RBMH", "ITQ", "PCAHash", "LSH")):
        values = []
        for seed in range(args.seeds):
            hasher = hashers(n_bits, seed)[name].fit(others[:count])
            values.append([hashed_score(hasher, *one) for one in sets.values()])
        values = np.array(values)
        average = values.mean(1)
        cells = [f"{value:.3f}" for value in values.mean(0)]
        rows.append([n_bits, f"{count:,}", name, *cells, f"{average.mean():.3f} ± {average.std():.3f}"])
        tqdm.write(" ".join(map(str, rows[-1])))
    exact = [score(*one) for one in sets.values()]
    rows.append(["", "", "the features", *(f"{value:.3f}" for value in exact), f"{np.mean(exact):.3f}"])
    report("retrieval_samples", ["bits", "vectors", "hash", *sets, "mean"], rows, args)


def window_features(args, data):
    """Rows of length 1, in random order: the root mean square over the cells of three windows of each image."""
    from embedding_search import cells, cifar_pixels

    count = -(-max(args.vectors) // 3)
    images = cifar_pixels(data, "train", count)
    maps = cells(images, args.weights, args.cache / f"cells-train-{count}.npy").reshape(count, 5, 5, -1)
    rows = []
    for window in (np.s_[:, :], np.s_[:4, :3], np.s_[1:, 2:]):
        squares = np.square(maps[:, *window], dtype=np.float32).mean((1, 2))
        rows.append(np.sqrt(squares))
    features = normalize(np.concatenate(rows))
    return features[np.random.RandomState(0).permutation(len(features))]


def hashed_score(hasher, features, labels):
    return mean_average_precision(*ranked(hasher.transform(features), labels, "hamming"))


def distractor_features(args, data):
    """1,000 crops of the 500 photographs by the best sequence with 12 rotations and 3 scales."""
    crops = distractors(data, 1000)
    return quick_pooler(args).fit(crops[:1]).transform(crops)


def distractors(data, count):
    """The 500 photographs, and random crops of them up to the requested number."""
    images, _ = load(data, "bsds")
    crops = np.concatenate([images] + [random_crops(images, seed) for seed in range(-(-count // len(images)) - 1)])
    return crops[:count]


def random_crops(images, seed):
    from sklinvariant.transforms import Crop

    crop = Crop((0.2, 0.6))
    return (np.clip(crop.apply(images, crop.sample(len(images), seed + 1)), 0, 1) * 255).round().astype(np.uint8)


def quick_pooler(args):
    transforms = {"rotation": Rotation(n_steps=12), "scale": Scale(n_steps=3)}
    return NestedInvariancePooler(backbone(args.weights), stages=BEST, transforms=transforms, verbose=1)


def part_distractors(args, data):
    """Figure 7: *groups* among growing numbers of distractors, with S_T-M_R and 12 rotations for speed."""
    images, labels = load(data, "groups")

    def make():
        stages, transforms = BEST[1:], {"rotation": Rotation(n_steps=12)}
        pooler = NestedInvariancePooler(backbone(args.weights), stages=stages, transforms=transforms, verbose=1)
        pooler.fit(images[:1])
        others = distractors(data, args.distractors)
        return {"groups": pooler.transform(images), "others": pooler.transform(others)}

    features = cached(args.cache, "many", make)
    rows = []
    for count in (0, 1000, 10_000):
        others = features["others"][:count]
        if len(others) < count:
            continue
        everything = np.concatenate([features["groups"], others])
        names = np.concatenate([labels, np.full(len(others), "")])
        line = [count]
        for n_bits in (None, 64, 128, 256):
            codes, metric = everything, "euclidean"
            if n_bits:
                learned_on = features["others"][-5000:]
                codes = RBMHasher(n_bits, random_state=0, max_epochs=args_epochs).fit(learned_on).transform(everything)
                metric = "hamming"
            itself = np.arange(len(labels))[:, None]
            order = exact_ranking(codes[: len(labels)], codes, metric=metric)
            same = labels[:, None] == names
            line.append(f"{mean_average_precision(order, same, junk=itself):.3f}")
            line.append(f"{recall_at_k(order, same, 4, junk=itself):.3f}")
        rows.append(line)
    header = ["distractors"] + [
        f"{what}, {of}" for what in ("features", "64 bits", "128 bits", "256 bits") for of in ("mAP", "R@4")
    ]
    report("retrieval_distractors", header, rows, args)


@style()
def plot():
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(figsize=(9, 4.5))
    axes.set_prop_cycle(color=palette(20))  # there are more than seven curves
    return figure, axes


@style()
def save(figure, axes, path):
    axes.grid(alpha=0.3)
    axes.legend(loc="center left", bbox_to_anchor=(1.01, 0.5))
    figure.savefig(path, dpi=90)
    print(f"\nfigure: {path}\n")


def main():
    parts = {
        "angles": part_angles,
        "groups": part_groups,
        "hashes": part_hashes,
        "samples": part_samples,
        "distractors": part_distractors,
    }
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("weights")
    parser.add_argument("--part", nargs="+", choices=list(parts), default=list(parts))
    parser.add_argument("--cache", type=Path, default=Path("retrieval-cache"))
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--distractors", type=int, default=10_000)
    parser.add_argument("--vectors", type=int, nargs="+", default=[1500, 15_000, 150_000])
    add_json(parser)
    args = parser.parse_args()
    args.cache.mkdir(exist_ok=True, parents=True)
    for part in args.part:
        print(f"\n## {part}\n")
        parts[part](args, args.data)


if __name__ == "__main__":
    main()
