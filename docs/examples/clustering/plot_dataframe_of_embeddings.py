"""
Cluster a DataFrame of embeddings
=================================

Embeddings often arrive as a table: one row for each item, one column for each feature. All clusterers read
such a table directly, return DataFrames on request, and explain how certain they are of each row.
"""

# %%
# Here the embeddings are 24 numbers for each of 1,797 digits, computed from the products of the pixels of
# small patches. Names and other columns stay outside of the table of features.

import pandas as pd
from sklearn.decomposition import PCA
from sklearn.pipeline import make_pipeline

from sklinvariant import DensePatches, SecondOrderPooling
from sklinvariant.datasets import load_digits_images

images, y = load_digits_images(return_X_y=True)
embed = make_pipeline(DensePatches(3, stride=1), SecondOrderPooling(), PCA(24, whiten=False, random_state=0))
embeddings = pd.DataFrame(embed.fit_transform(images), index=[f"scan-{i:04}" for i in range(len(images))]).add_prefix(
    "e"
)
print(embeddings.iloc[:3, :6].round(2))

# %%
# ``TEMIClusterer`` and ``TURTLEClusterer`` are made for embeddings: they train linear heads. If you have the
# images themselves, try ``IICClusterer`` on them as well. The labels of the digits are used only to measure
# the accuracy.

from sklearn.cluster import KMeans
from sklearn.mixture import GaussianMixture

from sklinvariant import TEMIClusterer, TURTLEClusterer
from sklinvariant.metrics import clustering_accuracy

clusterers = {
    "KMeans": KMeans(10, n_init=10, random_state=0),
    "GaussianMixture": GaussianMixture(10, n_init=3, reg_covar=1e-3, random_state=0),
    "TEMIClusterer": TEMIClusterer(10, random_state=0),
    "TURTLEClusterer": TURTLEClusterer(10, random_state=0),
}
accuracy = pd.Series(
    {name: clustering_accuracy(y, model.fit_predict(embeddings)) for name, model in clusterers.items()}
)
print(accuracy.round(3).to_string())

# %%
# The probabilities as a DataFrame with the same index, and the rows that should be looked at by a person:

model = clusterers["TEMIClusterer"]
probabilities = pd.DataFrame(model.predict_proba(embeddings), index=embeddings.index)
doubtful = probabilities.max(axis=1).nsmallest(5)
print("least certain rows:", ", ".join(f"{name} ({value:.2f})" for name, value in doubtful.items()))

# %%
# Is a certain row more often right? Sort the rows by certainty and count:

import matplotlib.pyplot as plt
import numpy as np

from sklinvariant.metrics import match_clusters

right = match_clusters(y, model.labels_)[model.labels_] == y
certain_first = np.argsort(-probabilities.max(axis=1).to_numpy(), kind="stable")
rows = np.arange(1, len(y) + 1)
figure, ax = plt.subplots(figsize=(8, 3.8), layout="constrained")
ax.plot(rows / len(y), np.cumsum(right[certain_first]) / rows, color="#0072B2", linewidth=2.5)
ax.set(xlim=(0, 1), xlabel="share of rows kept, most certain first", ylabel="accuracy of the rows kept")
ax.set_title(f"TEMIClusterer: {right.mean():.1%} of all rows are right, certain rows more often")
ax.grid(alpha=0.3)
plt.show()
