"""Pictures: colours, and a layout for every shape of frame."""

from __future__ import annotations

import numpy as np
import pytest

from daemon.panels import Panel, choose_layout, colour_limits, coloured, draw_panels


def test_limits_cut_single_bad_pixels() -> None:
    image = np.linspace(0, 1, 10_000).reshape(100, 100)
    image[0, 0], image[0, 1] = 1e9, np.nan
    low, high = colour_limits(image, "sequential")
    assert (low, high) == pytest.approx((0.005, 0.995), abs=0.001)
    low, high = colour_limits(image - 0.2, "diverging")
    assert low == -high
    assert high == pytest.approx(0.795, abs=0.001)


@pytest.mark.parametrize("value", [np.nan, 3.0])
def test_limits_of_nothing_to_see(value: float) -> None:
    low, high = colour_limits(np.full((4, 4), value), "sequential")
    assert high > low


def test_colours() -> None:
    image = np.array([[0.0, 0.5, 1.0, np.nan, np.inf, -5.0, 9.0]])
    rgb = coloured(image, "grey", (0.0, 1.0))[0]
    assert rgb.dtype == np.uint8
    assert rgb.tolist() == [
        [0, 0, 0], [127, 127, 127], [255, 255, 255], [120] * 3, [120] * 3, [0, 0, 0], [255] * 3
    ]  # fmt: skip
    middle = coloured(np.array([[0.0]]), "diverging", (-1.0, 1.0))[0, 0]
    assert (middle == 247).all()


@pytest.mark.parametrize(
    ("shape", "columns"),
    [
        ((512, 512), 4),
        ((2048, 2048), 4),
        ((430, 2220), 2),
        ((64, 4000), 1),
        ((2000, 100), 8),
        ((96, 128), 3),
    ],
)
def test_layout_follows_the_shape_of_the_frame(shape: tuple[int, int], columns: int) -> None:
    layout = choose_layout(shape, 8)
    assert layout.columns == columns
    width, height = layout.size
    assert width / height == pytest.approx(shape[1] / shape[0], rel=0.03)
    assert max(width, height) >= 450, "large enough to see something"
    rows = -(-8 // columns)
    assert columns * layout.cell[0] <= 2000
    assert rows * layout.cell[1] <= 1400


def test_one_panel_and_a_tiny_frame() -> None:
    assert choose_layout((4, 4), 1).size == (640, 640)
    assert choose_layout((1, 3000), 1).size[1] == 1


@pytest.mark.parametrize("shape", [(430, 2220), (40, 30), (300, 8)])
def test_picture(shape: tuple[int, int]) -> None:
    y, x = np.mgrid[: shape[0], : shape[1]]
    image = (x / shape[1] + y).astype(float)
    panels = [Panel(f"field {n}", image, "px", "diverging") for n in range(7)]
    layout = choose_layout(shape, 7)
    picture = draw_panels(panels)
    rows = -(-7 // layout.columns)
    assert picture.size == (layout.columns * layout.cell[0] + 12, rows * layout.cell[1] + 12)
    pixels = np.asarray(picture)
    assert (pixels[:, -5:] == 255).all(), "nothing hangs over the border"
    assert (pixels[-5:] == 255).all()
    first = pixels[12 + 24 : 12 + 24 + layout.size[1], 12 : 12 + layout.size[0]]
    assert not (first == 255).all(axis=-1).any(), "the field fills its place"
