"""The HTML report: one file, a pure function of run directories, safe to open whatever a model wrote."""

from __future__ import annotations

from reports.page import render_report

__all__ = ["render_report"]
