"""The operator's own numbers while they change."""

from prometheus_client.exposition import generate_latest

from upright.api import names
from upright.contract import Key
from upright.metrics import Metrics, Samples

PHASE = "upright_deployment_phase"


def test_objects_may_come_while_a_page_is_made() -> None:
    metrics = Metrics()

    class Looked(str):
        """A name that somebody looks for while another object comes."""

        __slots__ = ()
        __hash__ = str.__hash__

        def __eq__(self, other: object) -> bool:
            contribute("late", PHASE)
            return super().__eq__(other)

    def contribute(name: str, metric: str) -> None:
        samples: Samples = {metric: [({"deployment": name}, 1.0)]}
        metrics.contribute(names.DEPLOYMENTS, Key("shop", name), samples)

    contribute("a", Looked(PHASE))
    contribute("b", Looked(PHASE))

    page = generate_latest(metrics.registry).decode()
    assert [f'{PHASE}{{deployment="{name}"}} 1.0' in page for name in ("a", "b", "late")] == [True, True, False]
    assert f'{PHASE}{{deployment="late"}} 1.0' in generate_latest(metrics.registry).decode()
