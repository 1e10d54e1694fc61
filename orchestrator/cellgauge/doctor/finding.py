"""What the doctor says: one finding about one thing, and what to do about it."""

from typing import Literal, Self

from pydantic import model_validator

from cellgauge.specs import Spec

FindingName = Literal[
    "versions",
    "engine",
    "engine address",
    "shared folders",
    "cgroup limits",
    "swap limit",
    "seccomp",
    "gpu",
    "gpu toolkit",
    "gpu links",
    "results folder",
    "results disk",
    "cache folder",
    "cache disk",
    "image disk",
    "temporary disk",
    "clock",
    "cpu",
    "open files",
    "logout",
    "tasks",
]


class Finding(Spec):
    """One thing that was looked at."""

    name: FindingName
    state: Literal["ok", "warning", "problem"]
    detail: str
    """What was seen, with figures."""
    fix: str = ""
    """What to do; empty where nothing is wrong."""

    @model_validator(mode="after")
    def _what_is_wrong_can_be_mended(self) -> Self:
        if (self.state == "ok") is bool(self.fix):
            raise ValueError("a finding has a fix if and only if something is wrong")
        return self


class Report(Spec):
    """Everything that the doctor found."""

    schema_version: Literal[1] = 1
    ok: bool
    """False if there is a problem; warnings do not count."""
    findings: tuple[Finding, ...]


def ok(name: FindingName, detail: str) -> Finding:
    """Nothing is wrong."""
    return Finding(name=name, state="ok", detail=detail)


def warning(name: FindingName, detail: str, fix: str) -> Finding:
    """Runs work, or most do, and something may surprise."""
    return Finding(name=name, state="warning", detail=detail, fix=fix)


def problem(name: FindingName, detail: str, fix: str) -> Finding:
    """Runs cannot work."""
    return Finding(name=name, state="problem", detail=detail, fix=fix)


def softened(finding: Finding) -> Finding:
    """A problem of something that is not going to be used."""
    return finding.model_copy(update={"state": "warning"}) if finding.state == "problem" else finding
