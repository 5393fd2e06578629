"""The command ``aggregation``: a grid search over five aggregation methods in a Pipeline that ends in a LinearSVC."""

import time
import warnings
from argparse import ArgumentParser, Namespace

from sklinvariant.cli import _stopping as _stopping
from sklinvariant.cli._data import load_data
from sklinvariant.cli._options import (
    Outcome,
    add_data,
    add_device,
    add_output,
    add_seed,
    shows_progress,
)
from sklinvariant.cli._outputs import in_style, save_figure, start_figure


def add_arguments(parser: ArgumentParser) -> None:
    """Add the arguments of ``aggregation``."""
    add_data(parser, 1500)
    add_output(parser, "file for the figure", "aggregation.png")
    add_seed(parser)
    add_device(parser)


def run(arguments: Namespace) -> Outcome:
    """Run the grid search, print its table and save its figure."""
    import numpy as np
    from sklearn.model_selection import train_test_split

    if arguments.max_images < 20:
        raise ValueError(f"--max-images must be at least 20, got {arguments.max_images}")
    start_figure(arguments.output, force=arguments.force)
    data = load_data(arguments.data)
    images, y = data.images, data.target
    if len(np.unique(y)) < 2:
        raise ValueError(f"--data {arguments.data} contains a single class, but at least 2 are needed")
    chosen = np.random.RandomState(arguments.seed).permutation(len(images))[: arguments.max_images]
    images, y = images[chosen], y[chosen]
    split = train_test_split(images, y, test_size=1 / 3, stratify=y, random_state=arguments.seed)
    print(f"{arguments.data}: {len(split[0])} training images, {len(split[1])} test images, shape {images.shape[1:]}")
    search = _search(split[0], split[2], arguments)
    _stopping.check()
    rows, codewords = _measure_all(search, *split)
    _print_table(rows)
    print(f"The grid search selected {search.best_params_['aggregation']}\n")
    _draw(rows, codewords, images.shape[3:], arguments.output)
    print(f"figure saved to {arguments.output}")
    selected = str(search.best_params_["aggregation"])
    shared = {"data": arguments.data, "training_images": len(split[0]), "test_images": len(split[1])}
    return Outcome({**shared, "rows": rows, "selected": selected, "figure": arguments.output})


def _methods(arguments):
    """Each method with the sizes to try and the feature map that follows it."""
    from sklearn.kernel_approximation import AdditiveChi2Sampler

    from sklinvariant.aggregation import VLAD, BagOfWords, FisherVector, LearnedBoW, LearnedVLAD

    chi2, settings = AdditiveChi2Sampler(), {"random_state": arguments.seed, "device": arguments.device}
    return [
        (BagOfWords(**settings), "n_codewords", (16, 64, 256), chi2),
        (LearnedBoW(**settings), "n_codewords", (8, 16, 64), chi2),
        (VLAD(**settings), "n_codewords", (4, 8, 16), "passthrough"),
        (LearnedVLAD(**settings), "n_codewords", (4, 8, 16), "passthrough"),
        (FisherVector(**settings), "n_components", (4, 8, 16), "passthrough"),
    ]


def _search(images, y, arguments):
    """One grid search that varies the method and its size in the same step of one Pipeline."""
    from sklearn.model_selection import GridSearchCV
    from sklearn.pipeline import Pipeline
    from sklearn.svm import LinearSVC

    from sklinvariant.feature_extraction import DensePatches

    patches = DensePatches(4, stride=1) if images.shape[1] <= 16 else DensePatches(8, stride=4)
    steps = [
        ("patches", patches),
        ("aggregation", None),
        ("map", None),
        ("svm", LinearSVC(random_state=arguments.seed)),
    ]
    grid = [
        {
            "aggregation": [estimator],
            f"aggregation__{parameter}": sizes,
            "map": [feature_map],
            "svm__C": [0.1, 1.0, 10.0],
        }
        for estimator, parameter, sizes, feature_map in _methods(arguments)
    ]
    search = _with_progress(GridSearchCV(Pipeline(steps), grid, cv=3), arguments)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # LinearSVC warns each time that it does not converge
        return search.fit(images, y)


def _with_progress(search, arguments):
    """Show a progress bar if scikit-learn and rich can draw one, and print one line otherwise."""
    from sklinvariant._compat import progress_bars

    bars = progress_bars() if shows_progress(arguments) else []
    return search.set_callbacks(*bars) if bars else search.set_params(verbose=1)


def _measure_all(search, images, test_images, y, y_test):
    """One row of the table per method and size, with its best C, and the aggregation step of the best LearnedBoW."""
    params, scores = search.cv_results_["params"], search.cv_results_["mean_test_score"]
    candidates: dict = {}
    for i, setting in enumerate(params):
        size = next(value for name, value in setting.items() if name.startswith("aggregation__"))
        candidates.setdefault((type(setting["aggregation"]).__name__, size), []).append(i)
    rows, models = [], {}
    for (method, size), indices in candidates.items():
        best = max(indices, key=lambda i: scores[i])
        measured, models[method, size] = _measure(search.estimator, params[best], images, test_images, y, y_test)
        rows.append({"method": method, "size": size, "validation": float(scores[best]), **measured})
    for method in dict.fromkeys(row["method"] for row in rows):
        own = [row for row in rows if row["method"] == method]
        chosen = max(own, key=lambda row: row["validation"])
        for row in own:
            row["best"] = row is chosen
    learned = next(row for row in rows if row["method"] == "LearnedBoW" and row["best"])
    return rows, models["LearnedBoW", learned["size"]]["aggregation"]


def _measure(pipeline, setting, images, test_images, y, y_test):
    """Refit one setting. Return its test accuracy and times, and the fitted Pipeline."""
    import numpy as np
    from sklearn.base import clone

    model = clone(pipeline).set_params(**{name: clone(value, safe=False) for name, value in setting.items()})
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        started = time.perf_counter()
        model.fit(images, y)
        fitted = time.perf_counter()
    features = model[:2].transform(test_images)
    transformed = time.perf_counter()
    return {
        "features": features.shape[1],
        "accuracy": float(np.mean(model.predict(test_images) == y_test)),
        "fit": fitted - started,
        "transform": transformed - fitted,
    }, model


def _print_table(rows):
    print(f"\n{'method':<14}{'size':>6}{'features':>10}{'cv':>8}{'test':>8}{'fit s':>8}{'transform s':>13}")
    for row in rows:
        mark = " *" if row["best"] else ""
        print(
            f"{row['method']:<14}{row['size']:>6}{row['features']:>10}{row['validation']:>8.3f}{row['accuracy']:>8.3f}"
            f"{row['fit']:>8.2f}{row['transform']:>13.3f}{mark}"
        )
    print("* size selected by cross-validation for each method\n")


@in_style()
def _draw(rows, codewords, channels, path):
    import matplotlib.pyplot as plt

    from sklinvariant.inspection import CodebookDisplay

    figure, (left, right) = plt.subplots(1, 2, figsize=(11, 5.2), width_ratios=(3, 2))
    for name in dict.fromkeys(row["method"] for row in rows):
        own = [row for row in rows if row["method"] == name]
        line = "o-" if name.startswith("Learned") else "s--"
        left.plot([row["features"] for row in own], [row["accuracy"] for row in own], line, label=name)
    left.set(xscale="log", xlabel="number of features", ylabel="accuracy on test images")
    left.set_title("Accuracy by number of features")
    left.legend(loc="upper center", bbox_to_anchor=(0.5, -0.14), ncols=3)
    left.grid(alpha=0.3)
    side = round((codewords.codebook_.shape[1] / (channels[0] if channels else 1)) ** 0.5)
    CodebookDisplay.from_estimator(codewords, image_shape=(side, side, *channels), ax=right)
    right.set_title(f"{len(codewords.codebook_)} codewords of LearnedBoW")
    save_figure(figure, path, dpi=110)
    plt.close(figure)
