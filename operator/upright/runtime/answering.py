"""What answers requests for predictions, however they come: the model, the threads it works in, what waits for them."""

import asyncio
import logging
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field

from upright.runtime.artifact import ServedModel
from upright.runtime.asked import Answer, Question, answer, answers
from upright.runtime.batch import BadInputError, batch_of_rows
from upright.runtime.batching import Batching
from upright.runtime.board import BEAT, Place
from upright.runtime.body import ROOM, Room
from upright.runtime.groups import Groups
from upright.runtime.load import Load
from upright.runtime.measurements import BUSY, Measurements
from upright.runtime.predictor import ModelError, Predictor
from upright.runtime.said import shape_of, without_values
from upright.runtime.segments import Segment
from upright.runtime.threads import OverloadedError, PredictionThreads, Turn
from upright.runtime.unread import UNREAD, Unread

_PREDICTING_THREADS = 4

_HOPELESS = 10
"""Timeouts. A pod that has had no thread free for one gets no requests; the model may be slow, and then it is served
again. After so many only a new process helps, and liveness has the kubelet make one."""

_NEARLY = 0.9
"""Of a timeout: who came a moment before the last call began has waited for it a moment longer than that takes."""

_SAID = 500
"""Characters of what a model says it has failed with: it may quote all that it was given."""

logger = logging.getLogger("upright.serve")


class UnansweredError(Exception):
    """A request that the model could have answered has no answer: the message says why."""

    def __init__(self, status: int, message: str) -> None:
        """`status`: as HTTP has it: 500 where the model failed, 504 where it took too long, BUSY where no room is."""
        super().__init__(message)
        self.status = status


@dataclass
class Answering:
    """A served model and what changes while it serves. All ways in to a process share one."""

    served: ServedModel
    threads: PredictionThreads
    timeout: float
    """Seconds within which a request for predictions is answered, if not by the model then by an error."""
    measured: Measurements
    batching: Batching[Question, Answer] | None = None
    room: Room = field(default_factory=lambda: Room(ROOM))
    """For what requests bring along."""
    unread: Unread = field(default_factory=lambda: Unread(UNREAD))
    """What clients over HTTP have not read yet."""
    place: Place | None = None
    """Among the pod's workers, where it has several: each answers probes for all of them."""
    warm: bool = False
    stopping: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when the process has been told to stop: requests are still answered, and no more should be sent."""

    @property
    def draining(self) -> bool:
        """Whether the process is about to stop."""
        return self.stopping.is_set()

    @property
    def ready(self) -> bool:
        """Whether requests should be sent here: the model has answered once, and can answer more."""
        return not self.hindrance

    @property
    def hindrance(self) -> str:
        """Why no requests should be sent here; empty when they should."""
        others = self.place is None or self.place.board.ready
        return self._hindrance or ("" if others else "another worker of the pod is not ready")

    @property
    def alive(self) -> bool:
        """Whether the pod's processes are of any use still."""
        return self._alive and (self.place is None or self.place.board.alive)

    async def tell(self, place: Place) -> None:
        """Tell the other workers how this one is, for ever."""
        while True:
            place.board.tell(place.number, ready=not self._hindrance, alive=self._alive)
            await asyncio.sleep(BEAT)

    @property
    def _hindrance(self) -> str:
        if not self.warm:
            return "the model has not answered the example in its manifest"
        if self.draining:
            return "the pod is about to stop"
        stuck = self.threads.stuck_for() >= self.timeout
        return f"the model has answered nothing for more than {self.timeout:g} seconds" if stuck else ""

    @property
    def _alive(self) -> bool:
        return self.threads.stuck_for() < _HOPELESS * self.timeout

    async def warm_up(self) -> None:
        """Ready once the model has answered the example in its manifest; not ready, and logged, when it fails on it."""
        example, predictor = self.served.example, self.served.predictor
        if example is None:
            logger.warning("The artifact holds no example that the model answers: ready without a trial")
        else:
            try:
                batch = batch_of_rows([list(example)], predictor.signature)
                await self.threads.run(lambda: predictor.predict(batch))
            except (ModelError, BadInputError) as error:
                logger.error("Never ready: the model does not answer the example in its manifest: %s", error)  # noqa: TRY400
                return
        self.warm = True

    async def answer(self, question: Question) -> Answer:
        """What the model answers; counts its rows, or with what it failed. All that takes long is done beside the loop,
        in which probes are answered.

        Raises UnansweredError, and what the question raises.
        """
        try:
            answered = await self._answered(question)
        except ModelError as error:
            said = str(error)[:_SAID]
            logger.error("The model failed on a request: %s", said)  # noqa: TRY400 - the sentence is the model's
            self._count(error)
            raise UnansweredError(500, f"the model failed on this request: {said}") from error
        except TimeoutError:
            waited = f"{self.timeout:g} seconds"
            logger.error("The model has not answered a request within %s", waited)  # noqa: TRY400
            self.measured.failed("Timeout")
            raise UnansweredError(504, f"the model has not answered this request within {waited}") from None
        except BadInputError as error:
            self.measured.refused(error.cause, error.feature)
            raise
        except OverloadedError as error:
            if self.threads.stuck_for() >= _NEARLY * self.timeout:  # it is not that too much comes: nothing goes
                self.measured.failed("Timeout")
                await self._read(question)
                raise UnansweredError(504, "the model has answered nothing for too long") from None
            self.measured.refused("Overloaded")
            raise UnansweredError(BUSY, f"the model {error}; try again later") from None
        self.measured.predictions.inc(answered.rows)
        return answered

    async def _read(self, question: Question) -> None:
        """What fails before a thread has read it counts in its groups all the same, unless its client has gone: then
        nothing is left of it.
        """

        def read() -> None:
            with suppress(Exception):  # it has failed already
                question()

        if self.measured.groups.all:
            await asyncio.to_thread(read)

    def _count(self, error: ModelError) -> None:
        """With what the model failed, and what it said of it; of whom nobody knows what it was asked, the former."""
        cause, batch = error.__cause__ or error, error.batch
        reason = type(cause).__name__
        if batch is None:
            self.measured.failed(reason)
            return
        signature = self.served.predictor.signature
        said = without_values(str(error).removeprefix(f"{reason}: "), cause, batch, signature)
        self.measured.failed(reason, said, lambda: shape_of(batch, signature))

    async def _answered(self, question: Question) -> Answer:
        if self.batching is not None:
            return await self.batching.run(question, self.timeout)
        turn = Turn()
        return await self.threads.run(lambda: answer(question, self.served.predictor, turn.wanted), self.timeout, turn)


def answering(
    served: ServedModel, load: Load, place: Place | None = None, segments: Sequence[Segment] = ()
) -> Answering:
    """What answers for a model, within the limits of a process; its metrics begin from zero. `place`: where the pod has
    several.
    """
    groups = Groups(segments, served.predictor.signature)
    if place is None or place.number == 0:
        for sentence in groups.untold:
            logger.warning(sentence)
    threads = PredictionThreads(1 if served.alone else _PREDICTING_THREADS, load.waiting)
    return Answering(
        served,
        threads,
        load.timeout,
        Measurements(served.model, served.version, groups),
        _batching(served.predictor, threads, load),
        place=place,
    )


def _batching(predictor: Predictor, threads: PredictionThreads, load: Load) -> Batching[Question, Answer] | None:
    if (most := load.batch_rows) is None:
        return None
    return Batching(
        lambda questions, wanted: answers(questions, predictor, most, wanted), threads, most, load.batch_wait
    )
