"""How series of a Prometheus server are told apart by version: by the pod that counts, or by a label of others'."""

import json
from collections.abc import Mapping, Sequence
from typing import Protocol

from upright.rollout.measuring import ArmName, Asked
from upright.sources.selectors import Selected
from upright.sources.series import Shown, shown
from upright.sources.server import Found
from upright.sources.tally import Tally


class Arms(Protocol):
    """An answer to that."""

    matcher: str
    """Of the series of both versions, as PromQL writes it."""

    def shown(
        self, selected: Selected, total: Sequence[Found], bad: Sequence[Found], *, knows_bad: bool
    ) -> Mapping[ArmName, Mapping[str, Shown]]:
        """By version and target, what is counted of a metric; see `upright.sources.series.shown`."""
        ...


def arms_of(asked: Asked) -> Arms | str:
    """How they are told apart for a Deployment, or why that cannot be."""
    assert asked.prometheus is not None
    label = asked.prometheus.version_label
    if label is None:
        return _ByPod(asked, asked.prometheus.pod_label)
    if len(set(asked.versions.values())) < len(asked.versions):
        return (
            f"Both versions are {asked.versions['canary']}, which label {label} cannot tell apart. Tell them apart by "
            "their pods: remove spec.monitoring.prometheus.versionLabel."
        )
    return _ByVersion(asked.versions, label)


class _ByPod:
    """The targets are the pods."""

    def __init__(self, asked: Asked, label: str) -> None:
        self._label = label
        self._pods = {arm: {pod.name: pod.ready for pod in pods} for arm, pods in asked.pods.items()}
        names = sorted(name for pods in self._pods.values() for name in pods)
        self.matcher = f"{label}=~{_any_of(names)}"

    def shown(
        self, selected: Selected, total: Sequence[Found], bad: Sequence[Found], *, knows_bad: bool
    ) -> Mapping[ArmName, Mapping[str, Shown]]:
        """By version and pod; of a pod that is ready and has no series, that it has none."""
        found = shown(selected, total, bad, lambda labels: labels.get(self._label), knows_bad=knows_bad)
        none = Shown(None, f"the server has no {selected.total.text} of it")
        return {
            arm: {name: found.get(name, none) for name, ready in pods.items() if ready or name in found}
            for arm, pods in self._pods.items()
        }


class _ByVersion:
    """The targets are whatever counts for both versions: what it has no series of has not happened yet."""

    def __init__(self, versions: Mapping[ArmName, str], label: str) -> None:
        self._versions = versions
        self._label = label
        self.matcher = f"{label}=~{_any_of(sorted(versions.values()))}"

    def shown(
        self, selected: Selected, total: Sequence[Found], bad: Sequence[Found], *, knows_bad: bool
    ) -> Mapping[ArmName, Mapping[str, Shown]]:
        """By version and target; where there is no target at all, by the version's label, that it has no series."""

        def target(labels: Mapping[str, str]) -> tuple[str, str] | None:
            version = labels.get(self._label, "")
            return (version, labels.get("instance", "")) if version in self._versions.values() else None

        found = shown(selected, total, bad, target, knows_bad=knows_bad)
        if not found:
            why = Shown(None, f"the server has no {selected.total.text} with it")
            return {arm: {f'label {self._label}="{version}"': why} for arm, version in self._versions.items()}
        newest = {instance: one.at for (_, instance), one in found.items()}
        nothing = Tally(0.0, upto=None if selected.bad else {}, knows_bad=knows_bad)
        return {
            arm: {f"{version} at {name}": found.get((version, name), Shown(at, nothing)) for name, at in newest.items()}
            for arm, version in self._versions.items()
        }


def _any_of(names: Sequence[str]) -> str:
    """A regular expression for names of objects, as PromQL writes it."""
    return json.dumps("|".join(name.replace(".", "[.]") for name in names))
