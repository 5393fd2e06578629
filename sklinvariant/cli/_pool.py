"""The command ``pool``: pooling of features learned from consecutive video frames."""

import time
from argparse import ArgumentParser, Namespace

from sklinvariant.cli._options import Outcome, add_device, add_output, add_path, add_seed
from sklinvariant.cli._outputs import in_style, save_figure, start_figure


def add_arguments(parser: ArgumentParser) -> None:
    """Add the arguments of ``pool``."""
    add_path(
        parser,
        "videos",
        nargs="*",
        metavar="video",
        help="video files, or folders of images in temporal order (default: a simulated camera over two photographs)",
    )
    parser.add_argument("--pairs", type=int, default=4000, help="number of pairs of patches (default: 4000)")
    parser.add_argument("--clusters", type=int, default=30, help="number of clusters of features (default: 30)")
    add_output(parser, "file for the figure", "pool.png")
    add_seed(parser)
    add_device(parser)


def run(arguments: Namespace) -> Outcome:
    """Print the invariance of pooled features for each λ and save a figure of the clusters."""
    import numpy as np
    from sklearn.cluster import MiniBatchKMeans

    from sklinvariant.datasets import frame_pairs, make_camera_clips
    from sklinvariant.feature_extraction import ConvolutionalFeatures
    from sklinvariant.metrics import invariance_score
    from sklinvariant.pooling import AutoPooling

    if arguments.pairs < 100 or arguments.clusters < 1:
        raise ValueError("--pairs must be at least 100 and --clusters at least 1")
    start_figure(arguments.output, force=arguments.force)
    pairs, clips = frame_pairs(
        arguments.videos or make_camera_clips(random_state=arguments.seed),
        n_pairs=arguments.pairs,
        patch_size=18,
        image_size=96,
        grayscale=True,
        min_change=0.01,
        max_change=0.3,
        min_contrast=0.03,
        random_state=arguments.seed,
    )
    n = len(pairs)
    if n < 100:
        raise ValueError(f"the videos contain {n} pairs of patches with motion, but at least 100 are needed")
    extractor = MiniBatchKMeans(24, n_init=1, random_state=arguments.seed)
    settings = {"random_state": arguments.seed, "device": arguments.device}
    convolution = ConvolutionalFeatures(extractor, patch_size=6, stride=2, **settings)
    maps = convolution.fit(pairs[:, 0]).transform(pairs.reshape(2 * n, *pairs.shape[2:]))
    features = maps.reshape(n, 2, -1)
    learned, new = _halves(clips)
    print(f"{n} pairs of patches from consecutive frames, {features.shape[2]} features per patch")
    print(f"\n{'λ':>6}{'F':>8}{'rebuilt':>10}{'s':>7}")
    raw = invariance_score(features[new], random_state=0)
    print(f"{'none':>6}{raw:>8.2f}{1:>10.2f}")
    curve, rows = {}, []
    paper = {"standardize": False, "tol": 1e-3, **settings}  # the method of the paper
    for invariance in (0, 2, 10, 50, 250, 1000):
        started = time.perf_counter()
        pooling = AutoPooling(arguments.clusters, **paper, invariance=invariance)
        pooled = pooling.fit(features[learned]).transform(features[new])
        rebuilt = pooling.inverse_transform(pooled)
        kept = 1 - np.square(features[new] - rebuilt).sum() / np.square(features[new]).sum()
        curve[invariance] = float(invariance_score(pooled, random_state=0))
        seconds = time.perf_counter() - started
        rows.append({"invariance": invariance, "score": curve[invariance], "rebuilt": float(kept), "seconds": seconds})
        print(f"{invariance:>6}{curve[invariance]:>8.2f}{kept:>10.2f}{seconds:>7.1f}")
    print("F: distance between random frames divided by distance between consecutive frames, on held-out frames")
    print("rebuilt: share of the energy of the features that inverse_transform reconstructs\n")
    pooling = AutoPooling(arguments.clusters, **paper).fit(features)
    _draw(pooling, convolution.filters_, maps.shape[1:3], curve, raw, arguments.output)
    print(f"figure saved to {arguments.output}")
    return Outcome({"pairs": n, "score_before_pooling": float(raw), "rows": rows, "figure": arguments.output})


def _halves(clips):
    """Training rows and held-out rows, from different clips; if there is one clip, its first and its second half."""
    import numpy as np

    names = np.unique(clips)
    learned = np.isin(clips, names[::2]) if len(names) > 1 else np.arange(len(clips)) < len(clips) // 2
    return np.flatnonzero(learned), np.flatnonzero(~learned)


@in_style()
def _draw(pooling, filters, map_shape, curve, raw, path):
    import matplotlib.pyplot as plt

    from sklinvariant.inspection import ClusterDisplay, PoolingRegionDisplay

    figure = plt.figure(figsize=(13, 4.6))
    score, clusters, regions = figure.subplots(1, 3, width_ratios=[2, 2, 3])
    score.plot(list(curve), list(curve.values()), "o-", label="after pooling")
    score.axhline(raw, color="black", linestyle="--", label="before pooling")
    score.set(xscale="symlog", xlabel="λ", ylabel="invariance score F")
    score.set_xlim(left=0)
    score.set_title("invariance of held-out frames")
    score.legend(loc="upper center", bbox_to_anchor=(0.5, -0.14), ncols=2)
    shown = min(8, len(pooling.components_))
    ClusterDisplay.from_estimator(pooling, filters, components=shown, n_filters=6, ax=clusters)
    clusters.set_title("filters of each cluster")
    PoolingRegionDisplay.from_estimator(pooling, map_shape, components=shown, n_maps=6, ax=regions)
    regions.set_title("positions on the feature maps")
    save_figure(figure, path, dpi=110)
    plt.close(figure)
