"""The demo: images -> local features -> aggregation -> LinearSVC, the aggregation chosen by a grid search."""

import contextlib
import os
import sys
import time
import warnings


def add_arguments(parser):
    """The words of ``aggregation``, which is also what is run without a command."""
    parser.set_defaults(run=run)
    parser.add_argument(
        "--data",
        default="digits",
        help="digits (default), fashion-mnist, cifar10, an .npz file, or a folder with a sub-folder a class",
    )
    parser.add_argument("--output", default="demo.png", help="where the picture goes (default: demo.png)")
    parser.add_argument("--max-images", type=int, default=1500, help="images used (default: 1500)")
    parser.add_argument("--seed", type=int, default=0)


def load_data(name):
    from sklinvariant import datasets

    loaders = {
        "digits": datasets.load_digits_images,
        "fashion-mnist": datasets.fetch_fashion_mnist,
        "cifar10": datasets.fetch_cifar10,
    }
    if name in loaders:
        return loaders[name]()
    if os.path.isdir(name):
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            data = datasets.load_image_folder(name)
        for warning in caught:
            print(f"sklinvariant: {warning.message}", file=sys.stderr)
        return data
    if os.path.exists(name):
        return datasets.load_npz(name)
    raise FileNotFoundError(f"--data {name}: no such file or folder, nor one of {', '.join(loaders)}")


def run(arguments):
    """The grid search, its table and its picture; the exit status."""
    import numpy as np
    from sklearn.model_selection import train_test_split

    if arguments.max_images < 20:
        raise ValueError(f"--max-images must be at least 20, got {arguments.max_images}")
    folder = os.path.dirname(os.path.abspath(arguments.output))
    if not os.path.isdir(folder):
        raise FileNotFoundError(f"--output {arguments.output}: there is no folder {folder}")
    data = load_data(arguments.data)
    images, y = data.images, data.target
    if len(np.unique(y)) < 2:
        raise ValueError(f"--data {arguments.data}: a single class; there is nothing to tell apart")
    chosen = np.random.RandomState(arguments.seed).permutation(len(images))[: arguments.max_images]
    images, y = images[chosen], y[chosen]
    split = train_test_split(images, y, test_size=1 / 3, stratify=y, random_state=arguments.seed)
    print(f"{arguments.data}: {len(split[0])} images to learn from, {len(split[1])} to test on, {images.shape[1:]}")
    rows, best = _compare(*split, seed=arguments.seed)
    _print_table(rows)
    _draw(rows, best, images.shape[3:], arguments.output)
    print(f"picture: {arguments.output}")
    return 0


def _methods(seed):
    """Each method with the sizes to try, and the feature map that goes with it."""
    from sklearn.kernel_approximation import AdditiveChi2Sampler

    from sklinvariant.aggregation import VLAD, BagOfWords, FisherVector, LearnedBoW, LearnedVLAD

    chi2 = AdditiveChi2Sampler()
    return {
        "BagOfWords": (BagOfWords(random_state=seed), "n_codewords", (16, 64, 256), chi2),
        "LearnedBoW": (LearnedBoW(random_state=seed), "n_codewords", (8, 16, 64), chi2),
        "VLAD": (VLAD(random_state=seed), "n_codewords", (4, 8, 16), "passthrough"),
        "LearnedVLAD": (LearnedVLAD(random_state=seed), "n_codewords", (4, 8, 16), "passthrough"),
        "FisherVector": (FisherVector(random_state=seed), "n_components", (4, 8, 16), "passthrough"),
    }


def _compare(train_images, test_images, y_train, y_test, *, seed):
    from sklearn.base import clone
    from sklearn.model_selection import GridSearchCV
    from sklearn.pipeline import Pipeline
    from sklearn.svm import LinearSVC

    from sklinvariant.feature_extraction import DensePatches

    size = 4 if train_images.shape[1] <= 16 else 8
    patches = DensePatches(size, stride=1 if size == 4 else 4)
    bags = patches.fit_transform(train_images)  # cut once: the search is over what comes after
    pipeline = Pipeline([("aggregation", None), ("map", "passthrough"), ("svm", LinearSVC(random_state=seed))])
    rows, models = [], {}
    for name, (estimator, parameter, sizes, feature_map) in _methods(seed).items():
        grid = {
            "aggregation": [estimator],
            f"aggregation__{parameter}": sizes,
            "map": [feature_map],
            "svm__C": [0.1, 1.0, 10.0],
        }
        search = GridSearchCV(clone(pipeline), grid, cv=3, refit=True)
        started = time.perf_counter()
        with warnings.catch_warnings(), _progress(search, name):
            warnings.simplefilter("ignore")  # LinearSVC says so each time it stops early
            search.fit(bags, y_train)
        seconds = time.perf_counter() - started
        for size_ in sizes:
            rows.append(_measure(name, search, parameter, size_, patches, bags, test_images, y_train, y_test))
        chosen = search.best_params_[f"aggregation__{parameter}"]
        print(
            f"{name}: best of {len(search.cv_results_['params'])} settings in {seconds:.0f} s is {parameter}={chosen}"
        )
        models[name] = search.best_estimator_["aggregation"]
    return rows, models


def _measure(name, search, parameter, size, patches, bags, test_images, y_train, y_test):
    """Refit the best setting of one size; accuracy on the test images and times."""
    import numpy as np
    from sklearn.base import clone

    results = search.cv_results_
    of_size = [i for i, p in enumerate(results["params"]) if p[f"aggregation__{parameter}"] == size]
    best = max(of_size, key=lambda i: results["mean_test_score"][i])
    model = clone(search.estimator).set_params(**_clone_values(results["params"][best]))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        started = time.perf_counter()
        model.fit(bags, y_train)
        fitted = time.perf_counter()
    test_bags = patches.transform(test_images)
    features = model["aggregation"].transform(test_bags)
    transformed = time.perf_counter()
    return {
        "method": name,
        "size": size,
        "features": features.shape[1],
        "validation": float(results["mean_test_score"][best]),
        "accuracy": float(np.mean(model.predict(test_bags) == y_test)),
        "fit": fitted - started,
        "transform": transformed - fitted,
        "best": bool(results["rank_test_score"][best] == 1),
    }


def _clone_values(params):
    """Parameters of a search with its estimators cloned."""
    from sklearn.base import clone

    return {name: clone(value) if hasattr(value, "get_params") else value for name, value in params.items()}


@contextlib.contextmanager
def _progress(search, name):
    """A bar for the search where scikit-learn and rich can draw one, a line elsewhere."""
    from sklinvariant._compat import progress_bars

    bars = progress_bars() if sys.stderr.isatty() else []
    if bars:
        search.set_callbacks(*bars)
    else:
        print(f"{name} …", flush=True)
    yield


def _print_table(rows):
    print(f"\n{'method':<14}{'size':>6}{'features':>10}{'cv':>8}{'test':>8}{'fit s':>8}{'transform s':>13}")
    for row in rows:
        mark = " *" if row["best"] else ""
        print(
            f"{row['method']:<14}{row['size']:>6}{row['features']:>10}{row['validation']:>8.3f}{row['accuracy']:>8.3f}"
            f"{row['fit']:>8.2f}{row['transform']:>13.3f}{mark}"
        )
    print("* the setting that the grid search chose, for each method\n")


def _draw(rows, models, channels, path):
    try:
        import matplotlib
    except ImportError as error:
        raise ImportError('the picture needs matplotlib: pip install "sklinvariant[plot]"') from error
    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    from sklinvariant.inspection import CodebookDisplay

    figure, (left, right) = plt.subplots(1, 2, figsize=(11, 4.5), width_ratios=(3, 2), layout="constrained")
    for name in dict.fromkeys(row["method"] for row in rows):
        own = [row for row in rows if row["method"] == name]
        line = "o-" if name.startswith("Learned") else "s--"
        left.plot([row["features"] for row in own], [row["accuracy"] for row in own], line, label=name)
    left.set(xscale="log", xlabel="size of the representation", ylabel="accuracy on test images")
    left.set_title("Accuracy against size")
    left.legend()
    left.grid(alpha=0.3)
    learned = models["LearnedBoW"]
    side = round((learned.codebook_.shape[1] / (channels[0] if channels else 1)) ** 0.5)
    CodebookDisplay.from_estimator(learned, patch_shape=(side, side, *channels), ax=right)
    right.set_title(f"The {len(learned.codebook_)} codewords of LearnedBoW")
    figure.savefig(path, dpi=110)
    plt.close(figure)
