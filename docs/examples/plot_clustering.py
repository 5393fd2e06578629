"""
Clustering of handwritten digits without labels
===============================================

k-means clusters the digits by their pixels. IICClusterer maximises the mutual information between the cluster
assignments of an image and of a slightly rotated and shifted view of it (Ji, Henriques, Vedaldi 2019). Both are fitted
to one half of the digits and evaluated on the other half. The figure shows the digits that each cluster contains with
the highest probability, and all digits at positions given by their cluster probabilities.
"""

import matplotlib.pyplot as plt
from sklearn.cluster import KMeans
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

from sklinvariant import IICClusterer
from sklinvariant.inspection import ClusterGalleryDisplay, SimplexDisplay
from sklinvariant.metrics import clustering_accuracy

images, y = load_digits(return_X_y=True)
images = images.reshape(-1, 8, 8) / 16
X, X_new, y, y_new = train_test_split(images, y, test_size=0.5, random_state=0)

model = IICClusterer(10, n_heads=5, random_state=0).fit(X)
kmeans = KMeans(10, n_init=10, random_state=0).fit(X.reshape(len(X), -1))
accuracy = clustering_accuracy(y_new, model.predict(X_new))
kmeans_accuracy = clustering_accuracy(y_new, kmeans.predict(X_new.reshape(len(X_new), -1)))
print(f"accuracy on held-out digits: IICClusterer {accuracy:.1%}, k-means {kmeans_accuracy:.1%}")

figure, axes = plt.subplots(1, 2, figsize=(14, 7), layout="constrained")
ClusterGalleryDisplay.from_estimator(model, X_new, ax=axes[0])
SimplexDisplay.from_estimator(model, X_new, y=y_new, images=X_new, ax=axes[1])
axes[0].set_title(f"most probable digits of each cluster (accuracy {accuracy:.1%}, k-means {kmeans_accuracy:.1%})")
axes[1].set_title("digits by cluster probability, coloured by class")
plt.show()
