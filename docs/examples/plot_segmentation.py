"""
Segmentation of textures without labels
=======================================

The images contain regions of three textures with the same distribution of grey values, so that k-means on pixels cannot
separate them. IICSegmenter maximises the mutual information between the labels of neighbouring pixels (Ji, Henriques,
Vedaldi 2019, equation 5). It is fitted to 16 images and segments 4 others, which the figure shows.
"""

import matplotlib.pyplot as plt
from sklearn.cluster import KMeans

from sklinvariant.cluster import IICSegmenter
from sklinvariant.datasets import make_textures
from sklinvariant.inspection import SegmentationDisplay
from sklinvariant.metrics import clustering_accuracy

images, _ = make_textures(16, n_textures=3, random_state=0)
unseen, truth = make_textures(4, n_textures=3, random_state=1)

segmenter = IICSegmenter(3, random_state=0).fit(images)
kmeans = KMeans(3, n_init=3, random_state=0).fit(images.reshape(-1, 1))
information = ", ".join(f"{ratio:.2f}" for ratio in segmenter.mutual_information_ratio_)
print(f"mutual information of the heads as a share of ln 3: {information}; best head: {segmenter.best_head_}")

figure = plt.figure(figsize=(13, 9), layout="constrained")
predictions = {
    "IICSegmenter": segmenter.predict(unseen),
    "k-means on pixels": kmeans.predict(unseen.reshape(-1, 1)).reshape(truth.shape),
}
for part, (name, labels) in zip(figure.subfigures(1, 2), predictions.items(), strict=True):
    SegmentationDisplay.from_predictions(labels, unseen, truth, figure=part)
    part.suptitle(f"{name}: pixel accuracy {clustering_accuracy(truth, labels):.1%}")
plt.show()
