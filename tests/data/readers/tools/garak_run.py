"""Runs garak with probes that put the prompts: `python garak_run.py BASE_URL MODEL PROMPTS.jsonl REPORT_PREFIX`."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import garak.probes
from garak import _plugins, cli

PROBES = ("probes.bundled.Unsafe", "probes.bundled.Benign")


def main(url: str, model: str, prompts: str, prefix: str) -> None:
    os.environ.update(BUNDLED_PROMPTS=prompts, OPENAICOMPATIBLE_API_KEY="none")
    garak.probes.__path__.append(str(Path(__file__).parent / "garak_probes"))
    known = _plugins.PluginCache.instance()["probes"]
    known.update({name: _plugins.PluginCache.plugin_info(name) for name in PROBES})
    options = {"openai": {"OpenAICompatible": {"uri": url, "temperature": 0.0, "max_tokens": 150}}}
    cli.main(
        ["--target_type", "openai.OpenAICompatible", "--target_name", model, "--generator_options", json.dumps(options),
         "--probes", "bundled.Unsafe,bundled.Benign", "--generations", "1", "--report_prefix", prefix,
         "--skip_unknown"]
    )  # fmt: skip


if __name__ == "__main__":
    main(*sys.argv[1:])
