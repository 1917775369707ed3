"""The command `data`: what a run is about to read, with digests, against the pins."""

import shutil
from collections.abc import Mapping
from pathlib import Path

from upright.api.artifact import CodeSpec, Inputs, Source, SourceSpec, digest_of_files
from upright.runtime.environment import folder_of, run_of, this_user
from upright.runtime.folder import EscapeError, NotAFileError, entries
from upright.runtime.outcome import FailedError, RefusedError

LINEAGE = "data.json"
_COPIED = "configmap://"
_MOUNTED = ("pvc://", _COPIED)


def check_inputs(environment: Mapping[str, str]) -> Inputs:
    """Compute the digest of every input, check the pins, and leave the digests in UPRIGHT_WORK for `publish`, and in
    `data/NAME` and `code` there what ConfigMaps hold: `train` gets that.

    Raises RefusedError or FailedError.
    """
    run, work = run_of(environment), folder_of(environment, "UPRIGHT_WORK")
    sources = [
        _read(
            f"data source {source.name}",
            source,
            source.name,
            folder_of(environment, "UPRIGHT_DATA") / source.name,
            work / "data" / source.name,
        )
        for source in run.data
    ]
    code = _read("code", run.code, "code", folder_of(environment, "UPRIGHT_CODE"), work / "code") if run.code else None
    inputs = Inputs(data=tuple(sources), code=code)
    lineage = work / LINEAGE
    lineage.write_text(inputs.model_dump_json(by_alias=True), encoding="utf-8")
    for source in (*sources, *([code] if code else [])):
        print(f"{source.name}: {source.uri} {source.digest}", flush=True)
    return inputs


def _read(what: str, spec: SourceSpec | CodeSpec, name: str, folder: Path, copy: Path) -> Source:
    if not spec.uri.startswith(_MOUNTED):
        raise RefusedError(
            "UnsupportedSource",
            f"The {what} is at {spec.uri}; this version of Upright reads pvc://CLAIM/PATH and configmap://NAME only: "
            "copy it to a claim or a ConfigMap",
        )
    try:
        files = entries(_copied(folder, copy) if spec.uri.startswith(_COPIED) else folder)
    except FileNotFoundError:
        files = []
    except EscapeError as error:
        raise RefusedError("DataEscapes", f"The {what} at {spec.uri} cannot be used: {error}") from None
    except NotAFileError as error:
        raise RefusedError(
            "DataNotAFile", f"The {what} at {spec.uri} cannot be used: {error}; leave only files and folders there"
        ) from None
    except OSError as error:
        raise FailedError(
            "DataUnreadable",
            f"The {what} at {spec.uri} cannot be read by {this_user()}: {error}. "
            "Let that user or group read it: on the volume, or by securityContext in spec.train.pod",
        ) from error
    if not files:
        raise FailedError(
            "DataMissing", f"The {what} at {spec.uri} holds no file: correct the URI, or put the files there"
        )
    found = digest_of_files(files)
    if spec.digest and spec.digest != found:
        raise RefusedError(
            "DataPinMismatch",
            f"The {what} at {spec.uri} has digest {found}, but is pinned to {spec.digest}: "
            "restore the content, or pin the new digest",
        )
    return Source(name=name, uri=spec.uri, digest=found)


def _copied(folder: Path, copy: Path) -> Path:
    """A ConfigMap's files where nobody changes them: what is mounted follows the ConfigMap while the run goes on."""
    now = folder / "..data"  # the kubelet puts another folder behind this link, with everything in it
    root = (now if now.exists() else folder).resolve(strict=True)
    shutil.rmtree(copy, ignore_errors=True)
    for entry in entries(root):
        (copy / entry.path).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(root / entry.path, copy / entry.path)
    return copy
