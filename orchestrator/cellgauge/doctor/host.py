"""Judges the machine itself: disks, folders, clock, processor, what a login session allows."""

import os
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from cellgauge.doctor.finding import Finding, FindingName, ok, problem, warning
from cellgauge.specs import Spec

PACKAGES = ("cellgauge", "anndata", "scanpy", "numpy", "scipy", "pandas", "scikit-learn", "h5py", "docker", "pydantic")
GB = 10**9


class Disk(Spec):
    """A file system, as seen from one folder."""

    path: Path
    free: int
    """Bytes that this user may take."""
    total: int
    inodes: float | None
    """Share of free inodes; None where the file system has no such limit."""


# --- facts ----------------------------------------------------------------------------------------------------------


def nearest(path: Path) -> Path:
    """Find the nearest folder above a path, or itself, that is there."""
    path = path.absolute()
    return next(one for one in (path, *path.parents) if os.path.exists(one))  # noqa: PTH110 - never raises


def disk(path: Path) -> Disk:
    """Ask the file system that a path is or will be on."""
    where = nearest(path)
    told = os.statvfs(where)
    share = told.f_favail / told.f_files if told.f_files else None
    return Disk(path=where, free=told.f_bavail * told.f_frsize, total=told.f_blocks * told.f_frsize, inodes=share)


def refusal(path: Path) -> OSError | None:
    """Try to write where a folder is or will be; what the system says against it."""
    try:
        with tempfile.TemporaryFile(dir=nearest(path)) as file:
            file.write(b"cellgauge")
            file.flush()
    except OSError as reason:
        return reason
    return None


def versions() -> dict[str, str]:
    """Versions of cellgauge and what its results rest on; empty for what is not installed."""
    found = {}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = ""
    return found


def logind(roots: Iterable[Path] = (Path("/usr/lib"), Path("/run"), Path("/etc"))) -> dict[str, str]:
    """Read what is set of systemd-logind: the main file first, then additions by name."""
    roots = tuple(roots)
    main = [root / "systemd/logind.conf" for root in roots]
    more = {file.name: file for root in roots for file in (root / "systemd/logind.conf.d").glob("*.conf")}
    found: dict[str, str] = {}
    for file in [*main, *(more[name] for name in sorted(more))]:
        for line in file.read_text(errors="replace").splitlines() if file.is_file() else ():
            key, equals, value = line.partition("=")
            if equals and not key.lstrip().startswith(("#", ";")):
                found[key.strip()] = value.strip()
    return found


# --- judgements -----------------------------------------------------------------------------------------------------


def space(name: FindingName, disk: Disk, little: float, none: float, fix: str) -> Finding:
    """Judge free space.

    Parameters
    ----------
    little, none
        Gigabytes below which to warn, and below which nothing works.
    """
    seen = f"{disk.path}: {disk.free / GB:.1f} GB free of {disk.total / GB:.0f} GB"
    if disk.inodes is not None:
        seen += f", {disk.inodes:.0%} of inodes free"
    if disk.free < none * GB:
        return problem(name, seen, fix)
    if disk.free < little * GB or (disk.inodes is not None and disk.inodes < 0.05):
        return warning(name, seen, fix)
    return ok(name, seen)


def folder(name: FindingName, path: Path, refusal: OSError | None, elsewhere: str) -> Finding:
    """Judge whether a folder can be written.

    Parameters
    ----------
    elsewhere
        The option or variable that names another one.
    """
    where = path.absolute()
    if not refusal:
        return ok(name, f"{where} can be {'written' if where.exists() else 'made'}")
    fix = f"Change its owner or rights, or name another folder with {elsewhere}."
    return problem(name, f"{where} cannot be written: {refusal.strerror or refusal}", fix)


def clock(now: datetime, skew: float | None) -> Finding:
    """Judge this machine's clock, and by how many seconds the engine's goes ahead of it."""
    seen, fix = f"{now:%Y-%m-%d %H:%M:%S %Z}", "Let the clock be set from the network: sudo timedatectl set-ntp true"
    if now.year < 2024:
        return problem("clock", f"{seen} is in the past", fix)
    if skew is None:
        return ok("clock", seen)
    seen += f", the engine's is {abs(skew):.1f} s {'ahead' if skew > 0 else 'behind'}"
    if abs(skew) > 300:
        return problem("clock", seen, fix)
    return warning("clock", seen, fix) if abs(skew) > 5 else ok("clock", seen)


def processor(flags: frozenset[str], needed: Mapping[str, Iterable[str]]) -> Finding:
    """Judge whether the processor can do what models need.

    Parameters
    ----------
    needed
        Features by model.
    """
    lacking = {model: sorted(set(features) - flags) for model, features in needed.items()}
    lines = [f"{model} needs {', '.join(features)}" for model, features in lacking.items() if features]
    if lines:
        fix = "Run these models on another machine; in a virtual machine, let it see the host's processor."
        return warning("cpu", f"this processor lacks what models need: {'; '.join(lines)}", fix)
    wide = [one for one in ("avx", "avx2", "avx512f", "amx_tile", "asimd", "sve") if one in flags]
    return ok("cpu", f"{', '.join(wide) or 'no vector extensions'}; has all that {len(lacking)} models need")


def files(soft: int) -> Finding:
    """Judge how many files one process may hold open; -1 is no limit."""
    if 0 <= soft < 1024:
        return warning("open files", f"a process may open {soft}", "ulimit -n 4096, or raise `nofile` in limits.conf.")
    return ok("open files", f"a process may open {'any number' if soft < 0 else soft}")


def logout(settings: Mapping[str, str], user: str, lingers: bool) -> Finding:
    """Judge whether a run that was left alone lives on after its user logs out."""
    kills = settings.get("KillUserProcesses", "no").lower() in ("yes", "true", "on", "1", "y", "t")
    only, spared = settings.get("KillOnlyUsers", "").split(), settings.get("KillExcludeUsers", "root").split()
    if not kills or lingers or user in spared or (only and user not in only):
        return ok("logout", "runs in the background outlive a logout")
    return warning("logout", "KillUserProcesses=yes: runs end at logout", f"sudo loginctl enable-linger {user}")


def tasks(known: Sequence[str], broken: Sequence[str]) -> Finding:
    """Judge the tasks of other packages: one that cannot be had is in the way of nobody who does not ask for it."""
    if broken:
        return warning("tasks", "; ".join(broken), "Mend that package, or uninstall it from this environment.")
    return ok("tasks", f"all {len(known)} can be had")


def installed(versions: Mapping[str, str]) -> Finding:
    """Tell versions, and judge whether all is installed."""
    seen = ", ".join(f"{name} {number or 'is missing'}" for name, number in versions.items())
    if not all(versions.values()):
        return problem("versions", seen, "Install cellgauge again: pip install --force-reinstall cellgauge")
    return ok("versions", seen)
