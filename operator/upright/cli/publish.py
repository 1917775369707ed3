"""`upright publish`: a model that was trained anywhere becomes an artifact, and the ModelVersion that tells of it."""

import argparse
import json
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path, PurePath
from typing import Any

import yaml
from pydantic import TypeAdapter, ValidationError

from upright.api.artifact import Inputs, PublishReport, canonical_json, read_report, termination_message
from upright.api.common import API_VERSION, DnsLabel
from upright.api.training_job import StoreUri
from upright.cli.problems import Unusable
from upright.contract import Manifest
from upright.runtime import store
from upright.runtime.environment import limits_of
from upright.runtime.formats import FORMATS
from upright.runtime.modules import FOLDER, names_in
from upright.runtime.outcome import FailedError, RefusedError
from upright.runtime.output import read_output
from upright.runtime.publish import Checked, check
from upright.training.manifests import annotated, fault_of, what_is_told

DESCRIPTION = """Make an artifact of a model as a training run does: it is loaded, tried out and described by the same
program. The ModelVersion to apply goes to standard output, all else to standard error.

A model whose loading can run code (joblib) is taken where UPRIGHT_ALLOWED_FORMATS has its format, as in
UPRIGHT_ALLOWED_FORMATS=skops,joblib
Types that are not known to be harmless are taken where UPRIGHT_TRUSTED_TYPES has their names.
The modules that --modules names are imported; those in a folder of an output are where UPRIGHT_ALLOW_MODULES=true

exit status: 0 it is in the store, 2 it cannot be published"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What the command takes."""
    parser.add_argument("model", type=Path, help="the model's file; or a folder as a training program writes it")
    parser.add_argument("--name", required=True, help="what the model is called where predictions are asked for")
    parser.add_argument("--store", required=True, help="the folder to put the artifact in; it is made if need be")
    parser.add_argument("--as", dest="uri", metavar="pvc://CLAIM", help="what the cluster calls that folder")
    parser.add_argument("--version", help="the ModelVersion's name; without it, NAME and the beginning of the digest")
    parser.add_argument("--reference", type=Path, help="rows that the model was made for, .csv or .parquet")
    parser.add_argument("--metrics", type=Path, help='a JSON object of numbers, such as {"accuracy": 0.97}')
    parser.add_argument(
        "--modules",
        type=Path,
        nargs="+",
        action="extend",
        default=[],
        metavar="FILE.py",
        help="files of your own that define parts of the model; they go with it",
    )
    parser.add_argument("--parameters", type=Path, help="a JSON object: what the model was trained with")


def run(options: argparse.Namespace) -> int:
    """Publish. Raises Unusable."""
    _label("--name", options.name)
    if options.version is not None:
        _label("--version", options.version)
    if options.uri is not None:
        _check_uri(options.uri)
    folder = _store(options.store)
    parameters = _object(options.parameters) if options.parameters else {}
    try:
        with _output(options) as output:
            limits = limits_of(os.environ)
            if options.modules:  # whoever names them wants them run
                limits = replace(limits, modules=True)
            with redirect_stdout(sys.stderr):  # what modules print
                checked = check(read_output(output, limits), options.name, parameters, limits)
            stored = _stored(folder, checked)
    except (RefusedError, FailedError) as problem:
        raise Unusable(f"{options.model}: {problem}") from problem
    if unknown := ", ".join(checked.unknown_metrics):
        print(f"Metrics that are no number, and so are not kept: {unknown}", file=sys.stderr)
    if checked.untried:
        option = " (--reference)" if checked.untried.endswith("reference.parquet") else ""
        print(f"{checked.untried}{option}", file=sys.stderr)
    if checked.renamed:
        print(checked.renamed, file=sys.stderr)
    print(f"The artifact is {stored.path}", file=sys.stderr)
    if own := names_in(checked.manifest):
        print(f"Pods import {', '.join(own)} where the platform allows it (allowModules of the chart)", file=sys.stderr)
    if options.uri is None:
        print(
            "Say what the cluster calls its store (--as pvc://CLAIM), and the ModelVersion is printed", file=sys.stderr
        )
        return 0
    version = _model_version(checked.report(stored, options.uri, Inputs()), options.name, options.version, parameters)
    print(yaml.safe_dump(version, sort_keys=False, allow_unicode=True), end="")
    return 0


@contextmanager
def _output(options: argparse.Namespace) -> Iterator[Path]:
    """The model and what belongs to it in one folder, under the names that a training program gives them."""
    model: Path = options.model
    if model.is_dir():
        if options.reference or options.metrics or options.modules:
            raise Unusable(f"{model} is a folder: expected its own reference.csv and metrics.json in it, and {FOLDER}/")
        yield model
        return
    files = {model: _file_of(model)}
    if options.reference:
        files[options.reference] = f"reference{_suffix('--reference', options.reference, ('.csv', '.parquet'))}"
    if options.metrics:
        files[options.metrics] = "metrics.json"
    files |= {path: f"{FOLDER}/{path.name}" for path in options.modules}
    if len({*files.values()}) < len(files):
        raise Unusable(f"--modules: two have the same name: {', '.join(map(str, options.modules))}")
    with tempfile.TemporaryDirectory(prefix="upright-publish-") as folder:
        if options.modules:
            (Path(folder) / FOLDER).mkdir()
        for path, name in files.items():
            if not path.is_file():
                raise Unusable(f"{path}: there is no such file")
            try:
                shutil.copyfile(path, Path(folder) / name)
            except OSError as problem:
                raise Unusable(f"{path}: {problem.strerror}") from problem
        yield Path(folder)


def _file_of(model: Path) -> str:
    """What a training program would have called it."""
    files = {PurePath(file).suffix: file for each in FORMATS.values() for file in each.files}
    return files[_suffix("MODEL", model, tuple(files))]


def _suffix(what: str, path: Path, known: tuple[str, ...]) -> str:
    if path.suffix not in known:
        raise Unusable(f"{what}: expected a file whose name ends in {' or '.join(known)}, found {str(path)!r}")
    return path.suffix


def _label(what: str, name: str) -> None:
    try:
        TypeAdapter(DnsLabel).validate_python(name)
    except ValidationError:
        raise Unusable(
            f"{what}: expected at most 63 lower-case letters, digits and hyphens that begin with a letter, such as "
            f"churn-7; found {name!r}"
        ) from None


def _check_uri(uri: str) -> None:
    try:
        TypeAdapter(StoreUri).validate_python(uri)
    except ValidationError:
        raise Unusable(
            f"--as: expected a claim of the cluster, pvc://CLAIM or pvc://CLAIM/PATH; found {uri!r}"
        ) from None


def _store(name: str) -> Path:
    if "://" in name:
        raise Unusable(
            f"--store {name}: expected a folder. Deployments serve artifacts from PersistentVolumeClaims only: publish "
            "to a folder, say --as pvc://CLAIM, and copy what is in the folder into that claim"
        )
    folder = Path(name)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as problem:
        raise Unusable(f"--store {name}: expected a folder: {problem.strerror}") from problem
    return folder


def _stored(folder: Path, checked: Checked) -> store.Stored:
    os.umask(0o002)  # pods read the store through its group
    try:
        return store.add(folder, checked.manifest, checked.contents)
    except (store.StoreFullError, store.StoreNotWritableError, store.CorruptArtifactError, OSError) as problem:
        raise Unusable(f"--store {folder}: {problem}") from problem


def _object(path: Path) -> dict[str, Any]:
    try:
        document = json.loads(path.read_bytes())
        canonical_json(document)  # as the manifest will be written: NaN is no number of JSON
    except OSError as problem:
        raise Unusable(f"--parameters {path}: {problem.strerror}") from problem
    except (ValueError, RecursionError) as problem:
        raise Unusable(f"--parameters {path}: expected JSON: {problem}") from problem
    if not isinstance(document, dict):
        raise Unusable(f'--parameters {path}: expected an object, such as {{"C": 1.0}}')
    return document


def _model_version(report: PublishReport, model: str, name: str | None, parameters: dict[str, Any]) -> Manifest:
    """As much as a training run tells of itself, whose report is bounded. Raises Unusable."""
    digits = report.digest.removeprefix("sha256:")
    version = {
        "apiVersion": API_VERSION,
        "kind": "ModelVersion",
        "metadata": {
            "name": name or f"{model[:50]}-{digits[:12]}",
            **annotated(report),
        },
        "spec": {
            "model": model,
            "producedAt": datetime.now(UTC).isoformat(timespec="seconds"),  # its object may be made again at any time
            **what_is_told(read_report(termination_message(report))),
            **({"parameters": parameters} if parameters else {}),
        },
    }
    if fault := fault_of(version):
        raise Unusable(f"the ModelVersion would be refused: {fault}")
    return version
