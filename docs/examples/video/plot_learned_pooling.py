"""
Pooling of features learned from video
======================================

You have videos and no labels, and want features that stay the same while things move. ``AutoPooling`` learns from
consecutive frames which features to pool. This example follows figures 6 and 9 of Sukhbaatar, Makino, Aihara 2013.
"""

# %%
# A simulated camera moves over two photographs. Replace ``clips`` by the names of your own files. ``min_change`` drops
# pairs of patches in which nothing moves, and ``min_contrast`` empty patches.

import matplotlib.pyplot as plt
from sklearn.cluster import MiniBatchKMeans
from sklearn.model_selection import GridSearchCV, GroupKFold

from sklinvariant import AutoPooling, ConvolutionalFeatures
from sklinvariant.datasets import frame_pairs, make_camera_clips
from sklinvariant.inspection import ClusterDisplay, PoolingRegionDisplay
from sklinvariant.metrics import invariance_score, make_invariance_scorer

clips = make_camera_clips(image_size=96, random_state=0)
pairs, groups = frame_pairs(
    clips, n_pairs=2000, patch_size=18, grayscale=True, min_change=0.01, min_contrast=0.03, random_state=0
)

# %%
# Feature maps of both frames of each pair, with a dictionary of 16 filters:

extractor = MiniBatchKMeans(16, n_init=1, random_state=0)
convolution = ConvolutionalFeatures(extractor, patch_size=6, stride=3, random_state=0).fit(pairs[:, 0])
maps = convolution.transform(pairs.reshape(-1, *pairs.shape[2:]))
features = maps.reshape(len(pairs), 2, -1)

# %%
# The score F is the mean distance between random frames, divided by that between consecutive frames. λ weighs the
# invariance against the information that is kept. F is measured on clips that were held out.

grid = {"invariance": [0, 2, 10, 50, 250]}
pooling = AutoPooling(20, tol=1e-2, random_state=0)
search = GridSearchCV(pooling, grid, scoring=make_invariance_scorer(), cv=GroupKFold(2), refit=False)
scores = search.fit(features, groups=groups).cv_results_["mean_test_score"]
before = invariance_score(features, random_state=0)
print(f"F before pooling {before:.2f}, after pooling with λ = {grid['invariance']}: {scores.round(2)}")

pooling.fit(features)  # with the default λ = 2
figure, (curve, clusters, regions) = plt.subplots(1, 3, figsize=(11, 4), layout="constrained", width_ratios=[2, 2, 3])
curve.plot(grid["invariance"], scores, "o-")
curve.axhline(before, color="black", linestyle="--")
curve.annotate("before pooling", (0.5, before), xytext=(0, 5), textcoords="offset points")
curve.set(xscale="symlog", xlim=(0, None), xlabel="λ", ylabel="invariance score F", title="on held-out clips")
ClusterDisplay.from_estimator(pooling, convolution.filters_, components=8, n_filters=6, ax=clusters)
PoolingRegionDisplay.from_estimator(pooling, maps.shape[1:3], components=8, n_maps=6, ax=regions)
plt.show()

# %%
# λ = 50 gives the most invariant features (F = 5.3, before pooling 1.7); with λ = 250 they are less invariant. F does
# not say what the features are still good for: if you have labels, choose λ by the accuracy. The rows show components
# with the default λ = 2, each of which pools a few filters in a part of the image.
