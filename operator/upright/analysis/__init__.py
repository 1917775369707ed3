"""Deciding about a canary: rollbacks with a promised error rate.

`begin(policy)`, then `update(policy, state, look)` with every look, and `verdict(policy, state)` whenever asked. All
three are pure. The probability that a healthy canary is ever rolled back is at most the policy's
`falseRollbackProbability`, however often one looks.
"""

from upright.analysis.dispersion import estimate_dispersion
from upright.analysis.engine import begin, update
from upright.analysis.looks import Counts, Histogram, Look, Moments
from upright.analysis.state import State, StateError
from upright.analysis.verdict import Decision, MetricVerdict, Verdict, verdict
from upright.api.monitoring import Metric, MetricType
from upright.api.policy import Policy
from upright.api.tolerance import Tolerance

__all__ = [
    "Counts",
    "Decision",
    "Histogram",
    "Look",
    "Metric",
    "MetricType",
    "MetricVerdict",
    "Moments",
    "Policy",
    "State",
    "StateError",
    "Tolerance",
    "Verdict",
    "begin",
    "estimate_dispersion",
    "update",
    "verdict",
]
