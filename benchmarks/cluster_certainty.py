"""Certainties of the command ``cluster``: how often photographs are of the most frequent class of their cluster.

    python benchmarks/cluster_certainty.py --development FOLDER ... --evaluation FOLDER ... [--weights FILE]

A FOLDER has one sub-folder of photographs per class; ``--images`` of them are clustered into half, once and twice as
many clusters as classes. Without ``--weights`` the features are learned from the photographs. The constants of
`sklinvariant.cli._certainty` are the logistic regression on the development sets that is printed first: it gives each
clustering the same weight.
"""

import argparse
import itertools
from argparse import Namespace
from pathlib import Path

import numpy as np
from measuring import add_json, report
from sklearn.linear_model import LogisticRegression

from sklinvariant import IICClusterer
from sklinvariant.cli._certainty import MIXED, agreement_of_runs, certainties, resampled_clusterings
from sklinvariant.cli._cluster import photograph_features

BINS = (0.15, 0.35, 0.5, 0.65, 0.85)


def photographs(folder, n_images):
    """Names and classes of photographs in random order."""
    files = sorted(path for path in folder.glob("*/*") if path.is_file())
    chosen = [files[i] for i in np.random.RandomState(0).permutation(len(files))[:n_images]]
    classes = np.unique([file.parent.name for file in chosen], return_inverse=True)[1]
    return [str(file.relative_to(folder)) for file in chosen], classes


def clusterings(folder, weights, n_images, seed):
    """Agreement, certainty, the clusterer's probability, cluster, and correctness of photographs, by clustering."""
    names, y = photographs(folder, n_images)
    n_classes = y.max() + 1
    settings = Namespace(image_size=128, device="auto", weights=weights, seed=seed, clusters=2, quiet=True)
    read, features, _ = photograph_features(folder, names, settings)
    y = y[[names.index(name) for name in read]]
    for k in (max(n_classes // 2, 2), n_classes, 2 * n_classes):
        model = IICClusterer(k, pairs="neighbors", batch_size=max(1000, k), random_state=seed, scale="auto").fit(
            features
        )
        labels = model.labels_
        frequent = {label: np.bincount(y[labels == label]).argmax() for label in np.unique(labels)}
        measured = {
            "labels": labels,
            "agreement": agreement_of_runs(labels, resampled_clusterings(features, k, seed)),
            "certainty": certainties(features, labels, k, seed),
            "probability": model.predict_proba(features).max(1),
            "right": y == np.array([frequent[label] for label in labels]),
        }
        known = ~np.isnan(measured["certainty"])  # of photographs that are not alone in their cluster
        described = {"set": folder.name, "features": "SqueezeNet" if weights else "learned", "clusters": k}
        described["alone"] = int((~known).sum())
        yield described | {name: values[known] for name, values in measured.items()}


def joined(found, name):
    return np.concatenate([clustering[name] for clustering in found])


def fitted(found):
    """Slope and intercept of the logistic regression of correctness on agreement."""
    weights = np.concatenate([np.full(len(one["right"]), 1 / len(one["right"])) for one in found])
    model = LogisticRegression(C=1000).fit(joined(found, "agreement")[:, None], joined(found, "right"), weights * 1000)
    return model.coef_[0, 0], model.intercept_[0]


def reliability(kind, found):
    """A row for each interval of certainties: photographs, their mean certainty, and the share that is right.

    Photographs that are alone in their cluster have no certainty. They are counted in a row of their own.
    """
    certainty, right = joined(found, "certainty"), joined(found, "right")
    for low, high in itertools.pairwise(BINS):
        inside = (low <= certainty) & (certainty < high)
        if inside.any():
            row = [f"{100 * certainty[inside].mean():.0f} %", f"{100 * right[inside].mean():.0f} %"]
            yield [kind, f"{low:.0%}–{high:.0%}", inside.sum(), *row]
    alone = sum(one["alone"] for one in found)
    if alone:
        yield [kind, "alone", alone, "none", "–"]


def cluster_rows(found):
    """A row for each clustering: observed share, certainty and probability, and the share in clusters called mixed."""
    for one in found:
        sure = {label: one["certainty"][one["labels"] == label].mean() for label in np.unique(one["labels"])}
        mixed = np.array([sure[label] < MIXED for label in one["labels"]])
        shares = [one["right"].mean(), one["certainty"].mean(), one["probability"].mean()]
        parts = [one["right"][part].mean() if part.any() else None for part in (mixed, ~mixed)]
        cells = ["–" if share is None else f"{100 * share:.0f} %" for share in (*shares, *parts)]
        yield [one["set"], one["features"], one["clusters"], *cells]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--development", type=Path, nargs="+", default=[])
    parser.add_argument("--evaluation", type=Path, nargs="+", default=[])
    parser.add_argument("--weights", type=Path, help="also with the weights of SqueezeNet 1.1")
    parser.add_argument("--images", type=int, default=500)
    parser.add_argument("--seed", type=int, default=0)
    add_json(parser)
    args = parser.parse_args()
    found = {}
    for kind in ("development", "evaluation"):
        runs = [(folder, weights) for folder in getattr(args, kind) for weights in dict.fromkeys((None, args.weights))]
        found[kind] = [one for run in runs for one in clusterings(*run, args.images, args.seed)]
    if found["development"]:
        print("slope {:.2f}, intercept {:.2f}".format(*fitted(found["development"])))
    rows = [row for kind in found if found[kind] for row in reliability(kind, found[kind])]
    report("cluster_certainty", ["sets", "certainty", "photographs", "mean certainty", "right"], rows, args)
    columns = ["set", "features", "clusters", "right", "certainty", "probability", "right in mixed", "right in others"]
    report("cluster_certainty_sets", columns, [row for kind in found for row in cluster_rows(found[kind])], args)


if __name__ == "__main__":
    main()
