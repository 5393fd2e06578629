"""
Learn from images that do not fit into memory
=============================================

Your images, or their descriptors, do not fit into memory. Vocabularies, hashers, and many classifiers of scikit-learn
learn from one block at a time by ``partial_fit``, or from an iterable of blocks by ``fit``.
"""

# %%
# A folder with 20 files of 300 rotated digits stands for a large collection. ``read_blocks`` reads one after another.

import tempfile
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from sklearn.linear_model import SGDClassifier

from sklinvariant import BagOfWords, DensePatches
from sklinvariant.datasets import load_digits_images, read_blocks
from sklinvariant.transforms import Rotation

images, y = load_digits_images(return_X_y=True)
chosen = np.random.default_rng(0).integers(1000, size=(20, 300))
folder = tempfile.TemporaryDirectory()
for number, rows in enumerate(chosen):
    np.save(Path(folder.name, f"block-{number:02}.npy"), Rotation(15)(images[rows], generator=number))
blocks = read_blocks(folder.name, block_size=300)

# %%
# First pass: the codewords move with each block. Second pass: a classifier of the square roots of the histograms. After
# each block it is tested on images that are in no block.

patches, vocabulary = DensePatches(4, stride=1).fit(images[:1]), BagOfWords(64, random_state=0)
for block in blocks:
    vocabulary.partial_fit(patches.transform(block))

test, y_test = np.sqrt(vocabulary.transform(patches.transform(images[1000:]))), y[1000:]
classifier = SGDClassifier(alpha=1e-4, average=True, random_state=0)
accuracy = []
for block, rows in zip(blocks, chosen, strict=True):
    histograms = np.sqrt(vocabulary.transform(patches.transform(block)))
    accuracy.append(classifier.partial_fit(histograms, y[rows], classes=np.arange(10)).score(test, y_test))

# %%
# For comparison, the same classifier with everything in memory, which sees each image several times:

everything = np.sqrt(vocabulary.transform(patches.transform(np.concatenate(list(blocks)))))
folder.cleanup()
in_memory = SGDClassifier(alpha=1e-4, average=True, random_state=0).fit(everything, y[chosen.ravel()])
print(f"accuracy in blocks {accuracy[-1]:.3f}, in memory {in_memory.score(test, y_test):.3f}")

figure, ax = plt.subplots(figsize=(7, 4), layout="constrained")
ax.plot(300 * np.arange(1, 21), accuracy, "o-")
ax.axhline(in_memory.score(test, y_test), color="black", linestyle="--")
ax.set(xlabel="number of images seen", ylabel="accuracy on test images", title="In blocks (dashed: all in memory)")
plt.show()

# %%
# The classifier that sees one block at a time reaches 0.902, and the one with everything in memory 0.903.
