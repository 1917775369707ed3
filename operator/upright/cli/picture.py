"""Evidence over time as an SVG: one line for each metric, the boundary, and where the rollout was decided.

Written by hand because it is sixty lines: a plotting library would be the largest dependency of the whole project.
"""

import math
from collections.abc import Callable, Sequence
from xml.sax.saxutils import escape

from upright.cli.replay import Replay

WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 800, 360, 70, 150, 30, 45
COLOURS = ("#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#d55e00")  # told apart without seeing colours
BARS = "▁▂▃▄▅▆▇█"


def svg(replayed: Replay) -> str:
    """The picture."""
    threshold = 1 / replayed.policy.false_rollback_probability
    lines = {
        metric.name: [math.log10(max(said.metrics[place].evidence, 1e-3)) for said in replayed.verdicts]
        for place, metric in enumerate(replayed.policy.metrics)
    }
    values = [value for line in lines.values() for value in line]
    low, high = min([0.0, *values]), min(max([math.log10(threshold) * 1.3, *values]), 12.0)
    start = replayed.times[0]
    length = max(replayed.times[-1] - start, 1e-9)

    def x(time: float) -> float:
        return LEFT + (WIDTH - LEFT - RIGHT) * (time - start) / length

    def y(value: float) -> float:
        return TOP + (HEIGHT - TOP - BOTTOM) * (high - min(value, high)) / (high - low)

    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" font-family="sans-serif">',
        f"<title>{escape(replayed.last.message)}</title>",
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="white"/>',
        *_grid(low, high, y),
        _line(LEFT, y(math.log10(threshold)), WIDTH - RIGHT, y(math.log10(threshold)), "#b00020", "6 3"),
        _text(WIDTH - RIGHT + 6, y(math.log10(threshold)) + 4, f"roll back at {threshold:g}", "#b00020"),
        _text(LEFT, HEIGHT - 25, "0 s"),
        _text(WIDTH - RIGHT, HEIGHT - 25, f"{length:.0f} s", anchor="end"),
        _text((LEFT + WIDTH - RIGHT) / 2, HEIGHT - 8, "time since the canary's first traffic", anchor="middle"),
        _text(LEFT, TOP - 12, "evidence that the canary is worse than the tolerance allows"),
    ]
    for place, (name, line) in enumerate(lines.items()):
        colour = COLOURS[place % len(COLOURS)]
        points = " ".join(f"{x(time):.1f},{y(value):.1f}" for time, value in zip(replayed.times, line, strict=True))
        parts.append(f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="2"/>')
        parts.append(_text(WIDTH - RIGHT + 6, HEIGHT - BOTTOM - 16 * (len(lines) - 1 - place), name, colour))
    if replayed.decided is not None:
        at = x(replayed.times[replayed.decided])
        parts.append(_line(at, TOP, at, HEIGHT - BOTTOM, "#444444", "2 3"))
        parts.append(_text(at + 4, TOP + 10, replayed.last.decision))
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


def _grid(low: float, high: float, y: Callable[[float], float]) -> list[str]:
    step = max(1, math.ceil((high - low) / 8))
    parts = []
    for power in range(math.ceil(low), math.floor(high) + 1, step):
        parts.append(_line(LEFT, y(power), WIDTH - RIGHT, y(power), "#dddddd"))
        parts.append(_text(LEFT - 6, y(power) + 4, f"{10.0**power:g}", anchor="end"))
    return parts


def _line(x1: float, y1: float, x2: float, y2: float, colour: str, dashes: str = "none") -> str:
    return (
        f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" stroke="{colour}" stroke-dasharray="{dashes}"/>'
    )


def _text(x: float, y: float, text: str, colour: str = "#222222", anchor: str = "start") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" fill="{colour}" font-size="12" text-anchor="{anchor}">{escape(text)}</text>'
