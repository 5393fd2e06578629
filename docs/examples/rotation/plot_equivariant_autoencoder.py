"""
Rotation-invariant features of digits
=====================================

The autoencoder is trained on upright digits without labels. Rotating a digit by quarter turns does not change
its features. Therefore, a t-SNE map of the features separates digits and not poses, and digits reconstructed
from their features are upright. The figure compares these features with those of an ordinary autoencoder.
"""

import matplotlib.pyplot as plt
import numpy as np
from sklearn.linear_model import RidgeClassifierCV
from sklearn.manifold import TSNE
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from sklinvariant.autoencoder import EquivariantAutoencoder
from sklinvariant.datasets import load_digits_images

digits = load_digits_images()
train, test, labels = digits.images[:800], digits.images[1000:1500], digits.target[1000:1500]
turns = np.random.default_rng(0).integers(4, size=len(test))
rotated = np.stack([np.rot90(image, turn) for image, turn in zip(test, turns, strict=True)])

# %%
# An ordinary autoencoder (``group="trivial"``) and one for quarter turns (``"C4"``). A linear classifier on
# the features of upright digits shows how well they serve for rotated ones.

figure = plt.figure(figsize=(12, 7), layout="constrained")
above, below = figure.subfigures(2, 1, height_ratios=(4, 3))
for axes, group in zip(above.subplots(1, 2), ("trivial", "C4"), strict=True):
    model = EquivariantAutoencoder(group=group, width=8, batch_size=32, max_epochs=15, random_state=0).fit(train)
    features = model.transform(rotated)
    classifier = make_pipeline(StandardScaler(), RidgeClassifierCV(np.logspace(-1, 4, 11)))
    accuracy = classifier.fit(model.transform(train), digits.target[:800]).score(features, labels)
    print(f"group={group!r}: accuracy {accuracy:.2f} on rotated digits, trained on upright ones")
    positions = TSNE(init="pca", random_state=0).fit_transform(StandardScaler().fit_transform(features))
    for digit in range(10):
        axes.plot(*positions[labels == digit].T, ".", ms=4, color=f"C{digit}", label=str(digit))
    axes.set(xticks=[], yticks=[], title=f'group="{group}": features of rotated digits')
axes.legend(loc="center left", bbox_to_anchor=(1, 0.5))

# the model of the last round, with C4
pose = model.predict_pose(rotated)
features = model.transform(rotated[:16])
rows = {
    "input": rotated[:16],
    "same pose": model.inverse_transform(features, pose[:16]),
    "upright": model.inverse_transform(features),
}
grid = below.subplots(3, 16)
for row, (name, images) in zip(grid, rows.items(), strict=True):
    row[0].set_ylabel(name, rotation=0, ha="right", va="center")
    for axes, image in zip(row, images, strict=True):
        axes.imshow(image, cmap="gray", vmin=0, vmax=1)
        axes.set(xticks=[], yticks=[])
below.suptitle(f"Reconstructions from features and pose; {np.mean(pose == turns):.0%} of poses predicted correctly")
plt.show()
