"""The printed versions."""

import sklinvariant


def test_show_versions(capsys):
    sklinvariant.show_versions()
    printed = capsys.readouterr().out
    for word in ("sklinvariant", "torch built for", "torch devices", "faiss-cpu (extra)", "scikit-learn", "(extra)"):
        assert word in printed
