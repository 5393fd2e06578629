"""
Codewords of k-means and codewords learned with the classifier
==============================================================

This example follows figure 1 of Katharopoulos et al. 2017. Each bag contains two descriptors. In the first data set,
they lie on a disc or on a ring around it; in the second, on the black or on the white squares of a board. k-means
spreads its codewords over the data. LearnedBoW moves them to positions that separate the classes: two codewords are
enough for the ring, and one per square is enough for the board. On the board, four codewords of k-means find the
squares as well.
"""

import matplotlib.pyplot as plt
from sklearn.kernel_approximation import AdditiveChi2Sampler
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline

from sklinvariant import BagOfWords, LearnedBoW
from sklinvariant.datasets import make_checkers, make_concentric
from sklinvariant.inspection import CodebookDisplay

sets = {"concentric": (make_concentric, 2), "checkers": (make_checkers, 4)}
figure, axes = plt.subplots(2, 3, figsize=(11, 7.4), layout="constrained")
for row, (name, (make, n_words)) in zip(axes, sets.items(), strict=True):
    bags, y = make(800, n_descriptors=2, noise=0.1, random_state=0)
    train, test, y_train, y_test = bags[:400], bags[400:], y[:400], y[400:]
    models = {
        f"k-means, {n_words} codewords": BagOfWords(n_words, random_state=0),
        "k-means, 10 codewords": BagOfWords(10, random_state=0),
        f"learned, {n_words} codewords": LearnedBoW(
            n_words, descriptors_per_sample=None, max_epochs=60, random_state=0
        ),
    }
    for ax, (label, model) in zip(row, models.items(), strict=True):
        pipeline = make_pipeline(model, AdditiveChi2Sampler(), LogisticRegression(C=100)).fit(train, y_train)
        accuracy = pipeline.score(test, y_test)
        print(f"{name:<12} {label:<21} test accuracy {accuracy:.3f}")
        for c, colour in enumerate(("tab:blue", "tab:red")):
            points = train[y_train == c].values
            ax.scatter(*points.T, s=4, alpha=0.4, color=colour)
        CodebookDisplay.from_estimator(model, ax=ax, s=80, linewidths=2.5, zorder=3)
        ax.set(title=f"{label}: {accuracy:.2f}", aspect="equal", xticks=[], yticks=[])
    row[0].set_ylabel(name)
plt.show()
