"""Says at the end how many cases were tried."""

from __future__ import annotations

import pytest


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    counted = [
        (report.nodeid.rpartition("::")[2], report.duration, dict(report.user_properties)["cases"])
        for reports in terminalreporter.stats.values()
        for report in reports
        if "cases" in dict(getattr(report, "user_properties", ())) and report.when == "teardown"
    ]
    for name, _, counts in counted:
        terminalreporter.write_line(f"{sum(counts.values()):7} cases, {counts['refused']:7} refused: {name}")
    if counted:
        total = sum(sum(counts.values()) for _, _, counts in counted)
        terminalreporter.write_line(f"{total:7} cases in all")
