"""Features of an equivariant autoencoder under rotation, compared with those of an ordinary autoencoder.

    python benchmarks/equivariant_autoencoder_quality.py [--mnist MNIST.npz] [--fashion FASHION.npz] [--coil COIL20.npz]
        [--digits] [--seeds 3] [--epochs 20] [--images 1000] [--figures FOLDER]

MNIST.npz and FASHION.npz contain x_train, y_train, x_test and y_test (28 × 28), and COIL20.npz contains x (1440, 32,
32) and y. ``--digits`` uses scikit-learn's digits. Images are reduced to half their size, 14 × 14 and 16 × 16 pixels.
``--images`` is the number of training and of test images of the large data sets. For COIL, every second pose of an
object is used for training.

All autoencoders are trained on upright images without labels. A linear SVM and k-NN are trained on their scaled
features and labels. The test images are upright, rotated by quarter turns, or rotated by any angle. "rotated copies" is
an ordinary autoencoder that is trained, like its classifiers, on all four quarter turns of the images. "oblique copies"
is trained on rotations by 0, 22.5, 45 and 67.5 degrees. k-means is fitted to features of the training images, and its
clusters are compared with the classes of rotated test images. A predicted pose is correct if it is the most frequent
pose of the upright training images of the class, rotated like the test image.
"""

import argparse
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
from measuring import add_json, report
from sklearn.cluster import KMeans
from sklearn.manifold import TSNE
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import LinearSVC

from sklinvariant.autoencoder import EquivariantAutoencoder
from sklinvariant.datasets import load_digits_images
from sklinvariant.inspection import palette, style
from sklinvariant.metrics import clustering_accuracy
from sklinvariant.transforms import Rotation

METHODS = {
    "autoencoder": {"group": "trivial", "pooling": "mean", "latent_channels": 32, "width": 32},
    "autoencoder, rotated copies": {"group": "trivial", "pooling": "mean", "latent_channels": 32, "width": 32},
    "mean": {"pooling": "mean", "latent_channels": 32, "width": 8},
    "Gram": {"pooling": "gram", "latent_channels": 16, "width": 8},
    "attention": {"pooling": "attention", "latent_channels": 16, "width": 8},
    "attention, oblique copies": {"pooling": "attention", "latent_channels": 16, "width": 8},
    "attention, C8": {"group": "C8", "pooling": "attention", "latent_channels": 16, "width": 4},
}
COLUMNS = ["SVM, upright", "SVM, quarters", "SVM, any angle", "k-NN, quarters", "k-NN, any angle"]
COLUMNS += ["k-means, quarters", "pose"]


def halved(images):
    n, h, w = images.shape
    return images.reshape(n, h // 2, 2, w // 2, 2).mean((2, 4)).astype(np.float32) / 255


def large(path, n_images):
    data, rng = np.load(path), np.random.RandomState(0)
    rows = {part: rng.permutation(len(data[f"x_{part}"]))[:n_images] for part in ("train", "test")}
    return [
        values
        for part in ("train", "test")
        for values in (halved(data[f"x_{part}"][rows[part]]), data[f"y_{part}"][rows[part]])
    ]


def coil(path):
    data = np.load(path)
    x, y = halved(data["x"]), data["y"].ravel() - data["y"].min()
    return x[::2], y[::2], x[1::2], y[1::2]


def digits():
    data = load_digits_images()
    x, y = data.images.astype(np.float32), data.target
    order = np.random.RandomState(0).permutation(len(x))
    return x[order[:1200]], y[order[:1200]], x[order[1200:]], y[order[1200:]]


def quarters(images, turns):
    return np.stack([np.rot90(image, turn) for image, turn in zip(images, turns, strict=True)])


def evaluate(name, data, args, seed):
    """The fitted model and its results in percent, in the order of COLUMNS."""
    x, y, x_test, y_test = data
    rng = np.random.RandomState(seed)
    turns = rng.randint(4, size=len(x_test))
    views = {
        "upright": x_test,
        "quarters": quarters(x_test, turns),
        "any angle": Rotation().apply(x_test, rng.uniform(0, 360, (len(x_test), 1))),
    }
    epochs, upright = args.epochs, x
    if name.endswith("copies"):
        step = 90 if "rotated" in name else 22.5
        x, y = np.concatenate([Rotation().apply(x, [[turn * step]]) for turn in range(4)]), np.tile(y, 4)
        epochs = max(epochs // 4, 1)  # for the same number of steps
    model = EquivariantAutoencoder(**METHODS[name], max_epochs=epochs, batch_size=32, random_state=seed).fit(x)
    features = {view: model.transform(images) for view, images in views.items()}
    learned = model.transform(x)
    svm = make_pipeline(StandardScaler(), LinearSVC(C=0.1, dual=False)).fit(learned, y)
    neighbors = make_pipeline(StandardScaler(), KNeighborsClassifier()).fit(learned, y)
    kmeans = make_pipeline(StandardScaler(), KMeans(len(np.unique(y)), n_init=3, random_state=seed)).fit(learned)
    scores = [svm.score(features[view], y_test) for view in views]
    scores += [neighbors.score(features[view], y_test) for view in ("quarters", "any angle")]
    scores.append(clustering_accuracy(y_test, kmeans.predict(features["quarters"])))
    scores.append(pose_accuracy(model, upright, y[: len(upright)], views["quarters"], y_test, turns))
    return model, 100 * np.array(scores)


def pose_accuracy(model, x, y, turned, y_test, turns):
    order = model.embedding_shape_[1]
    if order == 1:
        return np.nan
    poses = model.predict_pose(x)
    usual = {label: np.bincount(poses[y == label]).argmax() for label in np.unique(y)}
    expected = (np.array([usual[label] for label in y_test]) + turns * order // 4) % order
    return np.mean(model.predict_pose(turned) == expected)


def draw(models, data, path):
    """Draw maps of rotated test images by two models, and an orbit with its reconstructions in the canonical pose."""
    _, _, x_test, y_test = data
    turned = quarters(x_test, np.random.RandomState(0).randint(4, size=len(x_test)))
    figure = plt.figure(figsize=(12, 8))
    above, below = figure.subfigures(2, 1, height_ratios=(3, 2))
    for axes, name in zip(above.subplots(1, 3), ("autoencoder", "Gram", "attention"), strict=True):
        features = StandardScaler().fit_transform(models[name].transform(turned))
        places = TSNE(init="pca", random_state=0).fit_transform(features)
        axes.scatter(*places.T, c=palette(y_test.max() + 1)[y_test], s=6)
        axes.set(title=f"{name}: turned test images, t-SNE", xticks=[], yticks=[])
    model = models["attention"]
    shown = [int(np.flatnonzero(y_test == label)[0]) for label in np.unique(y_test)[1:7]]
    grid = below.subplots(4, 12)
    for i, row in enumerate(shown):
        orbit = np.stack([np.rot90(x_test[row], turn) for turn in range(4)])
        rebuilt = model.inverse_transform(model.transform(orbit))
        top, left = 2 * (i // 3), 4 * (i % 3)
        for turn in range(4):
            for axes, image in zip(grid[top : top + 2, left + turn], (orbit[turn], rebuilt[turn]), strict=True):
                axes.imshow(image, cmap="gray", vmin=0, vmax=1)
                axes.axis("off")
    below.suptitle("attention: images in four poses; below each what is rebuilt of it in the canonical one")
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=90)
    print(f"\nfigure: {path}", flush=True)


@style()
def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("mnist", "fashion", "coil"):
        parser.add_argument(f"--{name}", type=Path)
    parser.add_argument("--digits", action="store_true")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--images", type=int, default=1000)
    parser.add_argument("--figures", type=Path, default=Path("equivariant-autoencoder-figures"))
    add_json(parser)
    args = parser.parse_args()
    sets = {name: large(path, args.images) for name in ("mnist", "fashion") if (path := getattr(args, name))}
    sets |= {"coil": coil(args.coil)} if args.coil else {}
    sets |= {"digits": digits()} if args.digits else {}
    for title, data in sets.items():
        print(f"\n## {title}: {len(data[0])} images of {data[0].shape[1:]}, {len(data[2])} for the test\n", flush=True)
        models, rows = {}, []
        for name in METHODS:
            runs = []
            for seed in range(args.seeds):
                models[name], scores = evaluate(name, data, args, seed)
                runs.append(scores)
            means, deviations = np.mean(runs, axis=0), np.std(runs, axis=0)
            cells = ["" if np.isnan(m) else f"{m:.1f} ± {d:.1f}" for m, d in zip(means, deviations, strict=True)]
            rows.append([name, len(models[name].get_feature_names_out()), *cells])
            print(rows[-1], flush=True)
        print()
        report(f"equivariant_{title}", ["", "features", *COLUMNS], rows, args)
        draw(models, data, args.figures / f"{title}.png")


if __name__ == "__main__":
    main()
