"""The style of the displays: it ends with its block, and a figure of the user keeps its own."""

import numpy as np
import pytest

from sklinvariant.inspection import BitActivationDisplay, CodebookDisplay, palette, style

matplotlib = pytest.importorskip("matplotlib", reason="matplotlib is not installed")


def test_the_style_ends_with_its_block(pyplot):
    before = dict(matplotlib.rcParams)
    with style():
        assert matplotlib.rcParams["legend.frameon"] is False
        colors = matplotlib.rcParams["axes.prop_cycle"].by_key()["color"]
        np.testing.assert_array_equal(colors, palette(7))
    assert dict(matplotlib.rcParams) == before
    with pytest.raises(KeyError), style():
        raise KeyError
    assert dict(matplotlib.rcParams) == before


def test_settings_of_the_user_stay_and_do_not_reach_the_display(pyplot):
    with matplotlib.rc_context({"font.size": 3, "axes.titlesize": 2, "axes.labelsize": 2, "ytick.labelsize": 2}):
        mine = dict(matplotlib.rcParams)
        display = BitActivationDisplay(np.full(4, 0.5)).plot()
        assert display.axes_[0].title.get_fontsize() == 11
        assert display.axes_[0].yaxis.label.get_fontsize() == 10
        assert dict(matplotlib.rcParams) == mine


def test_a_display_is_drawn_again_on_other_axes(pyplot):
    display = CodebookDisplay(np.eye(4), (2, 2)).plot()
    first, (_, axes) = display.ax_, pyplot.subplots()
    assert display.plot(axes).ax_ is axes
    np.testing.assert_array_equal(axes.images[0].get_array(), first.images[0].get_array())
