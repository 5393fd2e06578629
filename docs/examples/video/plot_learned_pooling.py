"""
Pooling of features learned from video
======================================

This example follows figures 6 and 9 of Sukhbaatar, Makino, Aihara 2013. It computes feature maps of patches
of consecutive frames with a small dictionary, and fits AutoPooling to them. The left plot shows the
invariance of the pooled features on held-out clips. It grows with λ, while the features keep less
information. The other plots show clusters learned with the default λ, at which the position of a feature
still matters.
"""

# %%
# ``frame_pairs`` reads video files, folders of frames, or arrays. Here a simulated camera moves over two
# photographs. Replace ``clips`` by the names of your own files.

import matplotlib.pyplot as plt
from sklearn.cluster import MiniBatchKMeans
from sklearn.model_selection import GridSearchCV, GroupKFold

from sklinvariant import AutoPooling
from sklinvariant.datasets import frame_pairs, make_camera_clips
from sklinvariant.feature_extraction import ConvolutionalFeatures
from sklinvariant.inspection import ClusterDisplay, PoolingRegionDisplay
from sklinvariant.metrics import invariance_score, make_invariance_scorer

clips = make_camera_clips(random_state=0)
pairs, groups = frame_pairs(
    clips,
    n_pairs=2000,
    patch_size=18,
    image_size=96,
    grayscale=True,
    min_change=0.01,
    max_change=0.3,
    min_contrast=0.03,
    random_state=0,
)
n = len(pairs)
print(f"{n} pairs of patches from {len(set(groups))} clips")

# %%
# Feature maps of both frames of each pair, with a dictionary of 16 filters:

extractor = MiniBatchKMeans(16, n_init=1, random_state=0)
convolution = ConvolutionalFeatures(extractor, patch_size=6, stride=3, random_state=0).fit(pairs[:, 0])
maps = convolution.transform(pairs.reshape(2 * n, *pairs.shape[2:]))
map_shape = maps.shape[1:3]
features = maps.reshape(n, 2, -1)
raw = invariance_score(features, random_state=0)

# %%
# The score F is the mean distance between random frames, divided by that between consecutive frames. It is
# measured on held-out clips.

grid = {"invariance": [0, 2, 10, 50, 250]}
pooling = AutoPooling(20, tol=1e-2, random_state=0)
search = GridSearchCV(pooling, grid, scoring=make_invariance_scorer(), cv=GroupKFold(2), refit=False)
scores = search.fit(features, groups=groups).cv_results_["mean_test_score"]
for invariance, score in zip(grid["invariance"], scores, strict=True):
    print(f"lambda {invariance:>4}: F = {score:.2f} after pooling, {raw:.2f} before")

# %%
# F says nothing about what the features are still good for: choose λ by the task if you have labels.

pooling.fit(features)
figure = plt.figure(figsize=(12, 4.2), layout="constrained")
curve, clusters, regions = figure.subplots(1, 3, width_ratios=[2, 2, 3])
curve.plot(grid["invariance"], scores, marker="o", label="after pooling")
curve.axhline(raw, color="black", linestyle="--", label="before pooling")
curve.set(xscale="symlog", xlabel="λ", ylabel="invariance score F, held-out clips")
curve.set_xlim(left=0)
curve.legend()
ClusterDisplay.from_estimator(pooling, convolution.filters_, components=8, n_filters=6, ax=clusters)
clusters.set_title("filters of each cluster")
PoolingRegionDisplay.from_estimator(pooling, map_shape, components=8, n_maps=6, ax=regions)
regions.set_title("positions on the feature maps")
plt.show()
