"""One colour per prompt: in the overlay and wherever else its objects are shown."""

from __future__ import annotations

# The 16 most distinct of Sasha Trubetskoy's list, without greys, black and white:
# https://sashamaps.net/docs/resources/20-colors/
PALETTE = (
    (230, 25, 75),  # red
    (66, 212, 244),  # cyan
    (255, 225, 25),  # yellow
    (145, 30, 180),  # purple
    (60, 180, 75),  # green
    (245, 130, 49),  # orange
    (67, 99, 216),  # blue
    (240, 50, 230),  # magenta
    (191, 239, 69),  # lime
    (250, 190, 212),  # pink
    (70, 153, 144),  # teal
    (220, 190, 255),  # lavender
    (154, 99, 36),  # brown
    (255, 250, 200),  # beige
    (128, 0, 0),  # maroon
    (170, 255, 195),  # mint
)


def colour_of(position: int) -> tuple[int, int, int]:
    """Red, green, blue (0 to 255) of the prompt at ``position`` in the job's list, from 0.

    It depends on nothing else: the same job always looks the same.
    """
    return PALETTE[position % len(PALETTE)]
