"""
Save a model, and serve it without scikit-learn
===============================================

Your Pipeline is fitted, and now it has to answer requests on a server. It becomes a torch module with the same
answers, and the module becomes a file that the server runs with torch alone, or with onnxruntime.
"""

# %%
# The Pipeline to serve: from images to codes of 32 bits, for a search.

import tempfile
import timeit
import warnings
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import onnxruntime
import torch
from sklearn.cluster import MiniBatchKMeans
from sklearn.pipeline import make_pipeline

import sklinvariant
from sklinvariant import ConvolutionalFeatures, ITQHasher, SpatialPooling
from sklinvariant.datasets import load_digits_images

images, new = np.split(load_digits_images().images, [1000])
features = ConvolutionalFeatures(MiniBatchKMeans(32, n_init=1, random_state=0), patch_size=5, random_state=0)
pipeline = make_pipeline(features, SpatialPooling([(2, 2)]), ITQHasher(32, random_state=0)).fit(images)

# %%
# **Save.** ``sklinvariant.save`` writes one estimator to a file from which ``load`` runs no code. For a whole Pipeline
# use ``skops.io.dump``, or joblib if you trust the file.

folder = tempfile.TemporaryDirectory()
file = Path(folder.name, "hasher.sklinvariant")
sklinvariant.save(pipeline[-1], file)
print(f"{type(sklinvariant.load(file)).__name__}: {file.stat().st_size:,} bytes")

# %%
# **Export.** ``to_module`` makes the module. ``Dim.AUTO`` lets the exported files take any number of images.

module, batch = sklinvariant.to_module(pipeline), torch.from_numpy(new[:2])
program = torch.export.export(module, (batch,), dynamic_shapes=({0: torch.export.Dim.AUTO},))
torch.export.save(program, Path(folder.name, "codes.pt2"))
with warnings.catch_warnings(action="ignore", category=FutureWarning):  # of torch, about its own code
    torch.onnx.export(program, dynamo=True, verbose=False, input_names=["X"]).save(Path(folder.name, "codes.onnx"))

# %%
# **Serve.** The last two need only a file. The times are those of the machine that built this page.

exported = torch.export.load(Path(folder.name, "codes.pt2")).module()
session = onnxruntime.InferenceSession(Path(folder.name, "codes.onnx"))
servers = {
    "Pipeline": pipeline.transform,
    "torch.export": lambda X: exported(torch.from_numpy(X)).numpy(),
    "ONNX": lambda X: session.run(None, {"X": X})[0],
}
times = {}
for server, answer in servers.items():
    same = np.mean(answer(new) == pipeline.transform(new))
    times[server] = 1000 * np.median(timeit.repeat("answer(new[:1])", globals=globals(), number=1, repeat=20))
    print(f"{server:<13} {same:.2%} of the bits are equal, {times[server]:.2f} ms for one image")
folder.cleanup()

figure, ax = plt.subplots(figsize=(7, 3), layout="constrained")
ax.bar_label(ax.barh(list(times), times.values()), fmt="%.2f", padding=3)
ax.invert_yaxis()
ax.set(xmargin=0.1, xlabel="milliseconds", title="Time to compute the code of one image")
plt.show()

# %%
# All give the same codes. The files answer faster, because the checks of scikit-learn are left out. In ONNX, sums are
# rounded differently, so that a bit whose projection is almost zero may differ.
