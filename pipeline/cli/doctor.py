"""`tocsin doctor`: what this machine has, what is configured, and what is wrong with it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

import typer

from pipeline.cli.checks import CHECKS, Note
from pipeline.cli.help import described
from pipeline.cli.output import print_json, show
from pipeline.errors import TocsinError


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing looked at. `note`: it is fine, with something to know; `-`: it could not be looked at."""

    what: str
    mark: Literal["ok", "note", "BAD", "-"]
    said: str

    @property
    def fine(self) -> bool:
        return self.mark in ("ok", "note")


def register(root: typer.Typer) -> None:
    root.command("doctor", help=described("Check this machine and the configuration.", "tocsin doctor --json"))(doctor)


def doctor(json: bool = typer.Option(False, "--json", help="one JSON object a line")) -> None:
    findings = _findings(CHECKS)
    for finding in findings:
        if json:
            print_json({"what": finding.what, "ok": finding.fine, "said": finding.said})
        else:
            show(f"{finding.mark:4} {finding.what:12} {finding.said}")
    if not all(finding.fine for finding in findings):
        raise typer.Exit(1)


def _findings(checks: Mapping[str, Callable[[], str]]) -> list[Finding]:
    """What each check found; one that fails like one before it points there."""
    wrong: dict[str, str] = {}
    findings = []
    for what, check in checks.items():
        finding = _look(what, check)
        if not finding.fine and wrong.setdefault(finding.said, what) != what:
            finding = Finding(what, "-", f"not looked at: see {wrong[finding.said]}")
        findings.append(finding)
    return findings


def _look(what: str, check: Callable[[], str]) -> Finding:
    try:
        return Finding(what, "ok", check())
    except Note as note:
        return Finding(what, "note", str(note))
    except TocsinError as error:
        return Finding(what, "BAD", str(error))
