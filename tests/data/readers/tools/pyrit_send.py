"""Sends the prompts with PyRIT and writes its memory: `python pyrit_send.py BASE_URL MODEL PROMPTS.jsonl OUT.json`.

PyRIT 1 has no export of its own: what is written is what its models dump.
"""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path

from pyrit.executor.attack import AttackExecutor, AttackScoringConfig, PromptSendingAttack
from pyrit.memory import CentralMemory
from pyrit.prompt_target import OpenAIChatTarget
from pyrit.score import SelfAskRefusalScorer
from pyrit.setup import IN_MEMORY, initialize_pyrit_async


async def send(url: str, model: str, prompts: Path, out: Path) -> None:
    await initialize_pyrit_async(IN_MEMORY)
    rows = [json.loads(line) for line in prompts.read_text().splitlines()]
    target = OpenAIChatTarget(endpoint=url, api_key="none", model_name=model, temperature=0.0)
    grader = SelfAskRefusalScorer(chat_target=OpenAIChatTarget(endpoint=url, api_key="none", model_name="grader"))
    attack = PromptSendingAttack(
        objective_target=target, attack_scoring_config=AttackScoringConfig(auxiliary_scorers=[grader])
    )
    labels = [{"prompt_id": r["prompt_id"], "category": r["hazard"], "unsafe": str(r["unsafe"]).lower()} for r in rows]
    results = await AttackExecutor(max_concurrency=4).execute_attack_async(
        attack=attack,
        objectives=[row["prompt"] for row in rows],
        field_overrides=[{"memory_labels": each} for each in labels],
    )
    results.raise_if_incomplete()
    memory = CentralMemory.get_memory_instance()
    kept = {
        "attack_results": memory.get_attack_results(),
        "message_pieces": memory.get_message_pieces(),
        "scores": memory.get_prompt_scores(),
    }
    out.write_text(json.dumps({name: [each.model_dump(mode="json") for each in some] for name, some in kept.items()}))


if __name__ == "__main__":
    asyncio.run(send(sys.argv[1], sys.argv[2], Path(sys.argv[3]), Path(sys.argv[4])))
