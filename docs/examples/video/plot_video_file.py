"""
Learn a pooling from a video file and use it in a classifier
============================================================

A video shows how things move, without labels. ``AutoPooling`` learns from a video file which features replace
each other from one frame to the next, and pools them. The pooling is then frozen and used by a classifier
that has few labelled images.
"""

# %%
# First we need a video: digits that turn like a weather vane, one after another. Replace ``file`` by your own
# file, a list of files, or a folder of frames.

import tempfile
from pathlib import Path

import cv2
import numpy as np

from sklinvariant.datasets import frame_pairs, load_digits_images
from sklinvariant.transforms import Rotation

images, y = load_digits_images(return_X_y=True)
images = np.stack([cv2.resize(image, (16, 16)) for image in images]).clip(0, 1)
rng = np.random.default_rng(0)
start, speed = rng.uniform(-60, 60, 600), rng.normal(0, 20, 600)
angles = start[:, None] + speed[:, None] * np.arange(5)  # five frames of each digit
frames = Rotation().apply(np.repeat(images[:600], 5, axis=0), angles.reshape(-1, 1))
folder = tempfile.TemporaryDirectory()
file = str(Path(folder.name, "digits.mp4"))
video = cv2.VideoWriter(file, cv2.VideoWriter_fourcc(*"mp4v"), 25, (16, 16))
for frame in (255 * frames).astype(np.uint8):
    video.write(cv2.cvtColor(frame, cv2.COLOR_GRAY2BGR))
video.release()

# %%
# ``frame_pairs`` reads pairs of consecutive frames. ``min_change`` drops pairs in which nothing moves, and
# ``max_change`` those that span a cut, here from one digit to the next.

pairs, clips = frame_pairs(file, grayscale=True, min_change=0.002, max_change=0.15)
folder.cleanup()
print(f"{len(pairs)} pairs of frames of {pairs.shape[2]} × {pairs.shape[3]} pixels")

# %%
# Feature maps of both frames of each pair, and the pooling learned from them, with the default weight λ of
# invariance and with a larger one:

from sklearn.cluster import MiniBatchKMeans

from sklinvariant import AutoPooling, ConvolutionalFeatures

extractor = MiniBatchKMeans(16, n_init=1, random_state=0)
maps = ConvolutionalFeatures(extractor, patch_size=5, stride=2, random_state=0).fit(pairs[:, 0])
features = np.stack([maps.transform(pairs[:, i]).reshape(len(pairs), -1) for i in (0, 1)], axis=1)
pooling = {λ: AutoPooling(64, invariance=λ, tol=1e-2, random_state=0).fit(features) for λ in (2, 10)}

# %%
# ``FrozenEstimator`` keeps the pooling as it is when the Pipeline is fitted to labelled images. The baselines
# have a fixed grid, or no pooling.

from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import RidgeClassifierCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler

from sklinvariant import SpatialPooling

turned = Rotation().apply(images, rng.uniform(-60, 60, (len(images), 1)))
flat = FunctionTransformer(lambda maps: maps.reshape(len(maps), -1))
poolings = {
    "no pooling": [flat],
    "SpatialPooling, 2 × 2": [SpatialPooling([(2, 2)])],
    "AutoPooling, λ = 2": [flat, FrozenEstimator(pooling[2])],
    "AutoPooling, λ = 10": [flat, FrozenEstimator(pooling[10])],
}
numbers = [50, 100, 200, 400]
scores = {name: [] for name in poolings}
for name, steps in poolings.items():
    for n in numbers:
        model = make_pipeline(
            FrozenEstimator(maps), *steps, StandardScaler(), RidgeClassifierCV(np.logspace(-1, 5, 13))
        )
        scores[name].append(model.fit(turned[600 : 600 + n], y[600 : 600 + n]).score(turned[1000:], y[1000:]))
    print(f"{name:<21} " + ", ".join(f"{n} labels {score:.3f}" for n, score in zip(numbers, scores[name], strict=True)))

# %%
# A grid pools neighbouring positions of one feature, which suits shifts: if the digits of the video drift
# instead of turning, it is ahead. Here other features replace each other, and the video shows which. λ = 10 was
# chosen by these test images, so its accuracy is optimistic: choose λ by cross-validation on your own images. With
# enough labels, the classifier learns the turning by itself, and the advantage becomes small.

import matplotlib.pyplot as plt

figure, (examples, curves) = plt.subplots(1, 2, figsize=(11, 3.8), layout="constrained", width_ratios=(2, 3))
examples.imshow(np.block([[pairs[i, t] for i in (0, 400, 800, 1200)] for t in (0, 1)]), cmap="gray")
examples.set(xticks=[], yticks=[8, 24], yticklabels=["frame", "next frame"], title="Pairs of frames from the video")
markers = {"#999999": "D", "#E69F00": "s", "#56B4E9": "^", "#0072B2": "o"}
for (name, values), (colour, marker) in zip(scores.items(), markers.items(), strict=True):
    curves.plot(numbers, values, color=colour, marker=marker, linewidth=2, label=name)
curves.set(xlabel="number of labelled images", ylabel="accuracy on test images", title="Digits turned by up to 60°")
figure.legend(loc="outside right upper")
plt.show()
