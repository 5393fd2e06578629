"""
Choose between Bag of Words and learned codebooks in a grid search
==================================================================

A Pipeline that describes images by a Bag of Words has a step that can be replaced. The learned methods have
the same interface, so a grid search can choose between them as it chooses between values of a parameter.
"""

# %%
# The Pipeline cuts each digit into patches of 4 × 4 pixels, reduces them by PCA, and counts how often each of
# 16 codewords occurs. Bag of Words finds its codewords by k-means, which does not use the labels.

from sklearn.decomposition import PCA
from sklearn.model_selection import GridSearchCV, train_test_split
from sklearn.pipeline import Pipeline
from sklearn.svm import LinearSVC

from sklinvariant import BagOfWords, DensePatches, LearnedBoW, LearnedVLAD, OnDescriptors, SecondOrderPooling
from sklinvariant.datasets import load_digits_images

images, y = load_digits_images(return_X_y=True)
X_train, X_test, y_train, y_test = train_test_split(images, y, train_size=600, random_state=0, stratify=y)
pipeline = Pipeline(
    [
        ("patches", DensePatches(4, stride=1)),
        ("reduction", OnDescriptors(PCA(8, random_state=0))),
        ("aggregation", BagOfWords(16, random_state=0)),
        ("classifier", LinearSVC(random_state=0)),
    ]
)

# %%
# The aggregation is the only entry of the grid. ``memory=`` of the Pipeline would keep the patches between
# fits.

candidates = {
    "BagOfWords, 16 words": BagOfWords(16, random_state=0),
    "BagOfWords, 64 words": BagOfWords(64, random_state=0),
    "LearnedBoW, 16 words": LearnedBoW(16, random_state=0),
    "LearnedVLAD, 4 words": LearnedVLAD(4, random_state=0),
    "SecondOrderPooling": SecondOrderPooling(),
}
search = GridSearchCV(pipeline, {"aggregation": list(candidates.values())}, cv=3).fit(X_train, y_train)

# %%
# The cross-validated accuracies, and the test accuracy of the winner:

results = search.cv_results_
for name, mean, seconds in zip(candidates, results["mean_test_score"], results["mean_fit_time"], strict=True):
    print(f"{name:<21} accuracy {mean:.3f}, {seconds:.1f} s per fit")
print(f"test accuracy of {list(candidates)[search.best_index_]}: {search.score(X_test, y_test):.3f}")

# %%
# Differences smaller than the error bars, which show the standard deviation over the folds, mean little. The
# learned methods cost more time for each fit, and ``SecondOrderPooling`` has nothing to learn, so try it
# first.

import matplotlib.pyplot as plt

figure, ax = plt.subplots(figsize=(8, 3.4), layout="constrained")
means, deviations = results["mean_test_score"], results["std_test_score"]
for row, (name, mean, deviation) in enumerate(zip(candidates, means, deviations, strict=True)):
    colour = "#0072B2" if "Learned" in name else "#777777"
    ax.errorbar(mean, row, xerr=deviation, fmt="o", markersize=9, capsize=5, linewidth=2, color=colour)
ax.set(yticks=range(len(candidates)), yticklabels=list(candidates), xlabel="accuracy, mean of 3 folds")
ax.invert_yaxis()
ax.grid(axis="x", alpha=0.3)
ax.set_title("Aggregations of patches of digits (blue: learned with the labels)")
plt.show()
