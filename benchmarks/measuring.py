"""What the benchmarks share: medians of alternating repetitions, and tables."""

import statistics
import time

import torch


def medians(repeats, **functions):
    """Median seconds of each function; they take turns, so that a slow spell of the machine hits all alike."""
    seconds = {name: [] for name in functions}
    for round in range(repeats + 1):
        for name, function in functions.items():
            started = time.perf_counter()
            function()
            if torch.cuda.is_available():
                torch.cuda.synchronize()
            if round:  # the first warms up
                seconds[name].append(time.perf_counter() - started)
    return {name: statistics.median(times) for name, times in seconds.items()}


def table(header, rows):
    """A Markdown table."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(str(cell) for cell in line) + " |" for line in lines)
