"""NestedInvariancePooler: against plain loops and published formulas; invariance; streams; bad input."""

import itertools
import weakref
from collections import OrderedDict

import numpy as np
import pytest
import torch
from sklearn.base import clone
from sklearn.decomposition import PCA
from sklearn.pipeline import make_pipeline
from tolerance import assert_close
from torch import nn

from sklinvariant import NestedInvariancePooler, load, save
from sklinvariant.feature_extraction import BackbonePatches, DensePatches, OnDescriptors
from sklinvariant.ops import Moment, moment
from sklinvariant.pooling._nested._regions import region_grid
from sklinvariant.transforms import ColorJitter, Flip, Rotation, Scale, warp

inf = np.inf
PAPER = (("scale", 1), ("translation", 2), ("rotation", inf))


@pytest.fixture(scope="module")
def network():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return nn.Sequential(nn.Conv2d(3, 8, 3, stride=2, bias=False), nn.ReLU())


@pytest.fixture
def images(global_random_seed):
    return np.random.RandomState(global_random_seed).rand(5, 17, 17, 3).astype(np.float32)


@pytest.fixture
def orbits(global_random_seed):
    return np.random.RandomState(global_random_seed).rand(6, 4, 3, 5, 7)


def power_mean(x, order, axis):
    return x.max(axis) if order == inf else (x**order).mean(axis) ** (1 / order)


def unit(x):
    return x / np.linalg.norm(x, axis=-1, keepdims=True)


@pytest.mark.parametrize("order", [1, 1.5, 2, 3, 50, inf])
@pytest.mark.parametrize("printed", [False, True])
@pytest.mark.parametrize("scale", [1e-30, 1.0, 1e30])
def test_moments(order, printed, scale, orbits):
    """Moments computed step by step and at once agree, in any order, also at scales whose powers overflow float32."""
    x = orbits[0, :, 0]
    expected = power_mean(x, order, 0) * (len(x) ** (1 / order - 1) if printed else 1)
    scaled = torch.tensor(x * scale, dtype=torch.float32)
    for rows in (scaled, scaled.flip(0)):
        running = Moment(order, printed)
        for row in rows:
            running.add(row)
        np.testing.assert_allclose(running.result() / scale, expected, rtol=2e-5)
    np.testing.assert_allclose(moment(scaled, order, 0, printed) / scale, expected, rtol=2e-5)


@pytest.mark.parametrize("order", [1, 2, 3.5, inf])
def test_moments_of_zeros_and_signs(order):
    zeros = torch.zeros(3, 2)
    running = Moment(order)
    for row in zeros:
        running.add(row)
    assert running.result().tolist() == moment(zeros, order, 0).tolist() == [0, 0]
    signed = torch.tensor([[-2.0], [1.0]])
    assert moment(signed, order, 0).item() == pytest.approx(
        {1: -0.5, inf: 1}.get(order, (signed.abs() ** order).mean() ** (1 / order))
    )


@pytest.mark.parametrize("moments", ["mean", "printed"])
def test_activations_against_equation_4(orbits, moments):
    x = orbits
    for _, order in PAPER:
        x = power_mean(x, order, 1) * (x.shape[1] ** (1 / order - 1) if moments == "printed" else 1)
    pooler = NestedInvariancePooler(stages=PAPER, moments=moments, normalize=False)
    np.testing.assert_allclose(pooler.fit_transform(orbits), x)
    tensor = pooler.set_params(normalize=True).fit_transform(torch.tensor(orbits))
    assert isinstance(tensor, torch.Tensor)
    np.testing.assert_allclose(tensor, unit(x))
    flat = NestedInvariancePooler(stages=PAPER, orbit_shape=(4, 3, 5)).fit_transform(orbits.reshape(6, -1))
    np.testing.assert_allclose(flat, unit(x))


def test_both_forms_rank_the_same(orbits):
    printed = NestedInvariancePooler(moments="printed").fit_transform(orbits)
    np.testing.assert_allclose(printed, NestedInvariancePooler().fit_transform(orbits), rtol=1e-12)


def test_the_mean_does_not_depend_on_the_sampling(orbits):
    finer = orbits.repeat(3, axis=1).repeat(2, axis=3)
    coarse = NestedInvariancePooler(normalize=False).fit_transform(orbits)
    np.testing.assert_allclose(NestedInvariancePooler(normalize=False).fit_transform(finer), coarse)
    printed = NestedInvariancePooler(normalize=False, moments="printed").fit_transform(finer)
    assert not np.allclose(printed, NestedInvariancePooler(normalize=False, moments="printed").fit_transform(orbits))


def test_several_moments_of_a_stage(orbits):
    both = NestedInvariancePooler(stages=[("a", (1, inf)), ("b", 2), ("c", 1)], normalize=False).fit_transform(orbits)
    parts = [
        NestedInvariancePooler(stages=[("a", n), ("b", 2), ("c", 1)], normalize=False).fit_transform(orbits)
        for n in (1, inf)
    ]
    np.testing.assert_allclose(both, np.hstack(parts))


@pytest.mark.parametrize("batch_size", [1, 4, 7, 1000])
@pytest.mark.parametrize("stages", [None, PAPER], ids=["default", "paper"])
def test_images_against_a_plain_loop(network, images, batch_size, stages):
    """Reference: compute each view separately, keep all activations, and apply equation 4."""
    rotations, scales = Rotation(n_steps=12), Scale(n_steps=2)
    maps = BackbonePatches(network).fit(images)
    activations = np.stack(
        [
            [
                maps.transform(warp(images, rotations.matrix([r]) @ scales.matrix([s]), fill="mean")).values.reshape(
                    5, 64, 8
                )
                for s in scales.orbit().tolist()
            ]
            for r in rotations.orbit().tolist()
        ]
    )  # (rotations, scales, n, cells, d)
    if stages == PAPER:
        expected = unit(power_mean(power_mean(activations.mean(1), 2, 2), inf, 0))
    else:
        expected = unit(power_mean(activations.max(3), 2, 1).mean(0))
    settings = {} if stages is None else {"stages": stages}
    pooler = NestedInvariancePooler(network, batch_size=batch_size, **settings)
    np.testing.assert_allclose(pooler.fit(images).transform(images), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("stages", "formula"),
    [
        ([("translation", 1)], lambda x: x.mean((1, 2))),  # SPoC
        ([("translation", inf)], lambda x: x.max((1, 2))),  # MAC
        ([("translation", 3)], lambda x: (x**3).mean((1, 2)) ** (1 / 3)),  # GeM
        (
            [("translation", inf, "l2"), ("region", 1)],  # R-MAC
            lambda x: sum(unit(x[:, a:b, c:d].max((1, 2))) for a, b, c, d in region_grid(8, 8, 3)),
        ),
        ([], lambda x: x.reshape(len(x), -1)),
    ],
    ids=["SPoC", "MAC", "GeM", "R-MAC", "pool5"],
)
def test_the_usual_poolings(network, images, stages, formula):
    maps = BackbonePatches(network).fit_transform(images).values.reshape(5, 8, 8, 8)
    pooler = NestedInvariancePooler(network, stages=stages)
    np.testing.assert_allclose(pooler.fit_transform(images), unit(formula(maps)), rtol=1e-4, atol=1e-6)


def test_regions_inside_the_nest(network, images):
    stages = [("translation", inf, "l2"), ("region", 1), ("rotation", 2)]
    quarter = {"rotation": Rotation(n_steps=4)}
    pooler = NestedInvariancePooler(network, stages=stages, transforms=quarter, normalize=False).fit(images)
    rmac = NestedInvariancePooler(network, stages=stages[:2], normalize=False).fit(images)
    views = [rmac.transform(np.rot90(images, k, axes=(1, 2))) for k in range(4)]
    np.testing.assert_allclose(pooler.transform(images), power_mean(np.stack(views), 2, 0), rtol=1e-5)


def test_invariant_to_its_groups(network, images):
    """Exact for permutations of pixels, and for user-defined photometric groups."""
    group = {"turn": Rotation(n_steps=4), "mirror": Flip()}
    stages = [("translation", 2), ("turn", 3), ("mirror", inf)]
    pooler = NestedInvariancePooler(network, stages=stages, transforms=group).fit(images)
    features = pooler.transform(images)
    for k, flip in itertools.product(range(4), (1, -1)):
        np.testing.assert_allclose(
            pooler.transform(np.rot90(images, k, axes=(1, 2))[:, :, ::flip]), features, rtol=1e-5, atol=1e-6
        )
    plain = NestedInvariancePooler(network, stages=[]).fit(images)
    assert np.abs(plain.transform(images[:, ::-1]) - plain.transform(images)).max() > 0.01
    light = NestedInvariancePooler(
        network, stages=[("translation", 1), ("light", inf)], transforms={"light": ColorJitter()}
    )
    assert light.fit_transform(images).shape == (5, 8)


def test_order_of_stages_matters(network, images):
    orbit = {"rotation": Rotation(n_steps=3)}
    one, other = (
        NestedInvariancePooler(network, stages=stages, transforms=orbit).fit_transform(images)
        for stages in ([("translation", inf), ("rotation", 1)], [("rotation", 1), ("translation", inf)])
    )
    assert np.abs(one - other).max() > 1e-3


def test_backbones(network, images):
    stages = [("translation", 2)]
    module = NestedInvariancePooler(network, stages=stages).fit_transform(images)
    extractor = BackbonePatches(network)
    assert_close(NestedInvariancePooler(extractor, stages=stages).fit_transform(images), module)
    assert not hasattr(extractor, "_state")  # a clone was fitted
    assert_close(NestedInvariancePooler(extractor.fit(images), stages=stages).fit_transform(images), module)
    learned = make_pipeline(DensePatches(4, stride=4, normalize=None), OnDescriptors(PCA(5)))
    pooler = NestedInvariancePooler(learned, stages=[*stages, ("rotation", inf)]).fit(images)
    assert pooler.transform(images).shape == (5, 5)
    assert pooler.backbone_ is not learned
    fitted = NestedInvariancePooler(learned.fit(images), stages=stages).fit(images[:1])
    assert fitted.backbone_ is learned


def test_tensors_rows_and_dtypes(network, images, device):
    pooler = NestedInvariancePooler(network, transforms={"rotation": Rotation(n_steps=3)}, image_shape=(17, 17, 3))
    features = pooler.fit_transform(images)
    assert features.dtype == np.float32
    tensor = pooler.transform(torch.tensor(images, device=device))
    assert tensor.device.type == device
    assert_close(tensor, features)
    assert_close(pooler.transform(images.reshape(5, -1)), features)
    whole = (images * 255).round().astype(np.uint8)
    np.testing.assert_allclose(pooler.transform(whole), pooler.transform(whole / 255), atol=1e-5)
    assert list(pooler.get_feature_names_out())[-1] == "nestedinvariancepooler7"


def test_bfloat16_is_near(network, images):
    exact = NestedInvariancePooler(network).fit_transform(images)
    rounded = NestedInvariancePooler(BackbonePatches(network, precision="bf16")).fit_transform(images)
    assert 0 < np.abs(exact - rounded).max() < 0.02


def test_files_and_images_of_any_size(network, tmp_path, global_random_seed):
    cv2 = pytest.importorskip("cv2", reason="OpenCV is not installed")
    rng = np.random.RandomState(global_random_seed)
    images = [rng.randint(255, size=(h, w, 3)).astype(np.uint8) for h, w in ((20, 30), (33, 15), (17, 17))]
    names = [str(tmp_path / f"{i}.png") for i in range(3)]
    for name, image in zip(names, images, strict=True):
        cv2.imwrite(name, image[..., ::-1])
    pooler = NestedInvariancePooler(network, stages=[("translation", 2)], image_size=17)
    features = pooler.fit_transform(images)
    assert_close(pooler.transform(names), features)
    assert_close(pooler.transform([tmp_path / "1.png"]), features[1:2])
    assert_close(pooler.transform(images[2][None]), features[2:])
    # turning the image by a quarter turns the square it is fitted into
    turning = NestedInvariancePooler(
        network, stages=[("translation", 2), ("r", inf)], transforms={"r": Rotation(n_steps=4)}, image_size=17
    )
    turned = turning.fit(images).transform([np.rot90(image) for image in images])
    np.testing.assert_allclose(turned, turning.transform(images), atol=2e-3)


def test_arrays_and_rows_of_any_size_are_fitted_into_the_square(network, images):
    """Gives the same result as a list of these images, in fit and later for images of another size."""
    pooler = NestedInvariancePooler(network, stages=[("translation", 2)], image_size=21, image_shape=(17, 17, 3))
    expected = pooler.fit_transform(list(images))
    for same in (images, torch.tensor(images), images.reshape(5, -1)):
        assert_close(clone(pooler).fit(same).transform(same), expected)
    smaller = images[:, :15, :11]
    assert_close(pooler.transform(smaller), pooler.transform(list(smaller)))


def test_images_of_several_dtypes(network, images):
    """In a mixed list, integers are still 0-255, and half precision is read as float32."""
    whole = (images * 255).round().astype(np.uint8)
    for image_size in (None, 21):
        pooler = NestedInvariancePooler(network, stages=[("translation", 2)], image_size=image_size).fit(list(images))
        mixed = pooler.transform([images[0], whole[1], images[2].astype(np.float16)])
        np.testing.assert_allclose(mixed, pooler.transform(list(images[:3])), atol=0.01)
        half = torch.tensor(images).bfloat16()
        np.testing.assert_allclose(pooler.transform(list(half)), pooler.transform(list(images)), atol=0.02)


def test_a_bad_file_is_named_and_loses_nothing(network, tmp_path):
    cv2 = pytest.importorskip("cv2", reason="OpenCV is not installed")
    names = [str(tmp_path / f"{i}.png") for i in range(4)]
    for name in names:
        cv2.imwrite(name, np.full((9, 9, 3), 99, np.uint8))
    (tmp_path / "1.png").write_bytes(b"not an image")
    pooler = NestedInvariancePooler(network, stages=[("translation", 2)], image_size=17, batch_size=2)
    with pytest.raises(ValueError, match=r"image 1: .*1\.png cannot be read as an image"):
        pooler.fit([names[0]]).transform(names)
    pooler.set_params(on_error="nan")
    with pytest.warns(UserWarning, match=r"1 of 4 images were not read: image 1: .*1\.png"):
        features = pooler.transform(names)
    assert np.isnan(features).all(1).tolist() == [False, True, False, False]
    with pytest.raises(ValueError, match="none of 1 images"):
        pooler.fit([names[1]])


def test_memory_does_not_grow_with_the_orbit(network, images, monkeypatch):
    """Maps are pooled one at a time, so that 40 times as many views need no more memory."""
    held = []

    def feature_maps(self, device):
        def see(views):
            maps = np.ones((len(views), 8, 8, 8), np.float32)
            token = object()
            held.append(token)
            weakref.finalize(maps, held.remove, token)
            most.append(len(held))
            return torch.from_numpy(maps)

        return see

    monkeypatch.setattr(BackbonePatches, "feature_maps", feature_maps)
    for steps in (1, 40):
        most: list[int] = []
        orbits = {"rotation": Rotation(n_steps=steps), "scale": Scale(n_steps=10)}
        NestedInvariancePooler(network, stages=PAPER, transforms=orbits, batch_size=2).fit_transform(images)
        assert len(most) > 10 * steps
        assert max(most) <= 2


def test_progress(network, images, terminal, capsys):
    NestedInvariancePooler(network, transforms={"rotation": Rotation(n_steps=3)}, verbose=1).fit_transform(images)
    shown = capsys.readouterr().err
    assert "30/30" in shown  # 5 images, 3 rotations, 2 scales


def test_saved_and_pickled(network, images, orbits, tmp_path):
    import pickle

    pooler = NestedInvariancePooler(network).fit(images)
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(pooler)).transform(images), pooler.transform(images))
    dense = NestedInvariancePooler(
        DensePatches(5), stages=[("translation", 3), ("rotation", inf)], transforms={"rotation": Rotation(n_steps=2)}
    )
    dense.fit(images)
    save(dense, tmp_path / "model")
    np.testing.assert_array_equal(load(tmp_path / "model").transform(images), dense.transform(images))


def test_models_of_earlier_versions_keep_their_orbits(network, images):
    """Their state does not contain the default orbits, which were 36 rotations and 10 scales."""
    pooler = NestedInvariancePooler(network, stages=[("scale", 1), ("rotation", inf)]).fit(images)
    other = pooler.transform(images[:2])
    pooler._state = {"n_channels": 3}
    orbits = {"rotation": Rotation(n_steps=36), "scale": Scale(n_steps=10)}
    expected = clone(pooler).set_params(transforms=orbits).fit(images).transform(images[:2])
    assert_close(pooler.transform(images[:2]), expected)
    assert np.abs(other - expected).max() > 1e-3


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"stages": [("rotation", 0.5)]}, "at least 1"),
        ({"stages": [("rotation", np.nan)]}, "at least 1"),
        ({"stages": [("rotation",)]}, "stages contains"),
        ({"stages": ["rotation"]}, "stages contains"),
        ({"stages": [("rotation", 1, "l1")]}, "stages contains"),
        ({"stages": [(["rotation"], 1)]}, "stages contains"),
        ({"stages": [("turn", 1)]}, "stages contains the group 'turn'"),
        ({"stages": [("rotation", 1), ("rotation", 2)]}, "once"),
        ({"stages": [("region", 1)]}, '"translation" before it'),
        ({"transforms": {"translation": Flip()}}, "transforms contains"),
        ({"transforms": {"rotation": 36}}, "transforms contains"),
        ({"moments": "median"}, "moments"),
        ({"batch_size": 0}, "batch_size"),
        ({"backbone": 3}, "backbone"),
    ],
)
def test_bad_parameters(network, images, params, message):
    with pytest.raises(ValueError, match=message):
        NestedInvariancePooler(**{"backbone": network, **params}).fit(images)


@pytest.mark.parametrize(
    ("X", "message"),
    [
        (np.full((2, 17, 17, 3), np.nan), "image 0 contains NaN"),
        (np.zeros((0, 17, 17, 3)), "0 sample"),
        (np.zeros((2, 17, 17)), "channels|cannot take|features"),
        ([np.zeros((5, 5)), np.zeros((6, 5))], "differ in size"),
        ([np.zeros((17, 17)), np.zeros((17, 17, 3))], "differ in size"),
        (["a.png"], "image_size"),
    ],
)
def test_bad_images(network, images, X, message):
    pooler = NestedInvariancePooler(network, stages=[("translation", 1)]).fit(images)
    with pytest.raises(ValueError, match=message):
        pooler.transform(X)


def test_colours_beside_grey(network, images):
    pooler = NestedInvariancePooler(network, stages=[("translation", 1)], image_size=17).fit(images)
    with pytest.raises(ValueError, match=r"image 2 has 1 channel\(s\), but NestedInvariancePooler was fitted on"):
        pooler.transform([images[0], images[1], images[2, ..., 0]])


@pytest.mark.parametrize("orbit_shape", [(0, 3, 5), (-4, -3, 5), ("4", 3, 5)])
def test_bad_orbit_shapes(orbits, orbit_shape):
    with pytest.raises(ValueError, match="orbit_shape="):
        NestedInvariancePooler(orbit_shape=orbit_shape).fit(orbits.reshape(6, -1))


@pytest.mark.parametrize(
    ("X", "message"),
    [
        (np.zeros((2, 3, 4)), r"X has shape \(2, 3, 4\)"),
        (np.zeros((2, 3, 0, 5, 7)), "with a non-empty axis"),
        (np.full((2, 4, 3, 5, 7), np.inf), "infinity"),
        (np.zeros((2, 4, 3, 5, 6)), "features"),
    ],
)
def test_bad_activations(orbits, X, message):
    pooler = NestedInvariancePooler().fit(orbits)
    with pytest.raises(ValueError, match=message):
        pooler.transform(X)


def test_transformations_whose_orbit_cannot_be_listed_are_refused(network, images):
    pooler = NestedInvariancePooler(network, transforms={"mirror": torch.nn.Identity()})
    with pytest.raises(ValueError, match=r"'mirror': Identity\(\), but a Transform of .*, whose orbit can be listed"):
        pooler.fit(images)


def test_a_classifier_as_backbone(images):
    """The message names the last layer that returns a map, which then works."""
    parts = {"first": nn.Conv2d(3, 2, 3), "second": nn.Conv2d(2, 3, 3), "mean": nn.AdaptiveAvgPool2d(1)}
    classifier = nn.Sequential(OrderedDict(**parts, flat=nn.Flatten(), head=nn.Linear(3, 10)))
    transforms = {"rotation": Rotation(n_steps=2)}
    with pytest.raises(ValueError, match=r"last that returns a map is BackbonePatches\(network, layer='second'\)"):
        NestedInvariancePooler(classifier, transforms=transforms).fit(images)
    backbone = BackbonePatches(classifier, layer="second")
    assert NestedInvariancePooler(backbone, transforms=transforms).fit_transform(images).shape[1] == 3


def test_feature_maps_without_a_backbone_are_reshaped_as_advised():
    maps = np.random.RandomState(0).rand(4, 7, 6, 5)
    pooler = NestedInvariancePooler(stages=[("translation", 1)], normalize=False)
    with pytest.raises(ValueError, match=r"Pass feature maps \(n, h, w, f\) as X\.reshape\(n, h \* w, f\)"):
        pooler.fit(maps)
    n, h, w, f = maps.shape
    assert_close(pooler.fit_transform(maps.reshape(n, h * w, f)), maps.mean((1, 2)))
