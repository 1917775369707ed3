"""The three kinds, put together."""

from upright.defaults import Defaults
from upright.rollout.kind import Deployments
from upright.settings import Settings
from upright.sources.chosen import Chosen
from upright.sources.comparison import Comparison
from upright.sources.pods import PodPages
from upright.sources.schedule import Schedule
from upright.sources.scraped import Scraped
from upright.sources.servers import Servers
from upright.training.kind import TrainingJobs
from upright.versions.kind import ModelVersions

Kinds = tuple[TrainingJobs, ModelVersions, Deployments]


def kinds(settings: Settings) -> Kinds:
    """All kinds that the controller runs."""
    defaults = Defaults(
        runtime_image=settings.runtime_image,
        store=settings.default_store,
        allowed_formats=settings.allowed_formats,
        trusted_types=settings.trusted_types,
        allow_modules=settings.allow_modules,
        fixed_ids=settings.fixed_ids,
        flavours=dict(settings.flavours.items()),
    )
    return (
        TrainingJobs(defaults),
        ModelVersions(defaults),
        Deployments(
            defaults,
            Chosen(Schedule(PodPages(), Comparison), Schedule(Servers(settings.prometheus_servers), Scraped)),
        ),
    )
