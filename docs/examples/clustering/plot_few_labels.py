"""
Classify with few labels and many unlabelled images
===================================================

Labels are expensive and images are not. ``IICClassifier`` first clusters all images without labels, and then
learns the classes from the few that have a label. Samples without a label are marked by -1, as in
scikit-learn's semi-supervised estimators.
"""

# %%
# 1,000 digits to learn from, and 797 to test on. The clusters are learned once. They do not depend on the
# labels, so a ``FrozenEstimator`` lets all classifiers below use them.

import numpy as np
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import train_test_split
from sklearn.semi_supervised import LabelSpreading

from sklinvariant import IICClassifier, IICClusterer
from sklinvariant.datasets import load_digits_images

images, y = load_digits_images(return_X_y=True)
train, test, y_train, y_test = train_test_split(images, y, train_size=1000, random_state=0, stratify=y)
clusters = IICClusterer(10, n_heads=5, random_state=0).fit(train)

# %%
# The first ``n`` digits of each class keep their label. The baselines are a logistic regression, which only
# sees the labelled digits, and ``LabelSpreading``, which also sees the others. Each number of labels is drawn
# three times.


def keep_labels(n, seed):
    """The labels of n random digits of each class; -1 for all others."""
    rng = np.random.default_rng(seed)
    few = np.full(len(y_train), -1)
    for digit in range(10):
        chosen = rng.choice(np.flatnonzero(y_train == digit), n, replace=False)
        few[chosen] = digit
    return few


def accuracies(few):
    labelled = few != -1
    flat, flat_test = train.reshape(len(train), -1), test.reshape(len(test), -1)
    tuned = IICClassifier(FrozenEstimator(clusters), max_epochs=20, random_state=0).fit(train, few)
    spreading = LabelSpreading("rbf", gamma=2).fit(flat, few)
    regression = LogisticRegression(max_iter=1000).fit(flat[labelled], few[labelled])
    return tuned.score(test, y_test), spreading.score(flat_test, y_test), regression.score(flat_test, y_test)


names = "IICClassifier", "LabelSpreading", "LogisticRegression"
numbers = [1, 3, 10]
scores = np.array([[accuracies(keep_labels(n, seed)) for seed in range(3)] for n in numbers])
for n, mean in zip(numbers, scores.mean(axis=1), strict=True):
    print(
        f"{n:>2} labels per class: " + ", ".join(f"{name} {score:.3f}" for name, score in zip(names, mean, strict=True))
    )

# %%
# Points are means, bars the smallest and largest of three draws.

import matplotlib.pyplot as plt

figure, ax = plt.subplots(figsize=(8, 4), layout="constrained")
for method, (name, colour, marker) in enumerate(zip(names, ("#0072B2", "#E69F00", "#999999"), "osD", strict=True)):
    mean = scores[:, :, method].mean(axis=1)
    spread = np.abs(np.stack([scores[:, :, method].min(axis=1), scores[:, :, method].max(axis=1)]) - mean)
    ax.errorbar(numbers, mean, yerr=spread, color=colour, marker=marker, capsize=4, linewidth=2, label=name)
ax.set(xscale="log", xticks=numbers, xticklabels=numbers, xlabel="labels per class", ylabel="accuracy on test digits")
ax.minorticks_off()
ax.set_title("Digits with few labels")
figure.legend(loc="outside right upper")
plt.show()
