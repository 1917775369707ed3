"""What the operator's configuration says where a resource is silent."""

from collections.abc import Mapping
from dataclasses import dataclass, field


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
    allow_modules: bool = False
    """Whether modules that go with a model may be imported, which runs whatever is in them."""
    fixed_ids: bool = True
    """Whether pods run under ids of ours; else the namespace must assign them."""
    flavours: Mapping[str, str] = field(default_factory=dict)
    """The images that take the place of the runtime image for models of certain formats."""

    @property
    def trusting(self) -> Mapping[str, str]:
        """The variables that tell a container of `trusted_types` and `allow_modules`, also where they are off: one
        that is left out could come from `envFrom`, which `env` goes before.
        """
        return {
            "UPRIGHT_TRUSTED_TYPES": ",".join(self.trusted_types),
            "UPRIGHT_ALLOW_MODULES": str(self.allow_modules).lower(),
        }

    def image_for(self, model_format: str | None) -> str:
        """The image that reads models of a format; None: of those that the runtime image reads."""
        return self.flavours.get(model_format or "", self.runtime_image)
