"""The CustomResourceDefinitions, and the command that writes them: `python -m upright.api.crds FOLDER`."""

import sys
from pathlib import Path

import yaml

from upright.api import comparison, deployment, model_version, training_job
from upright.api.common import GROUP, VERSION
from upright.api.schema import Schema, custom_resource_definition

DEFINITIONS = (training_job.DEFINITION, model_version.DEFINITION, deployment.DEFINITION, comparison.DEFINITION)


def manifests() -> dict[str, Schema]:
    """Each CustomResourceDefinition, by the name of its file."""
    return {
        f"{definition.plural}.yaml": custom_resource_definition(definition, GROUP, VERSION)
        for definition in DEFINITIONS
    }


def write(folder: Path) -> None:
    """Write one file each into a folder that exists."""
    for name, manifest in manifests().items():
        text = yaml.safe_dump(manifest, sort_keys=False, width=120, allow_unicode=True)
        (folder / name).write_text(f"# Generated from operator/upright/api by `make crds`.\n{text}")


if __name__ == "__main__":
    write(Path(sys.argv[1]))
