"""Evidence over time as an SVG: one line for each metric, the boundary, and where the rollout was decided.

Written by hand because it is a page long: a plotting library would be the largest dependency of the whole project.
"""

import math
from collections.abc import Callable, Sequence
from datetime import timedelta
from xml.sax.saxutils import escape

from upright.api.common import format_duration
from upright.cli.replay import TOGETHER, Replay

LEFT, TOP, PLOT, HIGH, BOTTOM = 70, 52, 580, 280, 46  # the area of the lines is PLOT wide and HIGH high
LABEL = 16  # height of a label
COLOURS = ("#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#d55e00")  # told apart without seeing colours
DASHES = ("none", "7 3", "2 3")  # told apart where there are more metrics than colours
BARS = "▁▂▃▄▅▆▇█"
LEAST = -3.0  # log10 of the least evidence that is shown
BEYOND = 3.0  # evidence is shown up to this power of the threshold
_SUPERSCRIPTS = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")
_STEPS = [timedelta(seconds=step) for step in (1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800)]
_STEPS += [timedelta(hours=step) for step in (1, 2, 3, 6, 12, 24, 48, 96, 168, 336, 672, 1344, 2688, 5376, 10752)]


def svg(replayed: Replay) -> str:
    """The picture."""
    boundary = math.log10(1 / replayed.policy.false_rollback_probability)
    lines = {
        name: [0.0, *(max(math.log10(max(value, 1e-300)), LEAST) for value in values)]
        for name, values in replayed.evidence.items()
    }
    values = [value for line in lines.values() for value in line]
    low, high = math.floor(min(values)), math.ceil(min(max(boundary * 1.3, *values), max(boundary * BEYOND, 2.0)))
    elapsed = [0.0, *(replayed.after(time).total_seconds() for time in replayed.times)]
    labels = {name: name if max(line) <= high else f"{name}, up to {_power(max(line))}" for name, line in lines.items()}
    at_boundary = f"roll back at {1 / replayed.policy.false_rollback_probability:g}"
    right = 34 + 7 * max(len(label) for label in (*labels.values(), at_boundary))
    width, height = LEFT + PLOT + right, TOP + HIGH + BOTTOM

    def x(time: float) -> float:
        return LEFT + PLOT * time / elapsed[-1]

    def y(value: float) -> float:
        return TOP + HIGH * (high - min(value, high)) / (high - low)

    ends = {name: y(line[-1]) for name, line in lines.items()} | {at_boundary: y(boundary)}
    places = _apart(ends)
    size = f'width="{width}" height="{height}"'
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" {size} font-family="sans-serif">',
        f"<title>{escape(replayed.last.message)}</title>",
        f'<rect {size} fill="white"/>',
        *_grid(low, high, y, cut=max(values) > high),
        *_clock(elapsed[-1], x),
        _text(LEFT, 18, "evidence that the canary is worse than the tolerance allows"),
        _text(LEFT + PLOT / 2, height - 8, "time since the canary's first traffic", anchor="middle"),
        _line(LEFT, y(boundary), LEFT + PLOT, y(boundary), "#b00020", "6 3"),
        *_label(at_boundary, y(boundary), places[at_boundary], "#b00020"),
    ]
    for place, (name, line) in enumerate(lines.items()):
        colour, dashes = COLOURS[place % len(COLOURS)], DASHES[place // len(COLOURS) % len(DASHES)]
        thickness = 2.0
        if name == TOGETHER:
            colour, dashes, thickness = "#000000", "none", 3.0
        points = " ".join(f"{x(time):.1f},{y(value):.1f}" for time, value in zip(elapsed, line, strict=True))
        parts.append(
            f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="{thickness:g}" '
            f'stroke-dasharray="{dashes}" stroke-linejoin="round"/>'
        )
        parts += _label(labels[name], ends[name], places[name], colour)
    if replayed.decided is not None:
        after = elapsed[replayed.decided + 1]
        parts.append(_line(x(after), TOP - 8, x(after), TOP + HIGH, "#444444", "2 3"))
        said = f"{replayed.last.decision} after {format_duration(timedelta(seconds=after))}"
        parts.append(_text(x(after), TOP - 12, said, anchor="start" if 2 * after < elapsed[-1] else "end"))
    return "\n".join([*parts, "</svg>\n"])


def sketch(values: Sequence[float], threshold: float, width: int = 40) -> str:
    """Evidence over time in one line of text; the highest bar is at the threshold or above it."""
    if not values:
        return ""
    size = max(1, math.ceil(len(values) / width))
    peaks = [max(values[start : start + size]) for start in range(0, len(values), size)]
    top = math.log(threshold)
    heights = [min(max(math.log(max(peak, 1e-3)), 0.0) / top, 1.0) for peak in peaks]
    return "".join(BARS[int(height * (len(BARS) - 1))] for height in heights)


def _apart(wanted: dict[str, float]) -> dict[str, float]:
    """Where each label stands: near its line's end, but not upon another and not below the plot."""
    places: dict[str, float] = {}
    lowest = -math.inf
    for name in sorted(wanted, key=lambda name: wanted[name]):
        lowest = places[name] = max(wanted[name], lowest + LABEL)
    highest = TOP + HIGH + LABEL / 2
    for name in reversed(places):
        highest = places[name] = min(places[name], highest)
        highest -= LABEL
    return places


def _label(text: str, end: float, place: float, colour: str) -> list[str]:
    """A label on the right, with a line to what it names."""
    start = LEFT + PLOT
    return [_line(start, end, start + 20, place, colour), _text(start + 24, place + 4, text)]


def _grid(low: int, high: int, y: Callable[[float], float], *, cut: bool) -> list[str]:
    """Lines at powers of ten, down from the highest; `cut` says that there would be more above."""
    parts = []
    for power in range(high, low - 1, -math.ceil((high - low) / 8)):
        named = f"{10.0**power:g}" if abs(power) < 4 else _power(power)
        parts.append(_line(LEFT, y(power), LEFT + PLOT, y(power), "#dddddd"))
        parts.append(_text(LEFT - 6, y(power) + 4, f"≥ {named}" if cut and power == high else named, anchor="end"))
    return parts


def _clock(length: float, x: Callable[[float], float]) -> list[str]:
    step = next(step for step in _STEPS if 8 * step.total_seconds() >= length or step == _STEPS[-1])
    parts = []
    for tick in range(int(length / step.total_seconds()) + 1):
        at = x(tick * step.total_seconds())
        parts.append(_line(at, TOP + HIGH, at, TOP + HIGH + 5, "#888888"))
        parts.append(_text(at, TOP + HIGH + 18, format_duration(tick * step), anchor="middle"))
    return parts


def _power(log: float) -> str:
    return f"10{str(round(log)).translate(_SUPERSCRIPTS)}"


def _line(x1: float, y1: float, x2: float, y2: float, colour: str, dashes: str = "none") -> str:
    return (
        f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" stroke="{colour}" stroke-dasharray="{dashes}"/>'
    )


def _text(x: float, y: float, text: str, anchor: str = "start") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" fill="#222222" font-size="12" text-anchor="{anchor}">{escape(text)}</text>'
