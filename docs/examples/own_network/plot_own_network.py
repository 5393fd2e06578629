"""
Use your own torch network
==========================

Any ``torch.nn.Module`` can compute the features: a network that you trained, or a pretrained one of another
library. In this example a small network learns the digits 0 to 4, and its feature maps are then used for the
digits 5 to 9, which it has never seen.
"""

# %%
# Training with plain torch. The network keeps the layout of the image until its last two layers.

import torch
from torch import nn

from sklinvariant.datasets import load_digits_images

images, y = load_digits_images(return_X_y=True)
torch.manual_seed(0)
trunk = nn.Sequential(nn.Conv2d(1, 24, 3, padding=1), nn.ReLU(), nn.Conv2d(24, 48, 3, padding=1), nn.ReLU())
network = nn.Sequential(trunk, nn.MaxPool2d(2), nn.Flatten(), nn.LazyLinear(5))
seen = torch.from_numpy(y < 5)
X, labels = torch.from_numpy(images)[seen].float()[:, None], torch.from_numpy(y)[seen]
network(X[:1])  # sets the size of the last layer
optimizer = torch.optim.Adam(network.parameters(), lr=0.003)
for _ in range(30):
    for batch in torch.randperm(len(X)).split(64):
        optimizer.zero_grad()
        nn.functional.cross_entropy(network(X[batch]), labels[batch]).backward()
        optimizer.step()
print(f"accuracy on the digits 0 to 4 it was trained on: {(network(X).argmax(1) == labels).float().mean():.3f}")

# %%
# ``BackbonePatches`` wraps the trunk as a transformer. It takes images as arrays, and returns the cells of
# the feature map as bags, which any aggregation reads. ``SecondOrderPooling`` of 16 principal components
# gives 136 features.

from sklearn.decomposition import PCA
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler

from sklinvariant import BackbonePatches, GeMPooling, OnDescriptors, SecondOrderPooling

cells = BackbonePatches(trunk, mean=[0.0], std=[1.0])
flat = FunctionTransformer(lambda images: images.reshape(len(images), -1))
covariance = make_pipeline(OnDescriptors(PCA(16, random_state=0)), SecondOrderPooling())
features = {
    "pixels": [flat],
    "own network, mean": [cells, GeMPooling(order=1)],
    "own network, second order": [cells, covariance],
}

# %%
# The new digits 5 to 9, with few labels. The first rows are for training, the last 400 for the test.

new, new_y = images[y >= 5], y[y >= 5]
numbers = [25, 50, 100, 200, 400]
scores = {}
for name, steps in features.items():
    model = make_pipeline(*steps, StandardScaler(), LogisticRegression(C=0.1, max_iter=1000))
    scores[name] = [model.fit(new[:n], new_y[:n]).score(new[-400:], new_y[-400:]) for n in numbers]
    print(f"{name:<26}" + ", ".join(f"{n} labels {score:.3f}" for n, score in zip(numbers, scores[name], strict=True)))

# %%
# ``NestedInvariancePooler``, ``IICClusterer(network=...)`` and ``LearnedAggregation(encoder=...)`` take
# modules as well.

import matplotlib.pyplot as plt

figure, ax = plt.subplots(figsize=(9, 3.8), layout="constrained")
for (name, values), colour, marker in zip(scores.items(), ("#777777", "#E69F00", "#0072B2"), "Dso", strict=True):
    ax.plot(numbers, values, color=colour, marker=marker, linewidth=2, label=name)
ax.set(xscale="log", xticks=numbers, xticklabels=numbers, xlabel="number of labels", ylabel="accuracy on test images")
ax.minorticks_off()
ax.set_title("Digits 5 to 9, with a network that was trained on 0 to 4")
figure.legend(loc="outside right upper")
plt.show()
