"""
Cluster a DataFrame of embeddings
=================================

Your embeddings are a table: a row for each item, a column for each feature. The clusterers of embeddings read the table
as it is, and tell how certain they are of each row, so that a person can look at the doubtful ones.
"""

# %%
# Here the embeddings are 24 numbers for each of 1,797 digits, computed from the products of the pixels of patches.

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from sklearn.cluster import KMeans
from sklearn.decomposition import PCA
from sklearn.mixture import GaussianMixture
from sklearn.pipeline import make_pipeline

from sklinvariant import DensePatches, SecondOrderPooling, TEMIClusterer, TURTLEClusterer
from sklinvariant.datasets import load_digits_images
from sklinvariant.metrics import clustering_accuracy, match_clusters

images, y = load_digits_images(return_X_y=True)
embed = make_pipeline(DensePatches(3, stride=1), SecondOrderPooling(), PCA(24, random_state=0))
scans = [f"scan-{i:04}" for i in range(len(images))]
embeddings = pd.DataFrame(embed.fit_transform(images), index=scans).add_prefix("e")
print(embeddings.iloc[:3, :6].round(2))

# %%
# ``TEMIClusterer`` and ``TURTLEClusterer`` train linear heads on embeddings. The labels only measure the accuracy.

clusterers = {
    "KMeans": KMeans(10, n_init=10, random_state=0),
    "GaussianMixture": GaussianMixture(10, n_init=3, reg_covar=1e-3, random_state=0),
    "TEMIClusterer": TEMIClusterer(10, random_state=0),
    "TURTLEClusterer": TURTLEClusterer(10, random_state=0),
}
for name, model in clusterers.items():
    print(f"{name:<16} accuracy {clustering_accuracy(y, model.fit_predict(embeddings)):.3f}")

# %%
# The rows of which ``TEMIClusterer`` is least certain, and the accuracy of the rows that remain if these are left out:

model = clusterers["TEMIClusterer"]
certainty = pd.Series(model.predict_proba(embeddings).max(axis=1), index=embeddings.index)
print(certainty.nsmallest(3).round(2).to_string())

right = match_clusters(y, model.labels_)[model.labels_] == y
kept = np.arange(1, len(y) + 1)
figure, ax = plt.subplots(figsize=(7, 4), layout="constrained")
ax.plot(kept / len(y), right[np.argsort(-certainty)].cumsum() / kept, linewidth=2)
ax.set(xlabel="share of rows kept, most certain first", ylabel="accuracy of the rows kept", title="TEMIClusterer")
plt.show()

# %%
# ``TEMIClusterer`` puts 89 % of the digits into the right cluster, ``KMeans`` 55 %. Its probabilities sort
# the rows well: of the more certain half, 97 % are right, and the least certain tenth contains a third of all errors.
