"""Groups of the same photograph: changes that are found, other photographs, files that cannot be read."""

import pickle

import numpy as np
import pytest

from sklinvariant import load, save
from sklinvariant.cluster import DuplicateImages
from sklinvariant.cluster._duplicates import _duplicate_images
from sklinvariant.cluster._duplicates._duplicate_images import _described, _without_chains

cv2 = pytest.importorskip("cv2", reason="OpenCV is not installed")
data = pytest.importorskip("skimage.data", reason="scikit-image is not installed")
pytest.importorskip("faiss", reason="faiss is not installed")


@pytest.fixture(scope="module")
def photos():
    images = [data.astronaut(), data.chelsea(), data.coffee(), data.rocket(), data.coins()[..., None].repeat(3, axis=2)]
    return [cv2.resize(image, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA) for image in images]


def _rotated(image):
    h, w = image.shape[:2]
    return cv2.warpAffine(image, cv2.getRotationMatrix2D((w / 2, h / 2), 33, 0.8), (w, h))


def _recompressed(image):
    return cv2.imdecode(cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, 20])[1], cv2.IMREAD_COLOR)


_CHANGES = {
    "mirrored": lambda image: image[:, ::-1],
    "90 degrees": np.rot90,
    "33 degrees": _rotated,
    "cropped": lambda image: image[20:-20, 30:-10],
    "smaller": lambda image: cv2.resize(image, None, fx=0.6, fy=0.6, interpolation=cv2.INTER_AREA),
    "recompressed": _recompressed,
    "darker": lambda image: np.round(255 * (image / 255) ** 1.4 * 0.9).astype(np.uint8),
    "grey": lambda image: cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)[..., None],
}


@pytest.mark.parametrize("change", _CHANGES.values(), ids=_CHANGES)
def test_changed_photographs_are_grouped(photos, change):
    images = [*photos, *(np.ascontiguousarray(change(image)) for image in photos[:3])]
    model = DuplicateImages()
    labels = model.fit_predict(images)
    assert labels.tolist() == [0, 1, 2, -1, -1, 0, 1, 2]
    assert model.pairs_.tolist() == [[0, 5], [1, 6], [2, 7]]
    assert model.failed_ == []


_STRONG_CHANGES = {
    "blurred": lambda image: cv2.GaussianBlur(image, (0, 0), 3),
    "overexposed": lambda image: np.uint8(np.minimum(1.5 * image, 255)),
    "red and blue exchanged": lambda image: image[..., ::-1],
    "stamped": lambda image: cv2.putText(
        image.copy(), "12.5.2026", (330, 490), cv2.FONT_HERSHEY_SIMPLEX, 1, (250, 160, 0), 2
    ),
}


@pytest.mark.parametrize("change", _STRONG_CHANGES.values(), ids=_STRONG_CHANGES)
def test_strongly_changed_photographs_are_grouped(change):
    astronaut = data.astronaut()
    assert DuplicateImages().fit_predict([astronaut, np.ascontiguousarray(change(astronaut))]).tolist() == [0, 0]


def test_floats_and_arrays(photos):
    images = [photos[0] / 255, photos[1], photos[0].astype(np.float32) / 255]
    assert DuplicateImages().fit_predict(images).tolist() == [0, -1, 0]
    same_size = np.stack([cv2.resize(image, (160, 120)) for image in (photos[0], photos[2], photos[0])])
    assert DuplicateImages().fit_predict(same_size).tolist() == [0, -1, 0]


def test_all_changes_of_a_photograph_are_one_group(photos):
    images = [photos[1], *(np.ascontiguousarray(change(photos[0])) for change in _CHANGES.values()), photos[2]]
    assert DuplicateImages(n_jobs=2).fit_predict(images).tolist() == [-1, *[0] * 8, -1]


def test_part_of_a_photograph(photos):
    """A small crop is a duplicate if it may be a small part."""
    images = [photos[0], np.ascontiguousarray(photos[0][:120, 60:180])]
    assert DuplicateImages().fit_predict(images).tolist() == [-1, -1]
    assert DuplicateImages(min_overlap=0.1).fit_predict(images).tolist() == [0, 0]


def test_photographs_in_which_something_moved(photos):
    """Their key points match, but the pixels differ."""
    moved = photos[0].copy()
    moved[40:200, 20:120] = np.roll(photos[0], 40, axis=0)[40:200, 20:120]
    images = [photos[0], moved]
    assert DuplicateImages().fit_predict(images).tolist() == [-1, -1]
    assert DuplicateImages(min_similarity=0).fit_predict(images).tolist() == [0, 0]


def test_parts_of_a_montage(photos):
    """They are in one group through the montage, unless duplicates must share more than one of its parts."""
    parts = [cv2.resize(photo, (240, 240)) for photo in photos[:2]]
    images = [parts[0], np.hstack(parts), parts[1]]
    assert DuplicateImages().fit_predict(images).tolist() == [0, 0, 0]
    assert DuplicateImages(min_overlap=0.6).fit_predict(images).tolist() == [-1, -1, -1]


def test_images_without_key_points():
    """They are compared by their hashes, in eight orientations."""
    rng = np.random.RandomState(0)
    smooth = [cv2.resize(rng.randint(256, size=(3, 4, 3)).astype(np.uint8), (80, 60)) for _ in range(4)]
    images = [*smooth, np.rot90(smooth[1]).copy(), smooth[2][:, ::-1].copy(), _recompressed(smooth[0])]
    assert DuplicateImages().fit_predict(images).tolist() == [0, 1, 2, -1, 1, 2, 0]


def _blank(colour):
    return np.full((60, 80, 3), colour, np.uint8)


def test_blank_images_of_different_colours():
    """Only those of the same colour are duplicates."""
    colours = [0, 255, 128, (200, 0, 0), 255, (0, 0, 200), (200, 0, 0)]
    assert DuplicateImages().fit_predict([_blank(one) for one in colours]).tolist() == [-1, 0, -1, 1, 0, -1, 1]


@pytest.mark.parametrize("order", [1, -1])
def test_blank_images_of_similar_shades_do_not_chain(order):
    shades = np.arange(100, 160, 3)[::order]
    labels = DuplicateImages().fit_predict([_blank((shade, shade, shade)) for shade in shades])
    for label in set(labels) - {-1}:
        assert np.ptp(shades[labels == label]) <= 8
    assert (labels >= 0).mean() > 0.8
    noise = np.random.RandomState(0).randint(-2, 3, size=(3, 60, 80, 1))
    noisy = [np.uint8(_blank(90).astype(int) + one) for one in noise]
    assert DuplicateImages().fit_predict(noisy).tolist() == [0, 0, 0]


def _complete_linkage(pairs, colours):
    """The pairs that join rows of a common group, found with all members of each group."""
    groups, kept = {row: {row} for row in range(len(colours))}, []
    for one, other in sorted(pairs, key=lambda pair: (np.abs(colours[pair[0]] - colours[pair[1]]).max(), pair)):
        together = groups[one] | groups[other]
        if all(np.abs(colours[a] - colours[b]).max() <= 8 for a in together for b in together):
            groups.update(dict.fromkeys(together, together))
            kept.append((one, other))
    return kept


@pytest.mark.parametrize("seed", range(5))
def test_blank_images_are_joined_by_complete_linkage(seed):
    rng = np.random.RandomState(seed)
    colours = rng.randint(0, 30, size=(80, 3))
    pairs = sorted({tuple(sorted(rng.choice(80, 2, replace=False).tolist())) for _ in range(600)})
    expected = _complete_linkage(pairs, colours)
    blank = [_blank(colour) for colour in colours]
    photos = [_described(row, blank.__getitem__, blank.__getitem__, 10) for row in range(len(blank))]
    assert _without_chains(pairs, photos) == expected
    assert 10 < len(expected) < len(pairs)


def test_gradients_of_different_colours():
    ramp = np.linspace(0, 1, 80)[None, :, None] * np.ones((60, 1, 1))
    images = [np.uint8(255 * ramp * np.array(one)) for one in ([1, 0, 0], [0, 0, 1], [0.5, 0.9, 0.2], [1, 1, 1])]
    images += [np.rot90(images[0]).copy(), _recompressed(images[3])]
    assert DuplicateImages().fit_predict(images).tolist() == [0, -1, -1, 1, 0, 1]


def test_the_number_of_comparisons_does_not_grow_with_the_number_of_pairs(monkeypatch):
    """Equal blank images are compared with the first of them, and nearly equal ones with 10 in each orientation."""
    compared = []
    monkeypatch.setattr(DuplicateImages, "_agree_upright", lambda self, one, other: compared.append(0) or True)
    assert DuplicateImages().fit_predict([_blank(90)] * 200).tolist() == [0] * 200
    assert len(compared) == 199
    compared.clear()
    DuplicateImages().fit([_blank((i, 2 * i, 255 - i)) for i in range(120)])
    assert len(compared) <= 120 * 10


def _card(number):
    image = np.full((300, 300, 3), 240, np.uint8)
    cv2.rectangle(image, (50, 50), (250, 250), (0, 0, 0), 2)
    return cv2.putText(image, str(number), (100, 160), cv2.FONT_HERSHEY_SIMPLEX, 1, (0, 0, 0), 2)


def test_cards_with_different_numbers():
    images = [_card(1234), _card(7537), _recompressed(_card(1234)), np.rot90(_card(7537)).copy()]
    assert DuplicateImages().fit_predict(images).tolist() == [0, 1, 0, 1]


def _form(number, name):
    """A page with print that differs in one place."""
    page = np.full((600, 450, 3), 250, np.uint8)
    lines = ["Claim of damages", *(f"{label} of the insured" for label in ("Name", "Street", "City", "Date")), name]
    for i, line in enumerate([*lines, f"Account {number}", "Signed by the agent", "Paid on receipt"]):
        cv2.putText(page, line, (30, 60 + 55 * i), cv2.FONT_HERSHEY_SIMPLEX, 0.7, (20, 20, 60), 1)
    return page


@pytest.mark.parametrize("change", [*_CHANGES.values(), lambda image: image], ids=[*_CHANGES, "unchanged"])
def test_forms_that_differ_in_a_name_or_a_digit(change):
    """They match in most of their key points."""
    forms = _form(482913, "Anna Bauer"), _form(482913, "Eva Novak"), _form(482973, "Anna Bauer")
    images = [*forms, np.ascontiguousarray(change(forms[0]))]
    assert DuplicateImages(max_contrast=8).fit_predict(images).tolist() == [0, -1, -1, 0]
    assert DuplicateImages().fit_predict(images).tolist() == [0, 0, 0, 0]


def test_a_file_that_is_gone_before_it_is_read_again(photos, tmp_path, monkeypatch):
    """It is compared without details."""
    names = [tmp_path / f"{i}.png" for i in range(3)]
    for name, image in zip(names, (photos[0], photos[1], photos[0][:, ::-1]), strict=True):
        cv2.imwrite(str(name), image)
    read_again = _duplicate_images._detail
    monkeypatch.setattr(
        _duplicate_images, "_detail", lambda *read: names[0].unlink(missing_ok=True) or read_again(*read)
    )
    assert DuplicateImages(max_contrast=8).fit_predict(names).tolist() == [0, -1, 0]
    assert not names[0].exists()


def test_files_that_cannot_be_read(photos, tmp_path):
    names = [tmp_path / f"{i}.png" for i in range(5)]
    for i, image in enumerate((photos[0], photos[1], np.rot90(photos[0]))):
        cv2.imwrite(str(names[i]), image)
    names[3].write_bytes(b"not an image")
    model = DuplicateImages()
    with pytest.warns(UserWarning, match=r"2 of 5 images were not read: .*3\.png"):
        labels = model.fit_predict(names)
    assert labels.tolist() == [0, -1, 0, -2, -2]
    assert [row for row, _ in model.failed_] == [3, 4]
    assert "4.png" in model.failed_[1][1]


def test_names_of_files(photos, tmp_path):
    """They are in the order of the labels, also after a model was saved."""
    folder = tmp_path / "photos"
    (folder / "more").mkdir(parents=True)
    for name, image in {"b.png": photos[0], "a.png": photos[1], "more/c.png": photos[0][:, ::-1]}.items():
        cv2.imwrite(str(folder / name), image)
    model = DuplicateImages().fit(folder)
    names = [str(folder / name) for name in ("a.png", "b.png", "more/c.png")]
    assert model.files_.tolist() == names
    assert model.files_[model.labels_ == 0].tolist() == names[1:]
    save(model, tmp_path / "model.safetensors")
    for again in (load(tmp_path / "model.safetensors"), pickle.loads(pickle.dumps(model))):
        assert again.files_.tolist() == names
    assert DuplicateImages().fit(names[::-1]).files_.tolist() == names[::-1]
    assert DuplicateImages().fit([(folder / "a.png").read_bytes()] * 2).files_ is None
    assert DuplicateImages().fit(photos[:2]).files_ is None


def test_a_model_saved_without_names_of_files(photos, tmp_path):
    model = DuplicateImages().fit(photos[:2])
    del model._state["files"]
    save(model, tmp_path / "model.safetensors")
    for again in (load(tmp_path / "model.safetensors"), pickle.loads(pickle.dumps(model))):
        assert again.files_ is None
        assert again.labels_.tolist() == [-1, -1]
    assert not hasattr(pickle.loads(pickle.dumps(DuplicateImages())), "files_")


def test_votes_are_counted_in_blocks_and_searched_in_lists(photos, monkeypatch):
    images = [*photos, *(np.rot90(image).copy() for image in photos)]
    expected = DuplicateImages().fit(images).pairs_
    assert len(expected) == len(photos)
    monkeypatch.setattr(_duplicate_images, "_BLOCK", 3)
    monkeypatch.setattr(_duplicate_images, "_MOST_EXACT", 100)
    np.testing.assert_array_equal(DuplicateImages().fit(images).pairs_, expected)


@pytest.mark.parametrize(
    ("image", "message"),
    [(np.zeros((9, 9, 2)), "image 0 has 2 channels"), (np.full((9, 9, 3), 3.0), "image 0 has floats from 3 to 3")],
)
def test_images_that_are_none(image, message):
    with pytest.raises(ValueError, match=message):
        DuplicateImages().fit([image, image])


def test_no_file_can_be_read(tmp_path):
    with pytest.raises(ValueError, match=r"none of 2 images can be read, .*a\.png"):
        DuplicateImages().fit([str(tmp_path / "a.png"), str(tmp_path / "b.png")])
