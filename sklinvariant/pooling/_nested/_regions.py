"""The regions of R-MAC: squares of several sizes that cover a feature map (Tolias et al. 2016, section 3.2)."""


def region_grid(h: int, w: int, levels: int) -> list[tuple[int, int, int, int]]:
    """The regions of a map of h × w cells: first and last row, first and last column (half open).

    At level l = 1, 2, … squares have sides of 2 min(h, w) / (l + 1) cells. The number of squares along the longer side
    is chosen so that they overlap by about 40 % at level 1, and increases by one with each level.
    """
    short, long = min(h, w), max(h, w)
    extra = 0  # additional squares along the longer side, chosen so that the overlap is closest to 40 %
    if long > short:
        overlaps = [abs(1 - (long - short) / (steps * short) - 0.4) for steps in range(1, 7)]
        extra = 1 + min(range(6), key=overlaps.__getitem__)
    boxes = []
    for level in range(1, levels + 1):
        side = max(2 * short // (level + 1), 1)
        rows = _starts(h, side, level + (extra if h > w else 0))
        columns = _starts(w, side, level + (extra if w > h else 0))
        boxes += [(row, row + side, column, column + side) for row in rows for column in columns]
    return boxes


def _starts(length, side, count):
    if count == 1:
        return [(length - side) // 2]
    return [int(i * (length - side) / (count - 1)) for i in range(count)]
