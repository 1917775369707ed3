"""Whether what tells groups of users apart does so: a misspelt label leaves all of them without users, and no error."""

from collections import defaultdict
from collections.abc import Iterable, Mapping

from upright.api.by_segment import GroupMetric
from upright.rollout.measuring import ArmName
from upright.sources.selectors import Selected
from upright.sources.tally import Tally


class Groups:
    """Fed with what pods show of each group in one look."""

    def __init__(self) -> None:
        self._found: dict[tuple[str, str], bool] = defaultdict(bool)
        self._selects: dict[tuple[str, str], list[str]] = defaultdict(list)

    def see(self, metric: GroupMetric, selects: Selected, tallies: Mapping[ArmName, Mapping[str, Tally]]) -> None:
        """One group. Those that pods count by themselves are there, or not yet."""
        if metric.counted_by_pods:
            return
        of = metric.whole, metric.segment
        shown = [tally.matches for found in tallies.values() for tally in found.values()]
        self._found[of] |= any(shown) or not shown
        self._selects[of].append(selects.total.text)

    def unmeasured(self) -> Iterable[tuple[str, str]]:
        """By metric and segment, that no series is of any of its groups, and what to do."""
        for (whole, segment), found in self._found.items():
            if not found:
                why = (
                    f"Metric {whole} cannot be measured by segment {segment}: of its series none is "
                    f"{' or '.join(self._selects[whole, segment])}. Correct label or values in "
                    "spec.monitoring.segments, if they are misspelt."
                )
                yield f"{whole} of {segment}", why
