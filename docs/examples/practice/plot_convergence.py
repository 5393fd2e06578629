"""
What to do when a fit does not converge
=======================================

Your fit gives poor results. Estimators that are trained in epochs record the loss of each epoch in ``history_``, which
answers most questions. Check the scale of the features first, then the learning rate, the number of epochs, the seed.
"""

# %%
# The bags of this example contain patches of digits, but somebody has confused a unit: one feature is 1,000 times too
# large. ``StandardScaler`` repairs it, without any other change.

import matplotlib.pyplot as plt
import numpy as np
from sklearn.decomposition import PCA
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from sklinvariant import DensePatches, LearnedVLAD, OnDescriptors
from sklinvariant.datasets import load_digits_images

images, y = load_digits_images(return_X_y=True)
bags = make_pipeline(DensePatches(4, stride=1), OnDescriptors(PCA(8, random_state=0))).fit_transform(images)
train, test, y_train, y_test = bags[:500], bags[1000:], y[:500], y[1000:]
wrong_unit = np.array([1, 1, 1, 1, 1, 1, 1, 1000], dtype=np.float32)
settings = {"n_codewords": 8, "max_epochs": 20, "random_state": 0}
for name, scaler in {"as given": None, "standardised": OnDescriptors(StandardScaler())}.items():
    model = make_pipeline(scaler, LearnedVLAD(**settings)).fit(train * wrong_unit, y_train)
    print(f"{name:<13} accuracy {model.score(test * wrong_unit, y_test):.3f}")

# %%
# If the learning rate is too small, the loss hardly falls. If it is too large, the loss rises first and stays high.

figure, ax = plt.subplots(figsize=(8, 4), layout="constrained")
for rate, line in {0.0005: ":", 0.05: "-", 5.0: "--"}.items():
    model = LearnedVLAD(learning_rate=rate, **settings).fit(train, y_train)
    losses = [row["loss"] for row in model.history_]
    print(f"learning rate {rate:<6} last loss {losses[-1]:.3f}, accuracy {model.score(test, y_test):.3f}")
    ax.plot(range(1, 21), losses, line, linewidth=2.5, label=f"learning rate {rate:g}")
ax.set(yscale="log", xlabel="epoch", ylabel="training loss", xticks=range(0, 21, 5), title="LearnedVLAD")
figure.legend(loc="outside right upper")
plt.show()

# %%
# ``tol`` ends a fit when the loss no longer falls, so that ``max_epochs`` may be large, with a constant learning rate.

patient = LearnedVLAD(8, learning_rate=0.01, learning_rate_decay=None, max_epochs=60, tol=1e-3, random_state=0)
patient.fit(train, y_train)
print(f"stopped after {patient.n_iter_} of {patient.max_epochs} epochs, accuracy {patient.score(test, y_test):.3f}")
others = [LearnedVLAD(**settings | {"random_state": seed}).fit(train, y_train) for seed in range(1, 5)]
print("with other seeds:", *(f"{model.score(test, y_test):.3f}" for model in others))

# %%
# The scale matters most: 0.39 with the wrong unit, 0.94 standardised. A learning rate that is 100 times too small costs
# little accuracy here, one that is 100 times too large ruins the fit. Seeds differ by 0.01: do not report differences
# that are smaller, and compare methods with several seeds.
