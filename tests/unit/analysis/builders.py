"""Policies and looks for the tests of the analysis; each builder takes only what a test is about."""

import json
from typing import Any

import numpy as np
from numpy.random import Generator

from upright.analysis import Counts, Histogram, Look, Moments, Policy
from upright.analysis.state import State
from upright.kube.objects import plain

EDGES = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0)
EXACT: dict[str, Any] = {"boundary": "Exact", "dispersion": 1, "tolerance": {"relative": 0.25}}


def a_metric(type: str = "ErrorRate", name: str = "errors", **fields: Any) -> dict[str, Any]:
    required = {"maximum": 0.02} if type == "Limit" else {}
    return {"name": name, "type": type, **required, **fields}


def every_metric() -> list[dict[str, Any]]:
    """One of every kind, named m."""
    kinds = ("ErrorRate", "RefusalRate", "Latency", "Quality", "Ratio", "Limit", "Mean")
    return [*(a_metric(kind, "m") for kind in kinds), a_metric(name="m", **EXACT)]


def title(metric: dict[str, Any]) -> str:
    return " ".join(metric[field] for field in ("type", "boundary") if field in metric)


def a_policy(*metrics: dict[str, Any], **fields: Any) -> Policy:
    return Policy.model_validate({"metrics": list(metrics) or [a_metric()], **fields})


def stored(state: State) -> State:
    """The state as the status of an object gives it back."""
    return dict(json.loads(json.dumps(plain(state), allow_nan=False)))


def errors(time: float, canary: tuple[Any, Any], stable: tuple[Any, Any], name: str = "errors") -> Look:
    return Look(time, {name: Counts(canary=canary, stable=stable)})


def counted(rng: Generator, rate: float, requests: float, runs: int | None = None) -> tuple[Any, Any]:
    total = rng.poisson(requests, runs)
    return total, rng.binomial(total, rate)


def measured(type: str, rng: Generator, worse: float = 1.0) -> Counts | Histogram | Moments:
    """A look's measurement for a metric of any type; `worse` multiplies the canary's badness."""
    if type == "Latency":
        bounds = [-np.inf, *EDGES, np.inf]
        canary, stable = (
            np.histogram(rng.lognormal(np.log(0.08 * scale), 0.6, size), bounds)[0]
            for scale, size in ((worse, 150), (1.0, 1350))
        )
        return Histogram(canary.tolist(), stable.tolist(), EDGES)
    if type == "Mean":
        canary, stable = rng.normal(10 + (worse - 1), 2.0, 150), rng.normal(10, 2.0, 1350)
        return Moments(*((len(arm), arm.sum(), (arm**2).sum()) for arm in (canary, stable)))
    return Counts(counted(rng, 0.01 * worse, 150), counted(rng, 0.01, 1350))
