"""Write the examples' ConfigMaps from the files they hold, so that each folder can be applied as it is."""

from pathlib import Path

import yaml

HERE = Path(__file__).parent
CONFIGMAPS = {
    "iris/code.yaml": ("iris-code", ["iris/train.py"]),
    "churn/code.yaml": ("churn-code", ["churn/train.py"]),
    "churn/data.yaml": ("churn-data", ["churn/customers.csv"]),
    "churn/traffic.yaml": ("churn-traffic", ["churn/traffic.py"]),
}


class _Literal(str):
    """A text that YAML shows line by line."""


def _represent(dumper: yaml.SafeDumper, text: _Literal) -> yaml.ScalarNode:
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style="|")


yaml.SafeDumper.add_representer(_Literal, _represent)


def configmap(name: str, files: list[str]) -> str:
    """The YAML of a ConfigMap that holds the files under their own names."""
    document = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": name},
        "data": {Path(file).name: _Literal((HERE / file).read_text(encoding="utf-8")) for file in files},
    }
    return "# Written by examples/configmaps.py\n" + yaml.safe_dump(document, sort_keys=False, width=1000)


if __name__ == "__main__":
    for path, (name, files) in CONFIGMAPS.items():
        (HERE / path).write_text(configmap(name, files), encoding="utf-8")
