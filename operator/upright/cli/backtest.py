"""`upright backtest`: what a policy would have done with recorded metrics, and how far it can be trusted."""

import argparse
import asyncio
import json
import math
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from pydantic import ValidationError
from rich.console import Console
from rich.progress import track
from rich.table import Column, Table

from upright.analysis import Decision, Policy
from upright.analysis.dispersion import is_learned
from upright.api.common import GROUP, VERSION, format_duration
from upright.api.deployment import DEFINITION, DeploymentSpec
from upright.api.refusals import WRITTEN
from upright.api.schema import custom_resource_definition, unknown_fields
from upright.cli.fitting import fitted, look_like_counters
from upright.cli.picture import FORMATS, draw, sketch
from upright.cli.problems import UNUSABLE, Unusable, sentences
from upright.cli.reading import A_TIME, parsed_time, read
from upright.cli.recording import Kind, Recording
from upright.cli.replay import Each, NullSplits, Replay, null_splits, replay
from upright.cli.scraped import scraped
from upright.rollout.verdict import policy as of_deployment
from upright.sources.prometheus import Range

KEEP, ROLL_BACK = 0, 3
LEAST_SHARE = 1e-300  # below which the analysis tells no probability from none
_TELLING = 3  # expected rollbacks: where none of as many splits was, the share is lower, with a confidence of 95 %
MOST_SPLITS = 100_000  # which tell a share of 1 % to 0.1 points

DESCRIPTION = f"""Replay a policy on recorded metrics: where it would have rolled back, and why.

A file of looks has a row for each time, version and metric, with what was counted since the time before:

  time,arm,metric,total,bad,pod              counts; arm is canary or stable; pod is optional
  time,arm,metric,le,count,pod               histograms (Latency), a row for each bucket
  time,arm,metric,number,sum,sumsq,pod       values (Mean): how many, their sum, the sum of their squares

With --null rows of stable alone will do, to see before adoption whether a healthy version would be left alone.

exit status: {KEEP} the canary would have been kept, {ROLL_BACK} rolled back, {UNUSABLE} the input cannot be used"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What the command takes."""
    parser.add_argument(
        "--policy", type=Path, required=True, help="YAML or JSON: metrics, interval, horizon, ...; or a Deployment"
    )
    parser.add_argument("--looks", required=True, help="a .csv or .parquet file, or the URL of a Prometheus server")
    parser.add_argument("--canary", help='Prometheus: label matchers of the canary, such as version="v2"')
    parser.add_argument("--stable", help='Prometheus: label matchers of the stable version, such as version="v1"')
    parser.add_argument("--from", dest="start", help="Prometheus: first look, Unix seconds or ISO 8601")
    parser.add_argument("--to", dest="end", help="Prometheus: last look, Unix seconds or ISO 8601")
    parser.add_argument(
        "--picture", type=Path, default=Path("backtest.svg"), help="where to write the picture, .svg or .png"
    )
    parser.add_argument(
        "--null",
        type=int,
        nargs="?",
        const=2000,
        default=0,
        metavar="SPLITS",
        help="compare parts of the stable version with the rest, in so many ways if there are (default 2000): how "
        "often is it rolled back?",
    )
    parser.add_argument("--seed", type=int, help="of the random splits of --null (default 0)")
    parser.add_argument("--json", action="store_true", help="print JSON instead of tables")


def run(options: argparse.Namespace) -> int:
    """Carry the command out; the result is the exit status.

    Raises:
        Unusable: the policy or the looks make no sense.
    """
    _check_options(options)
    console = Console(stderr=True)
    asked = _policy(options.policy)
    _check_shares(options.policy, asked)
    with console.status(f"reading {options.looks}") if console.is_terminal else nullcontext():
        watched, recording = fitted(asked, _recording(options, asked), stable_alone=bool(options.null))
    for name in look_like_counters(recording):
        console.print(
            f"What was counted of {name} never falls from one time to the next in any pod. Are these counters? "
            "Expected is what was counted since the time before.",
            highlight=False,
            soft_wrap=True,
        )
    split = _null(options, watched, recording, console) if options.null else None
    if split is not None and not recording.has_canary:
        if options.json:
            print(json.dumps({"null": _null_document(watched, split)}, indent=2))
        else:
            _show_null(Console(), watched, split)
        return KEEP
    replayed = replay(watched, recording, _progress(console, "replaying"))
    if not replayed.verdicts:
        raise Unusable(f"{options.looks}: expected looks with traffic to the canary, found none")
    try:
        draw(replayed, options.picture)
    except OSError as problem:
        raise Unusable(f"--picture {options.picture}: {problem.strerror}") from problem
    if options.json:
        print(json.dumps(_document(replayed, split), indent=2))
    else:
        _show(replayed, split, asked, recording, options.picture)
    return ROLL_BACK if replayed.last.decision is Decision.ROLLBACK else KEEP


def _null(options: argparse.Namespace, policy: Policy, recording: Recording, console: Console) -> NullSplits:
    rng, each = np.random.default_rng(options.seed or 0), _progress(console, "splitting the stable version")
    split = null_splits(policy, recording, options.null, rng, each)
    if split is None:
        raise Unusable(f"{options.looks}: --null needs at least two looks of the stable version that can be split")
    return split


def _check_options(options: argparse.Namespace) -> None:
    """What can be refused before anything was waited for."""
    if options.picture.suffix not in FORMATS:
        raise Unusable(
            f"--picture: expected a name that ends in {' or '.join(FORMATS)}, found {str(options.picture)!r}"
        )
    if not options.picture.parent.is_dir():
        raise Unusable(
            f"--picture {options.picture}: there is no folder {str(options.picture.parent)!r}; make it first"
        )
    if not 0 <= options.null <= MOST_SPLITS:
        raise Unusable(f"--null: expected a number of splits from 1 to {MOST_SPLITS}, found {options.null}")
    if options.seed is not None and options.seed < 0:
        raise Unusable(f"--seed: expected a number of at least 0, found {options.seed}")
    if options.seed is not None and not options.null:
        raise Unusable("--seed is for the splits of --null: add that, or remove it")
    if not _is_server(options):
        for name, value in _of_a_server(options).items():
            if value:
                raise Unusable(f"{name} is for a Prometheus server, and --looks {options.looks} is a file: remove it")


def _is_server(options: argparse.Namespace) -> bool:
    return bool(options.looks.startswith(("http://", "https://")))


def _of_a_server(options: argparse.Namespace) -> dict[str, str | None]:
    return {"--canary": options.canary, "--stable": options.stable, "--from": options.start, "--to": options.end}


def _policy(path: Path) -> Policy:
    try:
        documents = [one for one in yaml.safe_load_all(path.read_text(encoding="utf-8")) if one is not None]
    except OSError as problem:
        raise Unusable(f"{path}: {problem.strerror}") from problem
    except (yaml.YAMLError, UnicodeDecodeError) as problem:
        raise Unusable(f"{path}: expected YAML or JSON: {problem}") from problem
    objects = [one for one in documents if isinstance(one, dict) and "kind" in one]
    deployments = [
        one for one in objects if one["kind"] == "Deployment" and str(one.get("apiVersion", "")).startswith(f"{GROUP}/")
    ]
    try:
        if len(deployments) == 1:
            return of_deployment(_spec(path, deployments[0]))
        if len(documents) == 1 and isinstance(documents[0], dict) and not objects:
            return Policy.model_validate(documents[0], context=WRITTEN)
    except ValidationError as problem:
        raise Unusable(f"{path}: {sentences(problem)}") from problem
    kinds = [f"a {one['kind'] if one in objects else type(one).__name__}" for one in documents]
    raise Unusable(
        f"{path}: expected the fields of a policy, such as interval and metrics, or one Deployment of {GROUP}, "
        f"found {', '.join(kinds) or 'nothing'}"
    )


def _spec(path: Path, manifest: dict[str, Any]) -> DeploymentSpec:
    """Of a Deployment, from a file: of one that comes from the API server that has refused unknown fields already."""
    definition = custom_resource_definition(DEFINITION, GROUP, VERSION)
    schema = definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    written = {name: part for name, part in manifest.items() if name != "status"}  # which another version may have
    if unknown := list(unknown_fields(schema, written, "Deployment")):
        raise Unusable(f"{path}: {' '.join(unknown)}")
    return DeploymentSpec.model_validate(manifest.get("spec"), context=WRITTEN)


def _check_shares(path: Path, policy: Policy) -> None:
    """Of a share that is nothing there is no logarithm. A Deployment takes no weight that small."""
    for metric in policy.metrics:
        if policy.share(metric) < LEAST_SHARE:
            raise Unusable(
                f"{path}: expected a weight of {metric.name} by which it has a share of falseRollbackProbability of at "
                f"least {LEAST_SHARE:g}, found {metric.weight:g}"
            )


def _recording(options: argparse.Namespace, policy: Policy) -> Recording:
    if not _is_server(options):
        return read(Path(options.looks))
    missing = [name for name, value in _of_a_server(options).items() if not value]
    if missing:
        raise Unusable(f"reading from Prometheus also needs {', '.join(missing)}")
    ends = []
    for name, text in (("--from", options.start), ("--to", options.end)):
        try:
            ends.append(parsed_time(text))
        except ValueError:
            raise Unusable(f"{name}: expected {A_TIME}, found {text!r}") from None
    if ends[1] <= ends[0]:
        raise Unusable(f"--to must be later than --from, found {options.start} to {options.end}")
    step = policy.interval.total_seconds()
    over = Range(ends[0] - ends[0] % step, ends[1], step)  # where servers that align looks have them: at its multiples
    arms = {"canary": options.canary, "stable": options.stable}
    return asyncio.run(scraped(options.looks, policy, arms, over))


def _progress(console: Console, doing: str) -> Each:
    def each(items: Any) -> Any:
        return track(items, doing, console=console, transient=True, disable=not console.is_terminal)

    return each


def _document(replayed: Replay, split: NullSplits | None) -> dict[str, Any]:
    last = replayed.last
    return {
        "decision": str(last.decision),
        "at": None if replayed.decided is None else replayed.times[replayed.decided],
        "metric": last.metric,
        "evidence": last.evidence,
        "threshold": last.threshold,
        "message": last.message,
        "looks": len(replayed.verdicts),
        "intervalSeconds": replayed.policy.interval.total_seconds(),
        "dispersion": {metric.name: metric.dispersion for metric in last.metrics},
        "metrics": [
            {
                "name": metric.name,
                "canary": metric.canary,
                "stable": metric.stable,
                "ratio": metric.ratio,
                "interval": metric.interval,
                "evidence": metric.evidence,
                "crossed": _crossed(replayed, place),
                "looks": metric.looks,
                "skipped": dict(metric.skipped),
            }
            for place, metric in enumerate(last.metrics)
        ],
        "series": [
            {"time": time, "evidence": {metric.name: metric.evidence for metric in said.metrics}}
            for time, said in zip(replayed.times, replayed.verdicts, strict=True)
        ],
        "null": split and _null_document(replayed.policy, split),
    }


def _null_document(policy: Policy, split: NullSplits) -> dict[str, Any]:
    return {
        "rolledBack": split.rolled_back,
        "splits": split.splits,
        "share": split.rolled_back / split.splits,
        "interval": [split.low, split.high],
        "promised": policy.false_rollback_probability,
        "looks": split.looks,
        "by": split.by,
    }


def _crossed(replayed: Replay, place: int) -> float | None:
    """When the metric's own evidence first reached the threshold."""
    pairs = zip(replayed.times, replayed.verdicts, strict=True)
    return next((time for time, said in pairs if said.metrics[place].evidence >= said.threshold), None)


def _show(replayed: Replay, split: NullSplits | None, asked: Policy, recording: Recording, picture: Path) -> None:
    console = Console()
    if replayed.policy.interval != asked.interval:
        console.print(
            f"The looks were recorded every {replayed.policy.interval.total_seconds():g} s, not every "
            f"{asked.interval.total_seconds():g} s as the policy says: analysed as recorded."
        )
    for name, recorded in recording.metrics.items():
        if recorded.kind is Kind.HISTOGRAM:
            how = "cumulative, as they never fall with le" if recorded.cumulative else "counts per bucket"
            console.print(f"The buckets of {name} were read as {how}.")
    table = Table(Column("metric", overflow="fold"), "canary", "stable", "ratio", "interval", "evidence", "crossed")
    for place, metric in enumerate(replayed.last.metrics):
        crossed = _crossed(replayed, place)
        table.add_row(
            metric.name,
            _number(metric.canary),
            _number(metric.stable),
            _number(metric.ratio),
            "-" if metric.interval is None else f"{metric.interval[0]:.3g} to {metric.interval[1]:.3g}",
            f"{metric.evidence:.4g}",
            "never" if crossed is None else f"after {format_duration(replayed.after(crossed))}",
        )
    console.print(table)
    longest = max(len(name) for name in replayed.evidence)
    for name, values in replayed.evidence.items():
        drawn = sketch(values, replayed.last.threshold)
        console.print(f"{name:>{longest}} {drawn}", highlight=False, soft_wrap=True)
    console.print(f"{replayed.last.decision}: {replayed.last.message}", highlight=False, soft_wrap=True)
    used = ", ".join(f"{metric.name} {metric.dispersion:.3g}" for metric in replayed.last.metrics)
    console.print(f"Dispersion: {used}{_estimated(replayed)}.", highlight=False, soft_wrap=True)
    if split is not None:
        _show_null(console, replayed.policy, split)
    console.print(f"Evidence over time: {picture}", highlight=False, soft_wrap=True)


def _estimated(replayed: Replay) -> str:
    """How the dispersions that nobody gave were found."""
    if not any(is_learned(metric) for metric in replayed.policy.metrics):
        return ""
    if replayed.dispersion:
        return " (where it is not given, estimated beforehand from neighbouring looks, since the looks name no pods)"
    return " (where it is not given, estimated from halves of the stable version's pods, as in a rollout)"


def _show_null(console: Console, policy: Policy, split: NullSplits) -> None:
    promised = policy.false_rollback_probability
    said = (
        f"Healthy by construction: {split.rolled_back} of {split.splits} splits of the stable version "
        f"({split.by}, {split.looks} looks each) were rolled back: {100 * split.rolled_back / split.splits:.2f} % "
        f"({100 * split.low:.2f} to {100 * split.high:.2f}), promised at most {100 * promised:g} %."
    )
    needed = math.ceil(_TELLING / promised)
    if split.splits < needed:
        windows = math.ceil(needed / split.splits * split.windows)
        history = format_duration(windows * split.looks * policy.interval)
        said += f" So few splits tell little: some {needed} can, as a history of {history} with as many pods has."
    console.print(said, highlight=False, soft_wrap=True)


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3g}"
