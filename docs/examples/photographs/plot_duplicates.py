"""
Find duplicates among photographs
=================================

Your photo collection contains the same picture several times: rotated by a phone, mirrored, cropped, resized, or with
other colours. ``DuplicateImages`` groups the copies, and leaves everything else alone.
"""

# %%
# A small collection: seven photographs and changed copies of five of them. The images have different sizes.

import matplotlib.pyplot as plt
import numpy as np
from skimage import data
from skimage.transform import rotate
from sklearn.datasets import load_sample_images

from sklinvariant import DuplicateImages

china, flower = load_sample_images().images
astronaut, cat, coffee = data.astronaut(), data.chelsea(), data.coffee()
collection = {
    "china": china,
    "china, smaller": china[::3, ::3],
    "flower": flower,
    "flower, mirrored": flower[:, ::-1],
    "astronaut": astronaut,
    "astronaut, 90°": np.rot90(astronaut),
    "astronaut, grey": astronaut[:, :, [1, 1, 1]],
    "cat": cat,
    "cat, 20°": rotate(cat, 20, mode="edge"),
    "coffee": coffee,
    "coffee, cropped": coffee[60:380, 120:540],
    "coffee, brighter": np.clip(coffee * 1.2 + 25, 0, 255).astype(np.uint8),
    "rocket": data.rocket(),
    "retina": data.retina(),
}

# %%
# Images with the same label are copies of each other; -1 means that an image has no copy. Instead of arrays, you can
# pass file names or a folder, or run ``sklinvariant duplicates PHOTOS``, which also writes a page to review.

labels = DuplicateImages().fit_predict(list(collection.values()))
for label in np.unique(labels):
    names = [name for name, own in zip(collection, labels, strict=True) if own == label]
    print("no copy:" if label == -1 else f"group {label}:", "; ".join(names))

figure, axes = plt.subplots(2, 7, figsize=(10, 4), layout="constrained")
for ax, (name, image), label in zip(axes.flat, collection.items(), labels, strict=True):
    ax.imshow(image)
    ax.set(xticks=[], yticks=[], xlabel="no copy" if label == -1 else f"group {label}")
    ax.set_title(name, fontsize=10)
plt.show()

# %%
# All copies are in the group of their original, and the two other photographs are in no group. In a real collection
# some pictures are alike without being copies: look at the groups before you delete anything.
