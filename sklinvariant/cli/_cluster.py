"""The command ``cluster``: clustering of the images in a folder, or of scikit-learn's digits, without labels."""

from argparse import ArgumentParser, Namespace
from pathlib import Path
from typing import Any

from sklinvariant.cli._options import Outcome, add_device, add_output, add_photos, add_seed, shows_progress
from sklinvariant.cli._outputs import (
    PAGE,
    TABLE,
    as_rows,
    check_output,
    print_failures,
    printable,
    save_figure,
    start_figure,
    warnings_as_lines,
    write_table,
)


def add_arguments(parser: ArgumentParser) -> None:
    """Add the arguments of ``cluster``."""
    add_photos(parser, nargs="?", help="folder of images, including its sub-folders (default: the 1,797 digits)")
    add_output(
        parser,
        "file for the page (default: clusters.html); a table of all images is written next to it as .csv. For the "
        "digits: file for the figure (default: clusters.png)",
    )
    parser.add_argument("--clusters", type=int, help="number of clusters (default: 8, or 10 for the digits)")
    parser.add_argument("--shown", type=int, default=12, help="photographs shown per cluster (default: 12)")
    add_seed(parser)
    add_device(parser)


def run(arguments: Namespace) -> Outcome:
    """Cluster the photographs or the digits."""
    if arguments.photos is None:
        return _sort_digits(arguments)
    arguments.clusters = 8 if arguments.clusters is None else arguments.clusters
    return _sort_photos(arguments)


def _sort_digits(arguments):
    """Print the accuracy on the digits, compared with k-means, and save a figure of the most probable digits."""
    path = arguments.output or "clusters.png"
    start_figure(path, force=arguments.force)
    import matplotlib.pyplot as plt
    from sklearn.cluster import KMeans
    from sklearn.datasets import load_digits

    from sklinvariant import IICClusterer
    from sklinvariant.inspection import ClusterGalleryDisplay
    from sklinvariant.metrics import clustering_accuracy

    k, seed = 10 if arguments.clusters is None else arguments.clusters, arguments.seed
    if k < 2:
        raise ValueError(f"--clusters must be at least 2, got {k}")
    X, y = load_digits(return_X_y=True)
    images = X.reshape(-1, 8, 8) / 16
    model = IICClusterer(k, random_state=seed, device=arguments.device, verbose=int(shows_progress(arguments))).fit(
        images
    )
    sorted_by = {"k-means": KMeans(k, n_init=10, random_state=seed).fit_predict(X), "IICClusterer": model.labels_}
    print(f"{len(y)} digits in {k} clusters, accuracy with clusters matched one to one with classes:")
    accuracies = {name: float(clustering_accuracy(y, labels)) for name, labels in sorted_by.items()}
    for name, accuracy in accuracies.items():
        print(f"  {name:14}{100 * accuracy:5.1f} %")
    figure, ax = plt.subplots(figsize=(8, 0.7 * k + 0.5), layout="constrained")
    ClusterGalleryDisplay.from_estimator(model, images, ax=ax)
    ax.set_title("most probable digits of each cluster")
    save_figure(figure, path, dpi=80)
    print(f"figure saved to {path}")
    return Outcome({"images": len(y), "accuracies": accuracies, "figure": path})


def _sort_photos(arguments):
    """Cluster the features of the photographs. Write the table, and the page with the most certain ones."""
    import numpy as np

    from sklinvariant.cli._certainty import certainties
    from sklinvariant.cli._photos import check_weights, list_images
    from sklinvariant.cli._report import certainty_in_words, write_clusters

    if arguments.clusters < 2 or arguments.shown < 1 or arguments.image_size < 16:
        raise ValueError("--clusters must be at least 2, --shown at least 1 and --image-size at least 16")
    page = check_output("--output", arguments.output or "clusters.html", PAGE, force=arguments.force)
    table = check_output("the table of --output", page.with_suffix(".csv"), TABLE, force=arguments.force)
    check_weights(arguments.weights)
    folder = Path(arguments.photos).resolve()
    with warnings_as_lines():
        names = [name for name, _ in list_images(folder, follow_links=arguments.follow_links)]
        if not names:
            raise ValueError(f"{folder} contains no images")
        names, features, failed = photograph_features(folder, names, arguments)
        labels, ratio = _clusters(features, arguments)
        sure = certainties(features, labels, arguments.clusters, arguments.seed)
    clusters = _document_of_clusters(names, labels, sure, arguments.clusters)
    rows = zip(names, labels, sure, strict=True)
    write_table(table, ([name, label, "" if np.isnan(sure) else f"{sure:.4f}"] for name, label, sure in rows))
    write_clusters(page, folder, clusters, failed, n_shown=arguments.shown)
    sizes = ", ".join(str(len(cluster["photographs"])) for cluster in clusters)
    print(f"{len(names)} photographs in {arguments.clusters} clusters: {sizes}")
    print(f"certainty of the clusters: {', '.join(map(certainty_in_words, clusters))}")
    print(f"mutual information between neighbours: {ratio:.0%} of the maximum for {arguments.clusters} clusters")
    print(f"page saved to {printable(page)}\ntable saved to {printable(table)}")
    print_failures("skipped", failed)
    return Outcome({"clusters": clusters, "skipped": as_rows(failed), "page": str(page), "table": str(table)})


def photograph_features(folder: Path, names: list[str], arguments: Namespace) -> tuple[list[str], Any, list[tuple]]:
    """Names and features (n, d) of the images that can be read, and (name, reason) of the others."""
    import numpy as np

    from sklinvariant import NestedInvariancePooler
    from sklinvariant.cli._photos import check_still_there, learn_backbone, squeezenet
    from sklinvariant.images import ImageStream

    files, size = [str(folder / name) for name in names], arguments.image_size
    device, verbose = arguments.device, int(shows_progress(arguments))
    weights, seed = arguments.weights, arguments.seed
    backbone = squeezenet(weights) if weights else learn_backbone(files, size, seed, device)
    settings = {"stages": [("translation", 2)], "on_error": "nan", "device": device, "verbose": verbose}
    pooler = NestedInvariancePooler(backbone, image_size=size, **settings)
    pooler.fit([np.zeros((size, size, 3), np.uint8)])
    stream: Any = ImageStream(files, size, pooler.fill, on_error="nan")
    features = pooler.transform(stream)
    check_still_there(folder)
    good = ~np.isnan(features).any(axis=1)
    if good.sum() < arguments.clusters:
        raise ValueError(
            f"only {good.sum()} of {len(names)} images in {folder} can be read, which is too few for "
            f"--clusters {arguments.clusters}"
        )
    named = [name for name, ok in zip(names, good, strict=True) if ok]
    return named, features[good], [(names[row], reason) for row, reason in stream.failed]


def _clusters(features, arguments):
    """Clusters (n,), and the mutual information of the best head as a share of its maximum."""
    from sklinvariant import IICClusterer

    clusterer = IICClusterer(
        arguments.clusters,
        pairs="neighbors",
        batch_size=max(1000, arguments.clusters),
        random_state=arguments.seed,
        device=arguments.device,
        verbose=int(shows_progress(arguments)),
    ).fit(features)
    return clusterer.labels_, clusterer.mutual_information_ratio_[clusterer.best_head_]


def _document_of_clusters(names, labels, sure, n_clusters):
    """The clusters with their photographs, the most certain ones first, as `--json` prints them."""
    from sklinvariant.cli._certainty import MIXED

    clusters, order = [], (-sure).argsort(kind="stable")
    for cluster in range(n_clusters):
        rows = order[labels[order] == cluster]
        known = len(rows) > 1  # neither a photograph that is alone nor an empty cluster has a certainty
        photographs = [{"file": names[row], "certainty": float(sure[row]) if known else None} for row in rows]
        certainty = float(sure[rows].mean()) if known else None
        mixed = certainty is not None and certainty < MIXED
        clusters.append({"cluster": cluster, "certainty": certainty, "mixed": mixed, "photographs": photographs})
    return clusters
