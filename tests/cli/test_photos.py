"""The photographs of a folder: links. The file of weights."""

import warnings

import numpy as np
import pytest
from photographs import write_images

from sklinvariant.cli._command_line import main
from sklinvariant.cli._photos import list_images


def test_links_out_of_the_folder_are_followed_on_request_alone(tmp_path):
    photos, outside = tmp_path / "photos", tmp_path / "outside"
    write_images(photos / "deeper", 1)
    write_images(outside, 2)
    (photos / "inside.png").symlink_to(photos / "deeper" / "0.png")
    (photos / "out.png").symlink_to(outside / "0.png")
    (photos / "folder").symlink_to(outside)
    (photos / "loop").symlink_to(photos)
    (photos / "nowhere.png").symlink_to(tmp_path / "nowhere")
    (photos / "itself.png").symlink_to(photos / "itself.png")
    with pytest.warns(UserWarning, match="2 links lead out of .* --follow-links"):
        found = list_images(photos)
    inside = ["deeper/0.png", "inside.png", "itself.png"]
    assert [name for name, _ in found] == inside
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = list_images(photos, follow_links=True)
    assert sorted(name for name, _ in found) == sorted([*inside, "folder/0.png", "folder/1.png", "out.png"])


@pytest.mark.parametrize("command", ["index", "cluster"])
def test_weights_of_other_networks_are_refused_in_one_sentence(command, tmp_path, capsys):
    write_images(tmp_path / "photos", 3)
    np.save(tmp_path / "mine.npy", np.zeros(3))
    (tmp_path / "mine.onnx").write_bytes(b"an onnx file")
    np.savez(tmp_path / "mine.npz", weight=np.zeros(3))
    words = [command, str(tmp_path / "photos"), "--output", str(tmp_path / "out.html"), "--weights"]
    for given, reason in (
        ("timm:resnet18", "does not exist"),
        *((f"mine.{end}", "is no file of weights") for end in ("npy", "onnx", "npz")),
    ):
        name = given if ":" in given else str(tmp_path / given)
        assert main([*words, name]) == 2
        message = capsys.readouterr().err
        assert f"--weights {name} {reason}" in message
        assert "Pass such a file (.npz, .safetensors or state dict)" in message
        assert len(message.splitlines()) == 1
    assert not (tmp_path / "out.html").exists()
