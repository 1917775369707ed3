"""Which of many hypotheses are discoveries? e-BH, and p-values turned into e-values.

What it tests: many null hypotheses at once (segments, features), each with an e-value.
Guarantee: the expected share of false ones among those reported is at most alpha, under any dependence.
Source: Wang & Ramdas, "False discovery rate control with e-values" (arXiv 2009.02824). The calibrator
e = p^(-1/2) / 2 integrates to 1 over (0, 1), so it is an e-value whenever p is a p-value (Vovk & Wang 2021).
"""

import numpy as np
from numpy.typing import ArrayLike

from upright.analysis.looks import Bools, Floats


def discoveries(log_e_values: ArrayLike, alpha: float) -> Bools:
    """Which hypotheses to report, from the ln of their e-values, shape (hypotheses,).

    With the e-values in falling order, the first k are reported, k being the largest with e_k >= hypotheses/(k alpha).
    """
    logs = np.asarray(log_e_values, dtype=np.float64)
    order = np.argsort(-logs, kind="stable")
    rank = np.arange(1, len(logs) + 1)
    passes = logs[order] >= np.log(len(logs) / (rank * alpha)) if len(logs) else np.zeros(0, dtype=np.bool_)
    reported = np.zeros(len(logs), dtype=np.bool_)
    if passes.any():
        reported[order[: int(np.flatnonzero(passes)[-1]) + 1]] = True
    return reported


def log_e_value(p: ArrayLike) -> Floats:
    """The ln of the e-value of a p-value."""
    return np.asarray(-0.5 * np.log(np.maximum(np.asarray(p, dtype=np.float64), 1e-300)) - np.log(2.0))
