"""A container of a pod as its status tells of it, read into a value: whether it runs, how it ended, what hinders it."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from upright.api.artifact import Refusal, read_refusal
from upright.conditions import cut, plain
from upright.contract import Manifest

_LAST_WORDS = 200
_NODES = frozenset({"Unknown", "ContainerStatusUnknown"})
"""What the kubelet says of a container that ended with its node."""
_NEVER_BEGUN = frozenset({"StartError", "ContainerCannotRun"})
"""What a runtime says of a container whose process it could not begin."""
_UNPULLABLE = frozenset(
    {
        *("ErrImagePull", "ImagePullBackOff", "InvalidImageName", "ErrImageNeverPull"),
        *("ImageInspectError", "RegistryUnavailable", "SignatureValidationFailed"),
    }
)
_UNSTARTABLE = frozenset(
    {
        *("CreateContainerConfigError", "CreateContainerError", "RunContainerError"),
        *("PreCreateHookError", "PreStartHookError"),
    }
)
_PROOFS: Mapping[str, str] = {
    "InvalidImageName": "",
    **dict.fromkeys(
        ("ErrImagePull", "ImagePullBackOff"),
        r"manifest unknown|name unknown|(^|: )[\w.:-]*\w/\S+: not found\W*$",
    ),
    "CreateContainerConfigError": (
        r"^(secret|configmap)s? \".+\" not found$|^couldn't find key .+ in (secret|configmap) |"
        r"^container has runAsNonRoot and image "
    ),
    **dict.fromkeys(
        ("CreateContainerError", "RunContainerError"),
        r"container (process|process caused|init): exec: \".+\": executable file not found|"
        r"executable file `\S+` not found",
    ),
}
"""What must be said (a pattern), by reason, for it to be certain that a container is not startable because of what it
is made of: that the registry does not know its image, that what it refers to does not exist, or that its image has not
the program. Whatever else is said or not found, the fault may be that of a registry, of credentials, of the network, or
of a node: of its store of images, its runtime, or its devices.
"""


@dataclass(frozen=True, slots=True)
class Termination:
    """How a container's process ended."""

    exit_code: int
    reason: str
    """The kubelet's word, for instance OOMKilled, Error or Completed."""
    message: str
    """What the process left in its termination message: of some containers the end of their log."""
    at: datetime | None

    @property
    def last_words(self) -> str:
        """What the process died of, in a short line: the exception of the last traceback, else the last line that says
        anything. Empty when it left nothing.
        """
        lines = [line for line in plain(self.message).splitlines() if line.strip()]
        traces = [place for place, line in enumerate(lines) if line.startswith("Traceback (most recent call last)")]
        after = lines[traces[-1] + 1 :] if traces else []
        said = next((line for line in after if not line[0].isspace()), lines[-1] if lines else "")
        return cut(said, _LAST_WORDS)

    @property
    def refusal(self) -> Refusal | None:
        """Why a container of ours did not do its work; None when the process has left no such thing."""
        said = read_refusal(self.message)
        return said.model_copy(update={"reason": plain(said.reason), "message": plain(said.message)}) if said else None


@dataclass(frozen=True, slots=True)
class Container:
    """One container of a pod, as its status tells."""

    name: str
    init: bool
    """It runs before those that are not, and those of its kind one after the other: the next waits until it has done
    its work, or, of a native sidecar, until it is up."""
    image: str
    """As the pod's spec names it, where that is known."""
    image_id: str
    restarts: int
    """How often the kubelet has started it again."""
    waiting: tuple[str, str] | None
    """Reason and message, while it waits to be started."""
    ended: Termination | None
    """How it ended: now, or the last time when it has been started again or waits to be."""
    started: datetime | None
    """Since when it has been running; None when it does not run."""
    up: bool
    """It runs, and has passed its startup probe, if it has one: those after it need not wait for it."""
    down: bool
    """It does not run now, and did before."""
    prepares: bool
    """An init container that ends, and no sidecar: it may fail until what it waits for is there, and its pod has its
    time to start meanwhile."""
    completed: bool
    """An init container that has done its work."""
    serves: bool
    """Requests come to it, so that it never ends well."""
    ready: bool
    """It answers its probes; an init container: it has done its work."""
    injected: bool = False
    """Somebody else has put it into the pod, as a mesh does its proxy: whatever it lacks is not the pod's own fault."""
    startable: bool = False
    """It has run in a pod of the same template, or it is pulled, and its image has in one of another."""
    seen_failures: int | None = None
    """How often it has failed, for whoever has looked again and again: see `upright.rollout.sightings`. None where
    nobody has."""

    @property
    def has_run(self) -> bool:
        """Whether its process was there, now or the last time: one that the runtime could not begin has ended, too."""
        return self.started is not None or (self.ended is not None and self.ended.reason not in _NEVER_BEGUN)

    @property
    def yet_to_run(self) -> bool:
        """Whether the kubelet has never started it, as far as it still tells: it has its image to pull first, or those
        before it have to be done.
        """
        return self.waiting is not None and self.ended is None and not self.restarts

    @property
    def unpullable(self) -> bool:
        """Whether it waits for its image, which cannot be had."""
        return self.waiting is not None and self.waiting[0] in _UNPULLABLE

    @property
    def backs_off(self) -> bool:
        """Whether the kubelet waits before it starts it again. At first it does not: it has ended twice lately."""
        return self.waiting is not None and self.waiting[0] == "CrashLoopBackOff"

    @property
    def hindered(self) -> bool:
        """Whether it cannot be started."""
        return self.unpullable or (self.waiting is not None and self.waiting[0] in _UNSTARTABLE)

    @property
    def faulty(self) -> bool:
        """Whether it cannot be started because of what it is made of, beyond doubt; one that is injected never is, nor
        one that is known to be startable.
        """
        reason, message = self.waiting or ("", "")
        proof = None if self.injected or self.startable else _PROOFS.get(reason)
        return proof is not None and re.search(proof, message, re.IGNORECASE) is not None

    @property
    def ends(self) -> int:
        """How often its process has ended, however it did, as far as the kubelet still tells."""
        return self.restarts + (1 if self.down else 0)

    @property
    def failures(self) -> int:
        """How often its process has ended otherwise than well, as far as the kubelet still tells: how, of the last time
        alone. That it ended with its node is nobody's failure, and of one that is injected nobody's here; one that
        prepares has only tried.
        """
        if self.injected or self.prepares or not self.failed or (self.ended and self.ended.reason in _NODES):
            return 0
        return self.ends

    @property
    def failed(self) -> bool:
        """Whether it ended otherwise than well, now or the last time."""
        return self.ended is not None and (self.ended.exit_code != 0 or self.serves)

    @property
    def ending(self) -> str:
        """How it ended last, in words that follow on its name; empty when it has not."""
        if self.ended is None:
            return ""
        times, said = self.ends, self.ended.last_words
        return (
            f"has ended{f' {times} times' if times > 1 else ''}, last with exit code {self.ended.exit_code} "
            f"({self.ended.reason or 'Error'}){f': {said}' if said else ''}"
        )


def read_container(
    status: Manifest, images: Mapping[str, str | None], serving: str, *, init: bool, prepares: bool
) -> Container:
    """Read the status of a container; `images`: as the pod's spec names them, by container."""
    state = status.get("state") or {}
    running = state.get("running") or {}
    waiting = state.get("waiting")
    ended = state.get("terminated") or (status.get("lastState") or {}).get("terminated")
    return Container(
        name=status["name"],
        init=init,
        image=images.get(status["name"]) or status.get("image", ""),
        image_id=status.get("imageID", ""),
        restarts=status.get("restartCount", 0),
        waiting=(waiting.get("reason", ""), waiting.get("message", "")) if waiting else None,
        ended=(
            Termination(
                exit_code=ended["exitCode"],
                reason=ended.get("reason", ""),
                message=ended.get("message", ""),
                at=datetime.fromisoformat(ended["finishedAt"]) if ended.get("finishedAt") else None,
            )
            if ended
            else None
        ),
        started=datetime.fromisoformat(running["startedAt"]) if running.get("startedAt") else None,
        up="running" in state and status.get("started") is not False,
        down=bool(ended) and "running" not in state,
        prepares=prepares,
        completed=init and (state.get("terminated") or {}).get("exitCode") == 0,
        serves=status["name"] == serving,
        ready=bool(status.get("ready")),
    )
