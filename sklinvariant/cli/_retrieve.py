"""The command ``retrieve``: retrieval of rotated images with codes of nested invariance pooling."""

import time
from argparse import ArgumentParser, Namespace

from sklinvariant.cli._data import load_data
from sklinvariant.cli._options import Outcome, add_data, add_device, add_output, add_seed
from sklinvariant.cli._outputs import in_style, save_figure, start_figure


def add_arguments(parser: ArgumentParser) -> None:
    """Add the arguments of ``retrieve``."""
    add_data(parser, 300)
    parser.add_argument("--bits", type=int, default=64, help="number of bits of a code (default: 64)")
    add_output(parser, "file for the figure", "retrieve.png")
    add_seed(parser)
    add_device(parser)


def run(arguments: Namespace) -> Outcome:
    """Compare three descriptors and their codes, print a table and save a figure."""
    import numpy as np
    import torch

    from sklinvariant.aggregation import BagOfWords
    from sklinvariant.feature_extraction import ConvolutionalFeatures
    from sklinvariant.hashing import RBMHasher
    from sklinvariant.metrics import exact_ranking
    from sklinvariant.pooling import NestedInvariancePooler
    from sklinvariant.transforms import Rotation, Scale, warp

    if arguments.max_images < 20 or arguments.bits < 1:
        raise ValueError("--max-images must be at least 20 and --bits at least 1")
    start_figure(arguments.output, force=arguments.force)
    images = np.asarray(load_data(arguments.data).images)
    rng = np.random.RandomState(arguments.seed)
    images = images[rng.permutation(len(images))[: arguments.max_images]]
    images = images / 255 if images.dtype == np.uint8 else images
    colours = torch.tensor(images if images.ndim == 4 else images[..., None], dtype=torch.float32).permute(0, 3, 1, 2)
    if max(colours.shape[2:]) < 24:  # rotating such small images loses too much detail
        colours = torch.nn.functional.interpolate(colours, scale_factor=3, mode="bicubic").clamp(0, 1)
    images = colours.permute(0, 2, 3, 1).numpy()
    backbone = ConvolutionalFeatures(
        BagOfWords(96, device=arguments.device),
        patch_size=6,
        stride=2,
        pool=2,
        contrast_eps=0.1,
        whitening_eps=0.01,
        random_state=arguments.seed,
        device=arguments.device,
    ).fit(images)
    orbits = {"rotation": Rotation(n_steps=24), "scale": Scale(n_steps=5)}
    methods: dict[str, list] = {
        "feature map": [],
        "average pooling": [("translation", 1)],
        "nested pooling": [("translation", np.inf), ("scale", 2), ("rotation", 1)],
    }
    angles = [0, 45, 90, 135, 180]
    print(f"{arguments.data}: {len(images)} images; each one is rotated and searched for among all images")
    print(f"\n{'descriptor':<18}{'features':>8}" + "".join(f"{angle:>7}°" for angle in angles) + f"{'bits':>8}{'s':>7}")
    settings, rows, documents = {"device": arguments.device}, {}, []
    for name, stages in methods.items():
        started = time.perf_counter()
        pooler = NestedInvariancePooler(backbone, stages=stages, transforms=orbits, fill="edge", **settings).fit(images)
        features = pooler.transform(images)
        hasher = RBMHasher(arguments.bits, max_epochs=60, random_state=arguments.seed, **settings).fit(features)
        codes = hasher.transform(features)
        exact, hashed = [], []
        for angle in angles:
            turned = pooler.transform(warp(images, Rotation().matrix([[angle]]), fill="edge"))
            exact.append(_found(exact_ranking(turned, features, n_neighbors=1)))
            hashed.append(_found(exact_ranking(hasher.transform(turned), codes, metric="hamming", n_neighbors=1)))
        rows[name] = exact, hashed
        seconds = time.perf_counter() - started
        print(f"{name:<18}{features.shape[1]:>8}" + "".join(f"{value:>8.2f}" for value in exact) + f"{seconds:>15.1f}")
        scores = {"exact": dict(zip(angles, exact, strict=True)), "codes": dict(zip(angles, hashed, strict=True))}
        documents.append({"descriptor": name, "features": features.shape[1], **scores, "seconds": seconds})
        print(f"{'  code':<26}" + "".join(f"{value:>8.2f}" for value in hashed) + f"{arguments.bits:>8}")
    print("The table shows the share of rotated images whose nearest neighbour is the original image.\n")
    _draw(rows, angles, arguments.output)
    print(f"figure saved to {arguments.output}")
    shared = {"data": arguments.data, "images": len(images), "bits": arguments.bits}
    return Outcome({**shared, "rows": documents, "figure": arguments.output})


def _found(nearest):
    import numpy as np

    return float((nearest[:, 0] == np.arange(len(nearest))).mean())


@in_style()
def _draw(rows, angles, path):
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(figsize=(8.5, 4.5))
    for i, (name, (exact, hashed)) in enumerate(rows.items()):
        axes.plot(angles, exact, "o-", color=f"C{i}", label=name)
        axes.plot(angles, hashed, "s--", color=f"C{i}", label=f"{name}, code")
    axes.set(xlabel="rotation of the query, degrees", ylabel="share of images found", xticks=angles, ylim=(0, 1.02))
    axes.set_title("Retrieval of rotated images")
    axes.legend(loc="center left", bbox_to_anchor=(1.01, 0.5))
    axes.grid(alpha=0.3)
    save_figure(figure, path, dpi=110)
    plt.close(figure)
