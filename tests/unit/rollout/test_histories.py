"""Whatever happens to a Deployment: what must never be decided, and where it must come to in the end."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from random import Random

import pytest

from tests.unit.rollout.cluster import STEP, Fares, SimulatedPod
from tests.unit.rollout.simulation import Simulation, Turn
from tests.unit.rollout.world import condition
from upright.api.deployment_status import DeploymentStatus

MINUTE = 60
QUIET = 60 * MINUTE
"""For so long nothing happens in the end."""
STEPS = ([25, 50], [50], [25, 75], [90])
DEADLINES = {"startupDeadline": "4m", "noDataDeadline": "4m"}
STEP_LASTS = 2 * MINUTE
HELD_AFTER = 3 * (4 + 4) * MINUTE + 3 * 2 * STEP_LASTS
"""Three times all deadlines and steps together."""
SEEN = 2
"""So many looks at both versions tell that four requests in ten fail."""
GOOD = (Fares.WELL, Fares.SLOWLY)
SPARE = "churn-6"
"""Is good, and nobody names it before the end."""

Event = tuple[int, str, int]
"""When something happens, in seconds, what, and a number that says more."""


@dataclass
class Story:
    """What happens, by seed."""

    seed: int
    events: Sequence[Event]
    replicas: int
    room: int
    weights: Sequence[int]
    fares: dict[str, Fares]
    ending: str
    """Which version is wanted then: that which was (kept), the same or a good one (good), or the stable one (back)."""


def story(seed: int) -> Story:
    random = Random(seed)
    replicas = random.choice([1, 2, 3, 3, 5, 10])
    others = ["lack", "room", "scale", "zero", "up", "drain", "gone", "back", "gap", "restart", "lost", "deleted"]
    weights = {one: random.choice([0, 0, 1, 2]) for one in (*others, "blink", "break", "mend")} | {"name": 6}
    if troubled := random.random() < 0.5:
        weights |= {"break": 4, "blink": 3, "mend": 1}
    events: list[Event] = []
    second, end = 2 * MINUTE, random.choice([20, 40, 60]) * MINUTE
    while second < end:
        [what] = random.choices(list(weights), list(weights.values()))
        events.append((second, what, random.randrange(60)))
        second += STEP * random.choice([1, 4, 10, 15, 30, 60, 120])
    bad = [Fares.FAILING, Fares.FAILING, Fares.CRASHING, Fares.NOW_AND_THEN, Fares.NEVER_READY, Fares.SLOWLY]
    return Story(
        seed,
        events,
        replicas,
        random.choice([2 * replicas + 1] * 4 + [replicas + 1, replicas + 2]),
        random.choice(STEPS),
        {
            "churn-1": random.choice([Fares.WELL] * 4 + [Fares.NOW_AND_THEN]),
            **{f"churn-{number}": random.choice([Fares.WELL] * (3 if troubled else 6) + bad) for number in range(2, 6)},
            SPARE: Fares.WELL,
        },
        random.choice(["kept", "good", "back"]),
    )


@dataclass
class Telling:
    """A story as it goes on, and what is wrong in it."""

    story: Story
    wrong: list[str] = field(default_factory=list)
    told: list[str] = field(default_factory=list)
    touched: set[str] = field(default_factory=set)
    """Versions that were broken, or whose artifact was gone, at some time."""
    lasted: set[str] = field(default_factory=set)
    """Revisions of which some pod was ready for a minute at some time."""
    served: Counter[str] = field(default_factory=Counter)
    """For how many seconds pods of a revision that had not failed were ready, however often they were made anew."""
    compared: int = 0
    """Looks at both versions of the rollout that is under way."""
    place: tuple[object, ...] = ()
    placed: int = 0
    """In which step of which rollout it is, and since when it is neither elsewhere nor held."""

    def __post_init__(self) -> None:
        self.nodes = _nodes(self.story.room)
        steps = [{"weight": weight, "for": f"{STEP_LASTS}s"} for weight in self.story.weights]
        self.world = Simulation(
            Random(self.story.seed),
            self.story.fares,
            self.nodes,
            replicas=self.story.replicas,
            rollout={"steps": steps, **DEADLINES},
        )
        self.replicas = self.story.replicas

    def tell(self) -> "Telling":
        events = list(self.story.events)
        end = (events[-1][0] if events else 0) + (MINUTE if self.story.ending == "back" else 3 * MINUTE)
        while self.world.now < end:
            while events and events[0][0] <= self.world.now:
                self._happens(*events.pop(0)[1:])
            self._step()
        self._mend_all()
        calm, wanted = self.world.now, self.world.resource.spec.model_version or ""
        good = self.story.fares[wanted] in GOOD and not self._is_rejected(wanted)
        while self.world.now < calm + QUIET:
            before = self.world.resource.status
            self._step()
            if self.world.now > calm + QUIET - 10 * MINUTE and good and before != self.world.resource.status:
                self._say("the status changes although nothing has happened for long")
        if good:
            self._ends_well()
        return self

    def _say(self, what: str) -> None:
        if not any(what[:25] in one for one in self.wrong):
            self.wrong.append(f"{self.world.now} s: {what}")

    def _happens(self, what: str, number: int) -> None:
        world, status = self.world, self.world.resource.status
        arms = [arm for arm in (status.stable, status.candidate) if arm]
        arm = arms[number % len(arms)] if arms else None
        match what:
            case "name":
                world.want(modelVersion=f"churn-{number % 5 + 1}")
            case "lack":
                world.cluster.nodes[number % 3] = 0
                world.cluster.drain(number % 3)
            case "room":
                world.cluster.nodes[:] = self.nodes
            case "scale":
                self.replicas = (1, 2, 3, 5, 10)[number % 5]
                self.nodes = _nodes(max(sum(self.nodes), 2 * self.replicas + 1))
                world.want(replicas=self.replicas)
            case "zero":
                world.want(replicas=0)
            case "up":
                world.want(replicas=self.replicas)
            case "drain":
                world.cluster.drain(number % 3)
            case "gone" if arm:
                world.lose(arm.model_version)
                self.touched.add(arm.model_version)
            case "back":
                world.find()
            case "gap":
                world.pause(5 * MINUTE)
            case "restart":
                world.restart()
            case "lost":
                world.forget()
            case "deleted" if arm:
                world.cluster.sizes.pop(arm.revision, None)
            case "break" if arm:
                world.breaks(arm.model_version)
                self.touched.add(arm.model_version)
            case "blink" if arm:
                world.cluster.blink(arm.revision, world.now)
                self.touched.add(arm.model_version)
            case "mend":
                world.mend()
        self.told.append(f"{world.now} {what} {number} {arm.model_version if arm else ''}")

    def _mend_all(self) -> None:
        world, wanted = self.world, self.world.resource.spec.model_version or ""
        world.mend()
        world.find()
        world.cluster.nodes[:] = _nodes(max(sum(self.nodes), 2 * self.replicas + 1))
        stable = world.resource.status.stable
        if self.story.ending == "back" and stable:
            wanted = stable.model_version
        fit = self.story.fares[wanted] in GOOD and not self._is_rejected(wanted)
        world.want(replicas=self.replicas, modelVersion=wanted if fit or self.story.ending == "kept" else SPARE)
        self.told.append(f"{world.now} all is mended {world.resource.spec.model_version}")

    def _is_rejected(self, name: str) -> bool:
        return any(one.outcome == "Rejected" for one in self.world.versions[name].status.verdicts)

    def _step(self) -> None:
        for turn in self.world.step():
            self._see(turn)
        if self.world.restless:
            self._say("turns do not come to rest")
        self.lasted |= {pod.revision for pod in self.world.cluster.pods if self._lasts(pod)}
        whole = {pod.revision for pod in self.world.cluster.pods if pod.ready is not None and not pod.failures}
        self.served.update(dict.fromkeys(whole, STEP))
        self._goes_on_or_is_held()

    def _lasts(self, pod: SimulatedPod) -> bool:
        return pod.ready is not None and self.world.now - pod.ready >= MINUTE

    def _see(self, turn: Turn) -> None:
        before = turn.observed.resource.status
        after = DeploymentStatus.model_validate({**turn.plan.status, "conditions": []})
        self._takes_nothing_away_that_is_needed(turn, after)
        self._judges_rightly(before, after)
        self._promotes_rightly(before, after)
        same = before.candidate and after.candidate and before.candidate.since == after.candidate.since
        self.compared = after.analysis.used if same and after.analysis else 0

    def _takes_nothing_away_that_is_needed(self, turn: Turn, after: DeploymentStatus) -> None:
        """Pods that have answered for a minute go only where what stays answers as much, or half of what is wanted:
        anything else is an outage that the operator has made. Of a rejected version they may go while anything else
        answers, since its answers are bad.
        """
        cluster, wanted = self.world.cluster, self.world.resource.spec.replicas
        sizes = dict(cluster.sizes)
        for reference in turn.plan.delete:
            sizes.pop(reference.name.removeprefix("churn-"), None)
        for scale in turn.plan.scale:
            sizes[scale.target.name.removeprefix("churn-")] = scale.value
        rejected = {one.revision for one in after.rejected}
        gone = [
            pod for one in cluster.sizes for pod in cluster.surplus(one, sizes.get(one, 0)) if pod.ready is not None
        ]
        all_traffic = next(one for one in turn.plan.apply if one["metadata"]["name"] == "churn")
        only = all_traffic["spec"]["selector"].get("upright.dev/revision")
        if only:
            gone += [pod for pod in cluster.pods if pod.revision != only and pod.ready is not None and pod not in gone]
        stays = sum(pod.ready is not None for pod in cluster.pods if pod not in gone)
        taken = sum(self._lasts(pod) for pod in gone)
        good = sum(self._lasts(pod) and pod.revision not in rejected for pod in gone)
        if 2 * stays < wanted and stays < (good or (taken if not stays else 0)):
            self._say(
                f"takes away {taken} pods that answer ({self._pods()}), of {wanted}, {stays} stay: {self._told(turn)}"
            )

    def _judges_rightly(self, before: DeploymentStatus, after: DeploymentStatus) -> None:
        """No version is rejected whose pods were always good: a rejection stands until a person lifts it."""
        known = {(one.revision, one.at) for one in before.rejected}
        for one in after.rejected:
            good = self.story.fares[one.model_version] in GOOD and one.model_version not in self.touched
            if (one.revision, one.at) not in known and good:
                self._say(f"rejects {one.model_version}, which is good: {one.message}")

    def _promotes_rightly(self, before: DeploymentStatus, after: DeploymentStatus) -> None:
        """A version that was seen to fail requests is not the next stable one: that is what comparing is for. Nor is
        one that never had a pod that was ready for a minute, for nothing is known of it; but for a first version whose
        pods have not failed. What is taken up without a record is as it was.
        """
        stable, old = after.stable, before.stable
        if stable is None or (old and old.revision == stable.revision) or not (old or before.candidate):
            return
        cluster = self.world.cluster
        pods, fails = cluster.of(stable.revision), cluster.fares[stable.revision].fails
        lasted = stable.revision in self.lasted or any(self._lasts(pod) for pod in pods)
        lasted = lasted or self.served[stable.revision] >= MINUTE
        if not lasted and (old or any(pod.failures for pod in pods)):
            self._say(f"{stable.model_version} becomes stable, of which no pod was ever ready for a minute")
        if old and fails > cluster.fares[old.revision].fails and self.compared >= SEEN:
            self._say(f"{stable.model_version} becomes stable, and was seen to fail in {self.compared} looks")

    def _goes_on_or_is_held(self) -> None:
        """A rollout that waits for longer than any deadline says so: nobody looks at one that seems to go on."""
        status = self.world.resource.status
        said = {one.type: one.message for one in status.conditions}
        candidate, waits = status.candidate, self.world.resource.spec.replicas == 0
        if candidate is None or "Stalled" in said or waits:
            self.place, self.placed = (), self.world.now
            return
        place = (candidate.revision, candidate.since, candidate.step)
        if place != self.place:
            self.place, self.placed = place, self.world.now
        if self.world.now - self.placed > HELD_AFTER:
            self._say(f"neither goes on nor is held: {said.get('Ready')}")

    def _ends_well(self) -> None:
        """What is wanted serves, and nothing else is left: no trouble of the past is for ever."""
        status, spec = self.world.resource.status, self.world.resource.spec
        stable = status.stable.model_version if status.stable else None
        only = set(self.world.cluster.sizes) == {self.world.revisions[spec.model_version or ""]}
        if spec.model_version in self.touched and self._is_rejected(spec.model_version or ""):
            return  # for what it did before it was mended
        if stable != spec.model_version or status.candidate or not only:
            said = next((one.message for one in status.conditions if one.type == "Ready"), "")
            self._say(f"in the end {stable} serves, not {spec.model_version}; {self._pods()}: {status.phase}: {said}")

    def _pods(self) -> str:
        counts = [
            f"{self.world.names[one]} {self.world.cluster.ready(one)}/{size}"
            for one, size in self.world.cluster.sizes.items()
        ]
        return ", ".join(counts)

    def _told(self, turn: Turn) -> str:
        events = "; ".join(one.message for one in turn.plan.events)
        return f"{events} - {condition(turn.plan, 'Ready').get('message')}"


def _nodes(room: int) -> list[int]:
    return [room // 3 + (number < room % 3) for number in range(3)]


def shortest(told: Telling) -> Telling:
    """What still goes wrong without what need not happen for it."""
    for event in reversed(told.story.events):
        fewer = replace(told.story, events=[one for one in told.story.events if one is not event])
        if (retold := Telling(fewer).tell()).wrong:
            told = retold
    return told


@pytest.mark.parametrize("seed", range(50))
def test_nothing_goes_wrong_whatever_happens(seed: int) -> None:
    told = Telling(story(seed)).tell()
    if told.wrong:
        less = shortest(told)
        pytest.fail(
            f"{less.wrong}; replicas {less.story.replicas}, steps {less.story.weights}, {less.story.fares}: "
            f"{less.told}. In full: {told.wrong}"
        )
