"""
Learn from images that do not fit into memory
=============================================

Neither the images nor their descriptors have to be in memory at once. Vocabularies, hashers, and many
classifiers of scikit-learn learn from one block at a time by ``partial_fit``, or from an iterable of blocks
by ``fit``.
"""

# %%
# A folder with 20 files of 300 images each stands for a large collection: digits, each in several slightly
# rotated and shifted copies. The blocks are read one after another.

import tempfile
from pathlib import Path

import numpy as np

from sklinvariant.datasets import load_digits_images, read_blocks
from sklinvariant.transforms import Compose, Rotation, Translation

images, y = load_digits_images(return_X_y=True)
views = Compose([Rotation(15), Translation(0.1)], fill="edge")
rng = np.random.default_rng(0)
folder = tempfile.TemporaryDirectory()
labels = []
for number in range(20):
    chosen = rng.integers(1000, size=300)
    np.save(Path(folder.name, f"block-{number:02}.npy"), views(images[chosen], generator=number))
    labels.append(y[chosen])
blocks = read_blocks(folder.name, block_size=300)

# %%
# First pass: the vocabulary. ``BagOfWords.partial_fit`` moves the codewords with each block. The transform of
# patches has nothing to learn.

from sklinvariant import BagOfWords, DensePatches

patches = DensePatches(4, stride=1).fit(images[:1])
vocabulary = BagOfWords(64, random_state=0)
for block in blocks:
    vocabulary.partial_fit(patches.transform(block))

# %%
# Second pass: a classifier on the histograms. After each block it is tested on images that are in no block.

from sklearn.linear_model import SGDClassifier
from sklearn.preprocessing import FunctionTransformer

roots = FunctionTransformer(np.sqrt)  # suits histograms
test = roots.transform(vocabulary.transform(patches.transform(images[1000:])))
classifier = SGDClassifier(alpha=1e-4, average=True, random_state=0)
accuracy = []
for block, block_labels in zip(blocks, labels, strict=True):
    histograms = roots.transform(vocabulary.transform(patches.transform(block)))
    classifier.partial_fit(histograms, block_labels, classes=np.arange(10))
    accuracy.append(classifier.score(test, y[1000:]))

# %%
# For comparison, the same vocabulary and classifier with everything in memory:

from sklearn.pipeline import make_pipeline

everything, every_label = np.concatenate(list(blocks)), np.concatenate(labels)
folder.cleanup()
in_memory = make_pipeline(
    patches, BagOfWords(64, random_state=0), roots, SGDClassifier(alpha=1e-4, average=True, random_state=0)
)
reference = in_memory.fit(everything, every_label).score(images[1000:], y[1000:])
descriptors = patches.transform(everything[:1])[0]
print(f"one block: {300 * len(descriptors):,} descriptors; all: {len(everything) * len(descriptors):,}")
print(f"accuracy in blocks {accuracy[-1]:.3f}, in memory {reference:.3f}")

# %%

import matplotlib.pyplot as plt

figure, ax = plt.subplots(figsize=(9, 3.8), layout="constrained")
ax.set_ylim(0.65, 1)
ax.plot(300 * np.arange(1, 21), accuracy, color="#0072B2", marker="o", linewidth=2, label="block by block")
ax.axhline(reference, color="#E69F00", linestyle="--", linewidth=2, label="all in memory,\nseveral epochs")
ax.set(
    xlabel="number of images seen",
    ylabel="accuracy on test images",
    title="A classifier of digits, learned from 20 files",
)
figure.legend(loc="outside right upper")
plt.show()
