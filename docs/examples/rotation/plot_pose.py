"""
Estimate the pose of rotated objects
====================================

Photographs of passports, parts on a conveyor belt, and cells under a microscope come at any angle.
``CanonicalRotation`` learns from unlabelled images that are upright, and then measures the angle of new ones
and rotates them upright.
"""

# %%
# The data: 100 faces of 25 × 25 pixels. The network is trained on 70 of them, without labels, and tested on
# the other 30 at ten random angles each.

import numpy as np
from skimage.data import lfw_subset

from sklinvariant import CanonicalRotation
from sklinvariant.transforms import Rotation

faces = lfw_subset()[:100].astype(np.float32)
train, test = faces[:70], np.repeat(faces[70:], 10, axis=0)
angles = np.random.default_rng(0).uniform(0, 360, (len(test), 1))
rotated = Rotation(fill="edge").apply(test, angles)
upright = CanonicalRotation(36, max_epochs=25, batch_size=16, random_state=0).fit(train)

# %%
# ``predict_angle`` returns the counter-clockwise angle in degrees, relative to the most frequent pose of the
# training images.

error = (upright.predict_angle(rotated) - angles[:, 0] + 180) % 360 - 180
print(f"median error of the angle: {np.median(np.abs(error)):.1f} degrees")
print(f"errors above 30 degrees: {np.mean(np.abs(error) > 30):.0%} of the faces")

# %%
# As a step of a Pipeline it makes any later step independent of the angle. Here a nearest-neighbour search
# finds the original of each rotated face among all 100, once from the pixels, and once after both were
# rotated upright.

from sklearn.neighbors import NearestNeighbors

originals = np.repeat(np.arange(70, 100), 10)
for name, transform in (("pixels", lambda images: images), ("rotated upright", upright.transform)):
    database, queries = (transform(images).reshape(len(images), -1) for images in (faces, rotated))
    first = NearestNeighbors(n_neighbors=1).fit(database).kneighbors(queries, return_distance=False)[:, 0]
    print(f"{name}: {np.mean(first == originals):.0%} of the faces found")

# %%
# This needs objects with a clear upright pose. A digit 8 or a screw looks the same upside down, so that its
# angle is known only up to half a turn. Images that are upright already should be left alone: each rotation
# loses some detail.

import matplotlib.pyplot as plt

figure, (examples, errors) = plt.subplots(1, 2, figsize=(11, 3.4), layout="constrained", width_ratios=(3, 2))
rows = test[::37], rotated[::37], upright.transform(rotated[::37])
examples.imshow(np.block([[np.pad(face, 1, constant_values=1) for face in row] for row in rows]), cmap="gray")
examples.set(
    xticks=[], yticks=[13, 40, 67], yticklabels=["original", "given", "returned"], title="Faces at random angles"
)
errors.hist(error, bins=np.linspace(-180, 180, 73), color="#0072B2")
errors.set(xticks=np.arange(-180, 181, 90), xlabel="error of the angle in degrees", ylabel="number of faces")
errors.set_title("Errors of the predicted angles")
plt.show()
