"""The ratio of two rates with an interval that may be read at any time.

What it shows: the common ratio p_c / p_s over all looks. It explains a verdict; it never decides one.
Estimate: Mantel-Haenszel, each look its own stratum, so that a change of the traffic split cannot feign a difference:
ratio = sum e_c n_s / N over sum e_s n_c / N, with N = n_c + n_s.
Guarantee: asymptotic only. The interval is a normal-mixture confidence sequence on the log ratio: it holds at all
looks at once with probability about 1 - alpha once some tens of events were seen. The evidence holds exactly.
Source: Greenland & Robins 1985 for the variance; Robbins' normal mixture (Howard & Ramdas, arXiv 1810.08240) for the
sequence; Haldane's half event where a version has had no bad event.

Where next to nothing was seen, the radius is beyond the range of floats: an end is then 0, very large or NaN.
"""

import numpy as np

from upright.analysis.looks import Floats, Table

BEST_AT = 25.0  # the information at which the interval is narrowest: a standard error of 0.2 of the log ratio


def stratum(table: Table) -> Floats:
    """One look's terms of the estimate and its variance, shape (runs, channels, 3)."""
    total, bad = table.counts[..., ::2], table.counts[..., 1::2]
    whole = total[..., :1] + total[..., 1:]
    share = total / np.maximum(whole, 1e-300)  # 0 where there was no traffic
    terms = np.empty((*whole.shape[:-1], 3))
    ratio = np.multiply(bad, share[..., ::-1], out=terms[..., :2])
    spread = ratio * share
    terms[..., 2] = spread[..., 0] + spread[..., 1]
    return terms


def ratio_interval(strata: Floats, events: Floats, alpha: float, dispersion: Floats) -> tuple[Floats, Floats, Floats]:
    """(ratio, low, high), each of shape (runs, channels), from sums of strata and of events (n_c, n_s); NaN where
    nothing was seen.
    """
    canary, stable, spread = np.moveaxis(strata, -1, 0)
    with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
        mean_share = events[..., 0] / (events[..., 0] + events[..., 1])
        half = np.where((canary == 0) | (stable == 0), 0.5, 0.0)
        canary = canary + half * (1 - mean_share)
        stable = stable + half * mean_share
        variance = dispersion * (spread + 2 * half * mean_share * (1 - mean_share)) / (canary * stable)
        log_ratio = np.log(canary / stable)
        radius = _radius(1 / variance, alpha)
        high = np.exp(np.minimum(log_ratio + radius, 690.0))
        return np.exp(log_ratio), np.exp(log_ratio - radius), high


def rate_interval(
    total: Floats, bad: Floats, maximum: float, alpha: float, dispersion: Floats
) -> tuple[Floats, Floats, Floats]:
    """(ratio of the rate to the maximum, low, high), each of shape (runs, channels); NaN where nothing was seen."""
    with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
        events = np.maximum(bad, 0.5)
        ratio = np.where(total > 0, events / (total * maximum), np.nan)
        radius = _radius(events / dispersion, alpha)
        return ratio, ratio * np.exp(-radius), ratio * np.exp(np.minimum(radius, 600.0))


def _radius(information: Floats, alpha: float) -> Floats:
    width = 2 * np.log(1 / alpha)
    rho = BEST_AT / (width + np.log1p(width))
    summed = information + rho
    return np.asarray(np.sqrt(summed * np.log(summed / (rho * alpha * alpha))) / information)
