"""The commands ``index``, ``query`` and ``retrieve``: image formats, interruptions, results, pages, error messages."""

import json
import os
import re
import subprocess
import sys

import numpy as np
import pytest

from sklinvariant import NestedInvariancePooler, load
from sklinvariant.cli import _photo_index as _photo_index
from sklinvariant.cli._command_line import main

cv2 = pytest.importorskip("cv2", reason="OpenCV is not installed")
Image = pytest.importorskip("PIL.Image", reason="Pillow is not installed")
pytest.importorskip("faiss", reason="faiss is not installed")
_QUICK = ["--image-size", "48", "--rotations", "4", "--scales", "2", "--bits", "32"]


def _image(seed, shape=(60, 80)):
    """An image of coarse colours that depend on the seed."""
    coarse = np.random.RandomState(seed).randint(256, size=(6, 8, 3)).astype(np.uint8)
    return cv2.resize(coarse, shape[::-1], interpolation=cv2.INTER_LINEAR)


@pytest.fixture
def photos(tmp_path):
    """Images of several formats, sizes and depths, a broken image, an empty file and a text file."""
    folder = tmp_path / "photos"
    (folder / "deeper" / "still").mkdir(parents=True)
    for i in range(12):
        cv2.imwrite(str(folder / f"{i:02d}.png"), _image(i, (60 + i, 80)))
    cv2.imwrite(str(folder / "deeper" / "grey.png"), _image(20)[..., 0])
    cv2.imwrite(str(folder / "deeper" / "deep.png"), _image(21).astype(np.uint16) * 257)
    cv2.imwrite(str(folder / "deeper" / "clear.png"), np.dstack([_image(22), np.full((60, 80), 128, np.uint8)]))
    (folder / "deeper" / "broken.jpg").write_bytes(b"\xff\xd8\xff not an image")
    (folder / "deeper" / "empty.png").touch()
    (folder / "notes.txt").write_text("not an image")
    turned = Image.fromarray(np.rot90(_image(3, (63, 80))[..., ::-1]).copy())
    exif = Image.Exif()
    exif[0x0112] = 6  # turn by 90° clockwise to see it upright
    turned.save(folder / "deeper" / "still" / "turned.jpg", exif=exif, quality=95)
    return folder


def test_from_photographs_to_a_page(photos, tmp_path, capsys):
    out, page = tmp_path / "index", tmp_path / "report.html"
    assert main(["index", str(photos), "--output", str(out), *_QUICK]) == 0
    printed = capsys.readouterr()
    assert "16 photographs indexed with 32-bit codes" in printed.out
    assert re.search(r"skipped: 2\n.*broken\.jpg.*\n.*empty\.png", printed.err)
    query = tmp_path / "query.png"
    cv2.imwrite(str(query), np.rot90(_image(5, (65, 80))))
    wrong = tmp_path / "wrong.png"
    wrong.write_bytes(b"wrong")
    assert main(["query", str(out), str(query), str(wrong), "--neighbors", "3", "--output", str(page)]) == 0
    printed = capsys.readouterr()
    lines = printed.out.splitlines()
    assert lines[0] == str(query)
    differ, name = lines[1].split()
    assert name == str(photos / "05.png")
    assert int(differ) <= 2  # a quarter turn is in the orbit; bits near 0 may be rounded differently
    assert "wrong.png" in printed.err
    text = page.read_text()
    assert text.count("<figure") == 4
    assert text.count("data:image/jpeg;base64,") == 4
    assert "bits differ" in text


def test_a_query_without_any_readable_image_has_its_own_status(photos, tmp_path, capsys):
    out, wrong = tmp_path / "index", tmp_path / "wrong.png"
    wrong.write_text("no image")
    assert main(["index", str(photos), "--output", str(out), *_QUICK, "--fast"]) == 0
    assert main(["query", str(out), str(wrong)]) == 1
    assert "wrong.png" in capsys.readouterr().err


def test_the_exif_orientation_is_applied(photos, tmp_path):
    """The JPEG with an orientation tag shows image 3: its code is (nearly) that of the upright PNG."""
    _photo_index.make_index(photos, tmp_path / "index", n_bits=32, image_size=48, n_rotations=1, n_scales=1, show=False)
    answer = _photo_index.query_index(tmp_path / "index", [photos / "03.png"], n_neighbors=2)
    (neighbors,) = answer.found.values()
    assert {name.rsplit("/")[-1] for _, name in neighbors} == {"03.png", "turned.jpg"}


def test_an_interrupted_run_is_resumed(photos, tmp_path, monkeypatch):
    monkeypatch.setattr(_photo_index, "_CHUNK", 4)
    read, seen = _photo_index._read, []

    def interrupted(pooler, files, n_keypoints):
        seen.extend(files)
        if len(seen) == 12 and not interrupted.done:
            interrupted.done = True
            raise KeyboardInterrupt
        return read(pooler, files, n_keypoints)

    interrupted.done = False
    monkeypatch.setattr(_photo_index, "_read", interrupted)
    words = ["index", str(photos), "--output", str(tmp_path / "index"), *_QUICK]
    assert main(words) == 130
    assert main(["query", str(tmp_path / "index"), str(photos / "00.png")]) == 2  # no finished index yet
    del seen[8:]
    assert main(words) == 0
    assert len(seen) == 18  # the first eight were not read again
    whole = tmp_path / "whole"
    assert main(["index", str(photos), "--output", str(whole), *_QUICK]) == 0
    one, other = (load(folder / "index.safetensors") for folder in (tmp_path / "index", whole))
    assert np.unpackbits(one._state["codes"] ^ other._state["codes"]).mean() < 0.02  # except for bits near 0
    one, other = (json.loads((folder / "names.json").read_text()) for folder in (tmp_path / "index", whole))
    assert one["photos"] == other["photos"]
    # after a change of one photograph, only its chunk is read again; with other bits, only the two unreadable files are
    cv2.imwrite(str(photos / "01.png"), _image(99))
    del seen[:]
    assert main(words) == 0
    assert len(seen) == 4 + 2
    del seen[:]
    assert main([*words, "--bits", "16"]) == 0
    assert len(seen) == 2
    del seen[:]
    assert main([*words, "--rotations", "2"]) == 0
    assert len(seen) == 18


def test_with_pretrained_weights(photos, tmp_path, shared_data, capsys):
    weights = shared_data / "weights" / "squeezenet_v1.1_imagenet_notop.npz"
    words = ["index", str(photos), "--output", str(tmp_path / "index"), "--weights", str(weights), *_QUICK]
    assert main(words) == 0
    assert main(["query", str(tmp_path / "index"), str(photos / "07.png"), "--neighbors", "1"]) == 0
    assert "07.png" in capsys.readouterr().out.splitlines()[-1]


def test_new_weights_make_new_features(photos, tmp_path):
    """Weights are identified by the content of their file, not by its name."""
    import torch
    from safetensors.torch import save_file

    from sklinvariant.networks import SqueezeNet11Features

    weights, seen = tmp_path / "net.safetensors", []
    words = ["index", str(photos), "--output", str(tmp_path / "index"), "--weights", str(weights), *_QUICK]
    for seed in (0, 1, 1):
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            save_file(SqueezeNet11Features().state_dict(), weights)
        assert main(words) == 0
        seen.append((tmp_path / "index" / "features-000000.npz").stat().st_mtime_ns)
    assert seen[0] < seen[1] == seen[2]


def test_an_index_with_other_stages_is_refused(photos, tmp_path, monkeypatch):
    """Codes of one sequence of stages cannot be compared with those of another."""
    settings = {"n_bits": 16, "image_size": 48, "n_rotations": 2, "n_scales": 1, "show": False}
    with monkeypatch.context() as earlier:
        earlier.setitem(NestedInvariancePooler.__init__.__kwdefaults__, "stages", [("translation", 1)])
        _photo_index.make_index(photos, tmp_path / "index", **settings)
    with pytest.raises(ValueError, match="Create it again"):
        _photo_index.query_index(tmp_path / "index", [photos / "03.png"])
    _photo_index.make_index(photos, tmp_path / "index", **settings)
    (neighbors,) = _photo_index.query_index(tmp_path / "index", [photos / "03.png"], n_neighbors=1).found.values()
    assert neighbors[0][1].endswith(("03.png", "turned.jpg"))


def test_undecodable_names(tmp_path, capsys, monkeypatch):
    """A name that is not valid UTF-8 is printed with escapes and does not stop the command."""
    folder, page = tmp_path / "photos", tmp_path / "page.html"
    folder.mkdir()
    for i in range(3):
        cv2.imwrite(str(folder / f"{i}.png"), _image(i))
    try:
        (folder / "0.png").rename(os.fsdecode(os.fsencode(folder) + b"/caf\xe9.png"))
    except OSError:
        pytest.skip("this file system does not allow such names")
    assert main(["index", str(folder), "--output", str(tmp_path / "index"), *_QUICK]) == 0
    done = subprocess.run(
        [sys.executable, "-m", "sklinvariant", "query", tmp_path / "index", folder / "1.png", "--output", page],
        capture_output=True,
        env={**os.environ, "PYTHONIOENCODING": "ascii", "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.count(b".png") == 4
    assert page.read_text(encoding="utf-8").count("data:image/jpeg;base64,") == 4


def test_identical_photographs(tmp_path):
    """They cause no warning. A file with the suffix of an image that cannot be read is listed."""
    for i in range(3):
        cv2.imwrite(str(tmp_path / f"{i}.png"), _image(0))
    (tmp_path / "phone.heic").write_bytes(b"not for OpenCV")
    count, skipped = _photo_index.make_index(
        tmp_path, tmp_path / "index", n_bits=32, image_size=48, n_rotations=1, n_scales=1, show=False
    )
    assert (count, [name for name, _ in skipped]) == (3, ["phone.heic"])


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    """Seven photographs in a folder, and the words that index them."""
    data = pytest.importorskip("skimage.data", reason="scikit-image is not installed")
    folder = tmp_path_factory.mktemp("pictures")
    for name in ("astronaut", "chelsea", "coffee", "camera", "coins", "rocket", "text"):
        picture = getattr(data, name)()
        scale = 256 / max(picture.shape[:2])
        small = cv2.resize(picture, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
        cv2.imwrite(str(folder / f"{name}.png"), small[..., ::-1] if small.ndim == 3 else small)
    return folder


def _changed(image):
    """The image mirrored, rotated by 33° and without its margins."""
    h, w = image.shape[:2]
    turn = cv2.getRotationMatrix2D((w / 2, h / 2), 33, 1)
    return cv2.warpAffine(image[:, ::-1], turn, (w, h))[h // 6 : -h // 6, w // 6 : -w // 6]


def test_changed_photographs_are_found_by_their_key_points(pictures, tmp_path, capsys):
    out, page, query = tmp_path / "index", tmp_path / "page.html", tmp_path / "query.png"
    assert main(["index", str(pictures), "--out", str(out), *_QUICK]) == 0
    for name in ("astronaut", "chelsea", "coffee", "camera", "coins"):
        cv2.imwrite(str(query), _changed(cv2.imread(str(pictures / f"{name}.png"))))
        assert main(["query", str(out), str(query), "--neighbors", "2", "--html", str(page)]) == 0
        first, line, second = capsys.readouterr().out.splitlines()[-4:-1]
        assert line == "  not confirmed by key points, only similar:"
        assert re.search(rf"{name}\.png  \(\d+ key points match\)$", first)
        assert second.endswith(".png")
        assert page.read_text().count("key points match") == 1
        assert page.read_text().count("bits differ") == 1
    assert main(["query", str(out), str(query), "--fast"]) == 0
    assert re.search(r"coins\.png  \(\d+ key points match\)", capsys.readouterr().out)


def test_a_fast_index(pictures, tmp_path, capsys):
    """It has fewer views and key points, and finds changed photographs as well. Options can set the views."""
    out, query = tmp_path / "index", tmp_path / "query.png"
    words = ["index", str(pictures), "--out", str(out), "--image-size", "48", "--bits", "32", "--fast"]
    assert main(words) == 0
    settings = json.loads((out / "settings.json").read_text())
    assert (settings["n_rotations"], settings["n_scales"], settings["n_keypoints"]) == (4, 1, 150)
    assert max(json.loads((out / "names.json").read_text())["n_keypoints"]) == 150
    cv2.imwrite(str(query), _changed(cv2.imread(str(pictures / "chelsea.png"))))
    capsys.readouterr()
    assert main(["query", str(out), str(query)]) == 0
    assert re.search(r"chelsea\.png  \(\d+ key points match\)", capsys.readouterr().out.splitlines()[1])
    assert main([*words, "--rotations", "2", "--scales", "2"]) == 0
    settings = json.loads((out / "settings.json").read_text())
    assert (settings["n_rotations"], settings["n_scales"]) == (2, 2)


def test_without_key_points(pictures, tmp_path, capsys, monkeypatch):
    """An index of an earlier version may have none. It changes when it is created again."""
    monkeypatch.setattr(_photo_index, "N_FAST_KEYPOINTS", 0)
    out, words = tmp_path / "index", ["index", str(pictures), "--out", str(tmp_path / "index"), *_QUICK]
    assert main([*words, "--fast"]) == 0
    assert not (out / "places.npy").exists()
    assert main(["query", str(out), str(pictures / "coins.png")]) == 0
    printed = capsys.readouterr().out
    assert re.search(r" 0  .*coins\.png\n", printed)
    assert "match" not in printed
    assert main(words) == 0
    assert main(["query", str(out), str(pictures / "coins.png")]) == 0
    assert "key points match" in capsys.readouterr().out
    assert main([*words, "--fast"]) == 0
    assert not (out / "places.npy").exists()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["index", "nowhere", "--output", "o"], "there is no folder"),
        (["index", ".", "--output", "o", "--bits", "0"], "--bits must be at least 1"),
        (["index", ".", "--output", "o", "--image-size", "8"], "--image-size must be at least 16"),
        (["query", "nowhere", "a.png"], "no finished index"),
        (["query", "nowhere", "a.png", "--output", "no/such/a.html"], "there is no folder"),
        (["retrieve", "--max-images", "3"], "--max-images must be"),
        (["retrieve", "--output", "no/such/a.png"], "there is no folder"),
    ],
)
def test_bad_arguments(words, message, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(words) == 2
    assert message in capsys.readouterr().err


def test_unsuitable_folders(photos, tmp_path, capsys):
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "letter.txt").write_text("dear")
    assert main(["index", str(photos), "--output", str(tmp_path / "full")]) == 2
    assert "contains other files" in capsys.readouterr().err
    for out in (photos, tmp_path):  # neither the folder of photographs nor its parent
        assert main(["index", str(photos), "--output", str(out)]) == 2
        assert "contains other files" in capsys.readouterr().err
    (tmp_path / "bare").mkdir()
    assert main(["index", str(tmp_path / "bare"), "--output", str(tmp_path / "o")]) == 2
    assert "contains no images" in capsys.readouterr().err
    for i in range(3):
        (tmp_path / "bare" / f"{i}.png").write_bytes(b"bad")
    assert main(["index", str(tmp_path / "bare"), "--output", str(tmp_path / "o")]) == 2
    assert "none of 3 images can be read" in capsys.readouterr().err


@pytest.mark.parametrize("content", ["[1]", '{"editor.fontSize": 12}', "not json"])
@pytest.mark.parametrize("name", ["settings.json", "weights.safetensors"])
def test_files_of_other_programs_are_kept(photos, tmp_path, capsys, name, content):
    """A folder without an index is left unchanged, even if its files have the names of index files."""
    (tmp_path / "o").mkdir()
    (tmp_path / "o" / name).write_text(content)
    assert main(["index", str(photos), "--output", str(tmp_path / "o"), *_QUICK]) == 2
    assert "o contains other files" in capsys.readouterr().err
    assert [(file.name, file.read_text()) for file in (tmp_path / "o").iterdir()] == [(name, content)]
    assert main(["query", str(tmp_path / "o"), str(photos / "00.png")]) == 2
    assert "no finished index" in capsys.readouterr().err


@pytest.mark.parametrize("moment", ["_write_json", "_write_weights", "_make_hasher"])
def test_killed_at_any_moment(photos, tmp_path, monkeypatch, moment):
    """The next run resumes, and removes half-written files."""
    out, words = tmp_path / "o", ["index", str(photos), "--output", str(tmp_path / "o"), *_QUICK]

    def killed(*args, **kwargs):
        for name in ("settings", "weights", "features-000000"):
            (out / f"{name}.{'0' * 32}.tmp").write_text("half")
        raise KeyboardInterrupt

    monkeypatch.setattr(_photo_index, moment, killed)
    assert main(words) == 130
    monkeypatch.undo()
    assert main(words) == 0
    assert not list(out.glob("*.tmp*"))
    assert main(["query", str(out), str(photos / "00.png")]) == 0
