"""
Use your own torch network
==========================

You have a network that was trained for another task, and few labels for the new one. Any ``torch.nn.Module`` can
compute the features. Here a small network learns the digits 0 to 4, and its feature maps serve for the digits 5 to 9.
"""

# %%
# Training with plain torch. The network keeps the layout of the image until its last layers.

import matplotlib.pyplot as plt
import torch
from sklearn.decomposition import PCA
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler
from torch import nn

from sklinvariant import BackbonePatches, GeMPooling, OnDescriptors, SecondOrderPooling
from sklinvariant.datasets import load_digits_images

images, y = load_digits_images(return_X_y=True)
torch.manual_seed(0)
trunk = nn.Sequential(nn.Conv2d(1, 24, 3, padding=1), nn.ReLU(), nn.Conv2d(24, 48, 3, padding=1), nn.ReLU())
network = nn.Sequential(trunk, nn.MaxPool2d(2), nn.Flatten(), nn.Linear(48 * 4 * 4, 5))
X, labels = torch.from_numpy(images[y < 5])[:, None], torch.from_numpy(y[y < 5])
optimizer = torch.optim.Adam(network.parameters(), lr=0.003)
for _ in range(30):
    for batch in torch.randperm(len(X)).split(64):
        optimizer.zero_grad()
        nn.functional.cross_entropy(network(X[batch]), labels[batch]).backward()
        optimizer.step()

# %%
# ``BackbonePatches`` returns the cells of the feature map as bags, which any aggregation reads. ``SecondOrderPooling``
# of 16 principal components gives 136 features. The last 400 of the new digits are for the test.

cells = BackbonePatches(trunk, mean=[0.0], std=[1.0])
features = {
    "second order": make_pipeline(cells, OnDescriptors(PCA(16, random_state=0)), SecondOrderPooling()),
    "mean": make_pipeline(cells, GeMPooling(order=1)),
    "pixels": FunctionTransformer(lambda images: images.reshape(len(images), -1)),
}
new, new_y, numbers = images[y >= 5], y[y >= 5], [25, 50, 100, 200, 400]
plt.style.use("tableau-colorblind10")
figure, ax = plt.subplots(figsize=(8, 4), layout="constrained")
for name, transformer in features.items():
    model = make_pipeline(transformer, StandardScaler(), LogisticRegression(C=0.1, max_iter=1000))
    scores = [model.fit(new[:n], new_y[:n]).score(new[-400:], new_y[-400:]) for n in numbers]
    print(f"{name:<13} accuracy " + ", ".join(f"{score:.3f}" for score in scores))
    ax.plot(numbers, scores, "o-", label=name)
ax.set(xlabel="number of labels", ylabel="accuracy on test images", title="Digits 5 to 9, network trained on 0 to 4")
figure.legend(loc="outside right upper")
plt.show()

# %%
# The network helps most where labels are few: with 25 labels, its second-order features reach 0.92 and pixels 0.82.
# Pooling matters: the mean of the features is worse than the pixels. ``NestedInvariancePooler``,
# ``IICClusterer(network=...)`` and ``LearnedAggregation(encoder=...)`` take modules as well.
