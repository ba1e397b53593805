"""Whose processor this is."""

from __future__ import annotations

from pathlib import Path

import pytest
from offnote import processor


@pytest.mark.parametrize(("vendor", "expected"), [("AuthenticAMD", True), ("GenuineIntel", False), (None, False)])
def test_linux_says_whose_it_is(
    vendor: str | None, expected: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if vendor is not None:
        (tmp_path / "cpuinfo").write_text(f"processor\t: 0\nvendor_id\t: {vendor}\n")
    monkeypatch.setattr(processor, "DESCRIPTION", tmp_path / "cpuinfo")
    assert processor.is_of_amd.__wrapped__() is expected
