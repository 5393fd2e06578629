"""The photographs of a folder: links."""

import warnings

import pytest
from photographs import write_images

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
