"""Evidence over time as a picture: one line for each metric, the boundary, and where the rollout was decided."""

import math
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from upright.api.common import format_duration
from upright.cli.replay import TOGETHER, Replay

if TYPE_CHECKING:
    from matplotlib.axes import Axes

FORMATS = (".svg", ".png")
COLOURS = ("#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#d55e00")  # told apart without seeing colours
DASHES = ("-", (0, (5, 1.5)), (0, (1, 1)))  # told apart where there are more metrics than colours
BARS = "▁▂▃▄▅▆▇█"
LEAST = 1e-3  # the least evidence that is shown
BEYOND = 3  # evidence is shown up to this power of the threshold
_SUPERSCRIPTS = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")
_UNITS = {"d": 86400, "h": 3600, "min": 60, "s": 1}
_STYLE = {
    "axes.axisbelow": True,
    "axes.grid": True,
    "axes.grid.axis": "y",
    "axes.spines.right": False,
    "axes.spines.top": False,
    "grid.color": "#dddddd",
    "svg.fonttype": "none",  # text stays text
    "svg.hashsalt": "upright",  # the same ids in every run
}


def draw(replayed: Replay, path: Path) -> None:
    """Write the picture, in the format that the name's ending says. The same evidence gives the same bytes.

    Raises:
        OSError: the file cannot be written.
    """
    from matplotlib.figure import Figure  # here, because it takes a second to import
    from matplotlib.style import context

    described = {"Title": replayed.last.message} | ({"Date": None} if path.suffix == ".svg" else {})
    with context(_STYLE, after_reset=True):  # whatever a matplotlibrc says
        figure = Figure(figsize=(8, 4.5))
        axes = figure.add_subplot(yscale="log")
        axes.set_title("evidence that the canary is worse than the tolerance allows", pad=22)
        _draw_evidence(axes, replayed)
        axes.legend(loc="upper left", bbox_to_anchor=(1.02, 1), borderaxespad=0, frameon=False)
        figure.savefig(path, dpi=150, bbox_inches="tight", metadata=described)


def sketch(values: Sequence[float], threshold: float, width: int = 40) -> str:
    """Evidence over time in one line of text; the highest bar is at the threshold or above it."""
    if not values:
        return ""
    size = max(1, math.ceil(len(values) / width))
    peaks = [max(values[start : start + size]) for start in range(0, len(values), size)]
    top = math.log(threshold)
    heights = [min(max(math.log(max(peak, 1e-3)), 0.0) / top, 1.0) for peak in peaks]
    return "".join(BARS[int(height * (len(BARS) - 1))] for height in heights)


def _draw_evidence(axes: "Axes", replayed: Replay) -> None:
    from cycler import cycler
    from matplotlib.ticker import MaxNLocator, NullFormatter

    threshold = replayed.last.threshold
    most = min(threshold, 1e60) ** BEYOND
    seconds = [0.0, *(replayed.after(time).total_seconds() for time in replayed.times)]
    unit = next((unit for unit, size in _UNITS.items() if seconds[-1] >= 3 * size), "s")
    elapsed = np.array(seconds) / _UNITS[unit]
    axes.set(xlim=(0, elapsed[-1]), xlabel=f"time since the canary's first traffic, in {unit}")
    axes.xaxis.set_major_locator(MaxNLocator(8, steps=[1, 2, 3, 5, 6, 10]))
    axes.yaxis.set_major_formatter(lambda value, _: _named(value))
    axes.yaxis.set_minor_formatter(NullFormatter())
    axes.set_prop_cycle(cycler(linestyle=DASHES) * cycler(color=COLOURS))
    for name, values in replayed.evidence.items():
        highest = max(values)
        label = name if highest <= most else f"{name}, up to {_named(highest)}"
        (line,) = axes.plot(elapsed, np.clip([1.0, *values], LEAST, most), label=label)
        if name == TOGETHER:
            line.set(color="black", linestyle="-", linewidth=2.5)
    axes.axhline(min(threshold, most), color="#b00020", linestyle="--", label=f"roll back at {threshold:g}")
    if replayed.decided is not None:
        after = elapsed[replayed.decided + 1]
        said = f"{replayed.last.decision} after {format_duration(timedelta(seconds=seconds[replayed.decided + 1]))}"
        axes.axvline(after, color="#444444", linestyle=":", clip_on=False)
        side = "left" if 2 * after < elapsed[-1] else "right"
        axes.text(after, 1.02, said, transform=axes.get_xaxis_transform(), horizontalalignment=side)


def _named(value: float) -> str:
    """A power of ten as plain text, which a reader of SVG shows in any font."""
    return f"{value:g}" if 1e-4 < value < 1e4 else f"10{f'{math.log10(value):.0f}'.translate(_SUPERSCRIPTS)}"
