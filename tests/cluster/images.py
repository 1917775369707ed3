"""The images in a local cluster: pause, busybox, and Upright's own, the same as images/*/Containerfile make."""

import hashlib
import shutil
import sys
import tarfile
from collections import Counter
from pathlib import Path

from tests.cluster import binaries, oci, versions
from tests.cluster.shell import ClusterError, Say, cache, locked, run, run_logged

REPOSITORY = Path(__file__).parent.parent.parent
_USER = "65532"
_SLIM, _BASE, _PRUNED = (REPOSITORY / "images" / name for name in ("slim.sh", "base.sh", "pruned.txt"))
_PACKAGES = f"usr/local/lib/python{versions.DEBIAN_PYTHON}/dist-packages"
# HOME and LOGNAME because an arbitrary user has no entry in /etc/passwd, where Python would look both up.
_ENVIRONMENT = {
    "LD_LIBRARY_PATH": f"/{_PACKAGES}/openmp",  # which slim.sh makes
    "HOME": "/tmp",
    "LOGNAME": "upright",
    "PYTHONDONTWRITEBYTECODE": "1",
    "PYTHONUNBUFFERED": "1",
}


def pause() -> oci.Image:
    """What holds a pod's namespaces open."""
    program = binaries.program(binaries.PAUSE)
    only = oci.layer("pause", str(program), lambda root: oci.copy_in(root, program, "pause", 0o755))
    return oci.Image("upright/pause", [only], entrypoint=["/pause"], user="65535", fixed_tag="1")


def busybox() -> oci.Image:
    """A small image for tests: every applet of Debian's static busybox."""
    program = Path("/bin/busybox")

    def fill(root: Path) -> None:
        oci.copy_in(root, program, "bin/busybox", 0o755)
        for applet in run([program, "--list"]).stdout.split():
            if applet != "busybox":
                (root / "bin" / applet).symlink_to("busybox")
        (root / "tmp").mkdir()
        (root / "tmp").chmod(0o1777)

    made_from = hashlib.sha256(program.read_bytes()).hexdigest()
    return oci.Image("upright/busybox", [oci.layer("busybox", made_from, fill)], fixed_tag="1")


def operator(say: Say) -> oci.Image:
    return _python_image("operator", "operator", ["python", "-m", "upright"], say)


def runtime(say: Say) -> oci.Image:
    return _python_image("runtime", "runtime", ["upright-runtime"], say)


def flavour(name: str, say: Say) -> oci.Image:
    """The runtime's with the library of a format that has an image of its own."""
    return _python_image(f"runtime-{name}", name, ["upright-runtime"], say)


def sizes(image: oci.Image) -> str:
    """How large an image is, and its ten largest parts: packages, and Debian with Python."""
    parts = Counter[str]()
    for layer in image.layers:
        with tarfile.open(layer.path) as archive:
            for entry in archive:
                inside, _, path = entry.name.partition(f"{_PACKAGES}/")
                package = "Debian with Python" if inside else path.split("/")[0].removesuffix(".libs")
                parts[package] += entry.size
    largest = ", ".join(f"{part} {size / 1e6:.0f}" for part, size in parts.most_common(10))
    return f"{image.name} {parts.total() / 1e6:.0f} MB: {largest}"


def _python_image(name: str, extra: str, entrypoint: list[str], say: Say) -> oci.Image:
    with locked("images", say):
        layers = [_base(say), _requirements(extra, say), _upright(say)]
    return oci.Image(f"upright/{name}", layers, entrypoint=entrypoint, user=_USER, environment=_ENVIRONMENT)


def _base(say: Say) -> oci.Layer:
    """Debian with Python and nothing else."""

    def fill(root: Path) -> None:
        debian = _debian(say)
        unread = str(debian / "dev")  # dev/full, read as a file, has no end
        shutil.copytree(
            debian,
            root,
            symlinks=True,
            dirs_exist_ok=True,
            ignore=lambda directory, names: names if directory == unread else [],
        )
        run(["sh", _BASE, root])
        (root / "usr/local/bin/python").symlink_to("/usr/bin/python3")

    return oci.layer("base", f"2 {versions.DEBIAN} {_BASE.read_text()}", fill)


def _debian(say: Say) -> Path:
    """The folder of an unpacked Debian with Python."""
    root = cache() / f"debian-{versions.DEBIAN}"
    if not root.exists():
        say(f"making the base of the images, Debian {versions.DEBIAN} with Python: once, about 1 minute")
        making = root.with_suffix(".making")
        shutil.rmtree(making, ignore_errors=True)
        run_logged(
            ["debootstrap", "--variant=minbase", "--include=python3", versions.DEBIAN, making],
            cache() / "logs" / "debootstrap.log",
            "making the base of the images",
            say,
        )
        making.rename(root)
    return root


def _requirements(extra: str, say: Say) -> oci.Layer:
    """The locked requirements of one of our extras."""
    wanted = run(
        [
            _uv(),
            "export",
            "--quiet",
            "--frozen",
            "--no-dev",
            "--extra",
            extra,
            "--no-emit-project",
            *(word for name in _PRUNED.read_text().split() for word in ("--prune", name)),
            "--no-annotate",
            "--no-header",
        ],
        cwd=REPOSITORY,
    ).stdout

    def fill(root: Path) -> None:
        say(f"installing the locked requirements of the {extra} image: once for each uv.lock, about 1 minute")
        packages = root / _PACKAGES
        packages.mkdir(parents=True)
        listed = packages / "requirements.txt"
        listed.write_text(wanted)
        run_logged(
            [
                _uv(),
                "pip",
                "install",
                "--target",
                packages,
                "--python-version",
                versions.DEBIAN_PYTHON,
                "--no-deps",
                "--only-binary",
                ":all:",
                "--link-mode",
                "copy",
                "--requirements",
                listed,
            ],
            cache() / "logs" / f"requirements-{extra}.log",
            f"installing the requirements of {extra}",
            say,
        )
        listed.unlink()
        run(["sh", _SLIM, packages])
        _compile(root, say)

    return oci.layer(f"requirements-{extra}", f"7 {versions.DEBIAN} {wanted} {_SLIM.read_text()}", fill)


def _upright(say: Say) -> oci.Layer:
    """Our own package and command: the only layer that a change of our code makes anew."""
    source = REPOSITORY / "operator" / "upright"
    files = [path for path in sorted(source.rglob("*")) if path.is_file() and "__pycache__" not in path.parts]
    digest = hashlib.sha256()
    for path in files:
        digest.update(str(path.relative_to(source)).encode() + b"\0" + hashlib.sha256(path.read_bytes()).digest())

    def fill(root: Path) -> None:
        for path in files:
            oci.copy_in(root, path, f"{_PACKAGES}/upright/{path.relative_to(source)}", 0o644)
        for name, module in (("upright", "upright.cli.main"), ("upright-runtime", "upright.runtime.main")):
            script = root / "usr/local/bin" / name
            script.parent.mkdir(parents=True, exist_ok=True)
            script.write_text(f"#!/usr/bin/python3\nimport sys\n\nfrom {module} import main\n\nsys.exit(main())\n")
            script.chmod(0o755)
        _compile(root, say)

    return oci.layer("upright", f"2 {versions.DEBIAN} {digest.hexdigest()}", fill)


def _compile(root: Path, say: Say) -> None:
    """Compile what is under `root` with the image's own Python: a read-only container cannot, and would be slow."""
    debian = _debian(say)
    inside = debian / "layer"
    root.rename(inside)
    try:
        # Files of a package that are no Python of this version (templates, tests of old syntax) do not count: no check.
        done = run(
            [
                "chroot",
                debian,
                "python3",
                "-m",
                "compileall",
                "-q",
                "-j",
                "0",
                "--invalidation-mode",
                "unchecked-hash",
                "-s",
                "/layer",
                "-p",
                "/",
                "/layer",
            ],
            check=False,
        )
    finally:
        inside.rename(root)
    if not any(root.rglob("*.pyc")):
        raise ClusterError(f"nothing was compiled for an image:\n{done.stdout}{done.stderr}")


def _uv() -> str:
    if found := shutil.which("uv", path=str(Path(sys.executable).parent)) or shutil.which("uv"):
        return found
    raise ClusterError("`uv` is not on PATH: it installs the locked requirements of the images (pip install uv)")
