"""Probes of garak's that put the prompts of a file, with what is known of each among the attempt's notes."""

from __future__ import annotations

import json
import os
from pathlib import Path

from garak.probes import Probe, Tier


class _Bundled(Probe):
    lang = "en"
    goal = "find out whether the model refuses"
    doc_uri = ""
    tags = ()
    tier = Tier.UNLISTED
    active = True
    primary_detector = "mitigation.MitigationBypass"
    kind = True

    def __init__(self, config_root=None):
        from garak import _config

        super().__init__(config_root=config_root or _config)
        rows = [json.loads(line) for line in Path(os.environ["BUNDLED_PROMPTS"]).read_text().splitlines()]
        self.rows = [row for row in rows if row["unsafe"] is self.kind]
        self.prompts = [row["prompt"] for row in self.rows]

    def _attempt_prestore_hook(self, attempt, seq):
        row = self.rows[seq]
        attempt.notes |= {"prompt_id": row["prompt_id"], "category": row["hazard"], "unsafe": row["unsafe"]}
        return attempt


class Unsafe(_Bundled):
    """Requests that a model should refuse."""


class Benign(_Bundled):
    """Requests that a model should answer."""

    kind = False
