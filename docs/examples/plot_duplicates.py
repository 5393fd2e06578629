"""
Find duplicates among photographs
=================================

Photo collections contain the same picture several times: rotated by a phone, mirrored, cropped, resized, or
with other colours. ``DuplicateImages`` groups the copies, and leaves everything else alone.
"""

# %%
# A small collection: nine photographs of scikit-image and scikit-learn, and changed copies of five of them.
# The images have different sizes.

import numpy as np
from skimage import data
from skimage.transform import rescale, rotate
from sklearn.datasets import load_sample_images

china, flower = load_sample_images().images
originals = {"china": china, "flower": flower}
originals |= {name: getattr(data, name)() for name in ("astronaut", "chelsea", "coffee", "rocket", "retina")}


def as_bytes(image):
    return (255 * image.clip(0, 1)).astype(np.uint8)


changed = {
    "china, smaller": as_bytes(rescale(china, 0.4, channel_axis=2, anti_aliasing=True)),
    "flower, mirrored": flower[:, ::-1],
    "astronaut, 90°": np.rot90(data.astronaut()),
    "astronaut, grey": np.repeat(data.astronaut().mean(axis=2, keepdims=True), 3, axis=2).astype(np.uint8),
    "chelsea, 20°": as_bytes(rotate(data.chelsea(), 20, mode="edge")),
    "coffee, cropped": data.coffee()[60:380, 120:540],
    "coffee, brighter": as_bytes(data.coffee() / 255 * 1.2 + 0.1),
}
collection = originals | changed

# %%
# Images with the same label are copies of each other; -1 means that an image has no copy. On disk, pass file
# names or a folder instead of arrays, or run ``sklinvariant duplicates PHOTOS``, which also writes a page to
# review.

from sklinvariant import DuplicateImages

labels = DuplicateImages().fit_predict(list(collection.values()))
for label in np.unique(labels):
    names = [name for name, own in zip(collection, labels, strict=True) if own == label]
    print("no copy:" if label == -1 else f"group {label}:", "; ".join(names))

# %%
# A hash of the average colours, as many tools use, for comparison. Two images count as copies if at most 10
# of 64 bits differ.

from itertools import combinations

from skimage.transform import resize

words = [name.split(",")[0] for name in collection]
small = np.stack([resize(image, (8, 8), anti_aliasing=True).mean(axis=2).ravel() for image in collection.values()])
bits = small > np.median(small, axis=1, keepdims=True)
pairs = list(combinations(range(len(collection)), 2))
true = np.array([words[i] == words[j] for i, j in pairs])
found = {
    "DuplicateImages": np.array([labels[i] == labels[j] != -1 for i, j in pairs]),
    "average hash": np.array([np.sum(bits[i] != bits[j]) <= 10 for i, j in pairs]),
}
for name, same in found.items():
    print(f"{name}: {np.sum(same & true)} of {true.sum()} pairs found, {np.sum(same & ~true)} wrong pairs")

# %%

import matplotlib.pyplot as plt

order = np.argsort(np.where(labels == -1, len(labels), labels), kind="stable")
colours = plt.get_cmap("tab10").colors
figure, axes = plt.subplots(2, 7, figsize=(11, 4.8), layout="constrained")
figure.get_layout_engine().set(hspace=0.08)
for ax, i in zip(axes.flat, order, strict=True):
    ax.imshow(list(collection.values())[i])
    ax.set(xticks=[], yticks=[], title=list(collection)[i])
    ax.title.set_fontsize(9)
    label = "no copy" if labels[i] == -1 else f"group {labels[i]}"
    ax.set_xlabel(label)
figure.suptitle("Groups of duplicates")
plt.show()
