"""Which image reads the models of a format."""

from dataclasses import replace
from typing import Any

import pytest

from tests.unit.builders import DEFAULTS, DIGEST, a_deployment, a_model_version, a_training_job
from upright.api.training_job import Run
from upright.rollout.modes.realtime import template
from upright.training.manifests import job

FLAVOURED = replace(DEFAULTS, flavours={"catboost": "upright/runtime-catboost:1"})


def serving_image(model_format: str, **serving: Any) -> str:
    artifact = {"uri": "pvc://models/churn/sha256-1", "digest": DIGEST, "format": model_format}
    owner, version = a_deployment("churn-1", serving=serving), a_model_version(artifact=artifact)
    [container] = template(owner, version, "r", FLAVOURED)["spec"]["containers"]
    return str(container["image"])


def run_images(**spec: Any) -> dict[str, str]:
    owner = a_training_job(data=[{"name": "rows", "uri": "pvc://lake"}], **spec)
    run = Run(name="churn-1", number=1, trigger="Created", phase="Pending")
    pod = job(owner, run, FLAVOURED, "pvc://models")["spec"]["template"]["spec"]
    return {one["name"]: one["image"] for one in (*pod["initContainers"], *pod["containers"])}


@pytest.mark.parametrize(
    ("model_format", "image"),
    [("skops", "upright/runtime:1"), ("xgboost", "upright/runtime:1"), ("catboost", "upright/runtime-catboost:1")],
)
def test_a_version_is_served_by_the_image_of_its_format(model_format: str, image: str) -> None:
    assert serving_image(model_format) == image


def test_an_image_of_ones_own_serves_every_format() -> None:
    assert serving_image("catboost", image="mine:1") == "mine:1"


def test_a_run_has_the_image_of_the_format_that_it_names() -> None:
    ours = "upright/runtime-catboost:1"
    assert run_images(output={"format": "catboost"}) == {"data": ours, "train": ours, "publish": ours}


def test_a_run_that_names_no_format_has_the_runtime_image() -> None:
    assert set(run_images().values()) == {"upright/runtime:1"}


def test_the_image_of_the_program_is_its_own() -> None:
    images = run_images(output={"format": "catboost"}, train={"command": ["x"], "image": "mine:1"})
    assert images["train"] == "mine:1"
    assert images["publish"] == "upright/runtime-catboost:1"
