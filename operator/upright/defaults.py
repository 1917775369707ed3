"""What the operator's configuration says where a resource is silent."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Defaults:
    """Part of what plans are made from: equal defaults and equal observations give equal plans."""

    runtime_image: str
    """The image of data, publish and serve, and of training programs that name none."""
    store: str | None
    """Where artifacts go when a TrainingJob does not say; None: it must say."""
    allowed_formats: tuple[str, ...]
    """The formats of models that may be loaded."""
    trusted_types: tuple[str, ...] = ()
    """Types that models may hold beyond those that are known to be harmless."""
    fixed_ids: bool = True
    """Whether pods run under ids of ours; else the namespace must assign them."""
