"""The operator's configuration: environment variables with the prefix UPRIGHT_, in one place."""

import json
import os
import socket
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator
from pydantic.alias_generators import to_camel
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from upright import __version__
from upright.api.artifact import ModelFormat

PREFIX = "UPRIGHT_"
OWN_NAMESPACE = Path("/var/run/secrets/kubernetes.io/serviceaccount/namespace")

NamespaceName = Annotated[str, Field(pattern=r"^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$")]

TypeName = Annotated[str, Field(pattern=r"^[A-Za-z_]\w*(\.[A-Za-z_]\w*)+$")]


ServerName = Annotated[str, Field(pattern=r"^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$")]


class PrometheusServer(BaseModel):
    """A Prometheus server, or what answers as one does, that the platform lets Deployments be measured by."""

    model_config = ConfigDict(frozen=True, extra="forbid", alias_generator=to_camel, populate_by_name=True)

    url: str = Field(pattern=r"^https?://[^\s/?#@]+(/[^\s?#]*)?$", description="Where its API is, without /api/v1.")
    token_file: Path | None = Field(None, description="Holds the bearer token; read anew for each request.")
    ca_file: Path | None = Field(None, description="Holds the certificates by which it is known; None: the system's.")
    namespace_label: str = Field(
        "namespace",
        pattern=r"^[a-zA-Z_][a-zA-Z0-9_]*$",
        description="The label that names a series' namespace: a Deployment is shown those of its own alone.",
    )


class SettingsError(Exception):
    """A setting has a value that cannot be used; the text says which, and what it should be."""


class Settings(BaseSettings):
    """Each field is read from UPRIGHT_ and its name in capitals."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, frozen=True)

    # NoDecode: texts with commas between the names, not JSON.
    namespaces: Annotated[tuple[NamespaceName, ...], NoDecode] = Field(
        (), description="The namespaces to look after; none means all."
    )
    runtime_image: str = Field(
        f"upright/runtime:{__version__}", min_length=1, description="The image of data, publish and serve."
    )
    flavours: Annotated[dict[ModelFormat, Annotated[str, Field(min_length=1)]], NoDecode] = Field(
        {name: f"upright/runtime-{name}:{__version__}" for name in ("catboost", "onnx")},
        description="The images of publish and serve for models of formats that need one of their own, as JSON.",
    )
    default_store: str | None = Field(
        None, pattern=r"^pvc://.+$", description="Where artifacts go when a TrainingJob does not say."
    )
    allowed_formats: Annotated[tuple[ModelFormat, ...], NoDecode] = Field(
        ("skops", "xgboost", "catboost", "onnx"), description="The formats of models that may be loaded."
    )
    trusted_types: Annotated[tuple[TypeName, ...], NoDecode] = Field(
        (), description="Types that a model in the format skops may hold beyond those that are known to be harmless."
    )
    allow_modules: bool = Field(
        False, description="Whether modules that go with a model may be imported, which runs whatever is in them."
    )
    fixed_ids: bool = Field(
        True, description="Whether pods name the ids under which they run; no: the namespace assigns them."
    )
    prometheus_servers: Annotated[dict[ServerName, PrometheusServer], NoDecode] = Field(
        {}, description="The servers that spec.monitoring.prometheus.server may name, as JSON."
    )
    lease_namespace: str = Field(
        default_factory=lambda: OWN_NAMESPACE.read_text().strip() if OWN_NAMESPACE.exists() else "default",
        min_length=1,
        description="The namespace of the Lease; by default that of the pod.",
    )
    lease_name: str = Field("upright-operator", min_length=1, description="Operators of one name take turns.")
    identity: str = Field(
        default_factory=lambda: f"{socket.gethostname()}-{os.getpid()}",
        min_length=1,
        description="Who holds the Lease: differs between replicas.",
    )
    metrics_port: int = Field(8080, ge=1, le=65535, description="Of /metrics, /healthz and /readyz.")
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = Field("INFO", description="The least that is logged.")
    log_format: Literal["plain", "json"] = Field("plain", description="Lines for people or for machines.")

    @field_validator("namespaces", "allowed_formats", "trusted_types", mode="before")
    @classmethod
    def _names(cls, value: object) -> object:
        return tuple(filter(None, map(str.strip, value.split(",")))) if isinstance(value, str) else value

    @field_validator("flavours", "prometheus_servers", mode="before")
    @classmethod
    def _object(cls, value: object) -> object:
        return json.loads(value) if isinstance(value, str) else value

    @field_validator("default_store", mode="before")
    @classmethod
    def _none(cls, value: object) -> object:
        return value or None


def read_settings() -> Settings:
    """The settings from the environment; SettingsError if one makes no sense."""
    try:
        return Settings()
    except ValidationError as error:
        wrong = (
            f"{PREFIX}{str(detail['loc'][0]).upper()}={detail['input']!r}: {detail['msg']}"
            for detail in error.errors(include_url=False)
        )
        raise SettingsError("; ".join(wrong)) from error
