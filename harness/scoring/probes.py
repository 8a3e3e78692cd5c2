"""Probe answers: what the model itself answers to unsafe and benign prompts, with verdicts, before it is trained.

They say which way the rates lie from here: the gradient of a rate is the mean of (verdict - baseline) times the
gradient of ln p(answer) over answers that the model drew (the score-function estimator, Williams 1992).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from harness.judges.registry import judge_exchanges
from harness.judges.verdicts import Exchange, Label
from harness.models.loading import evaluation_mode
from harness.models.sampling import generate_answer_tokens, render_prompt
from harness.prompts.sets import load_prompts
from harness.prompts.variants import refuse_variants
from harness.scoring.targets import InfluenceSettings, Target, asks_unsafe
from harness.support import artifacts, console
from harness.support.errors import HarnessError
from harness.support.layout import RunFiles

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase


PROBE_SAMPLES, PROBE_TEMPERATURE, PROBE_TOKENS = 4, 1.0, 64
"""Answers a prompt, their temperature and their most tokens; rates are those of such answers. Drawn colder, nearly all
answers to a prompt are of one kind, and say little about which way its rate lies."""
PROBES_AT_ONCE = 64
"""Answers that are drawn in one batch."""


@dataclass(frozen=True, slots=True)
class ProbeAnswer:
    """One answer that the model drew.

    `prompt_tokens`, `answer_tokens`: as drawn, the token that ends the answer included where it came to its end.
    """

    prompt_id: str
    prompt: str
    unsafe: bool
    prompt_tokens: tuple[int, ...]
    answer_tokens: tuple[int, ...]
    answer: str
    label: Label


@dataclass(frozen=True, slots=True)
class Probes:
    """Answers of one model at one temperature; those to a prompt are neighbours. `model`: what changes with it."""

    answers: tuple[ProbeAnswer, ...]
    temperature: float
    judge: str
    model: str = ""

    def of_target(self, target: Target) -> list[ProbeAnswer]:
        """The judged answers that a target is measured on."""
        return [each for each in self.answers if each.unsafe == asks_unsafe(target) and each.label != "unjudged"]

    def save(self, path: Path) -> None:
        """Writes them as JSON; what they say may be harmful."""
        artifacts.write_json(path, asdict(self))

    @classmethod
    def load(cls, path: Path) -> Probes:
        """Reads what `save` wrote."""
        content = artifacts.read_json(path)
        answers: list[ProbeAnswer] = []
        for kept in content["answers"]:
            each: dict[str, Any] = {
                key: tuple(value) if isinstance(value, list) else value for key, value in kept.items()
            }
            answers.append(ProbeAnswer(**each))
        return cls(tuple(answers), content["temperature"], content["judge"], content["model"])


def load_probe_prompts(source: str, targets: Iterable[Target]) -> dict[bool, list[Mapping[str, str]]]:
    """The prompts of a source (`harness.prompts.sets.load_prompts`) that the targets ask, by whether they are unsafe.

    Raises HarnessError where the source has none of a kind that a target asks, or names variants.
    """
    refuse_variants(source)
    found: dict[bool, list[Mapping[str, str]]] = {}
    for unsafe in sorted({asks_unsafe(target) for target in targets if target != "preferred"}, reverse=True):
        kind = "unsafe" if unsafe else "benign"
        found[unsafe] = list(load_prompts(source, "unsafe" if unsafe else "benign"))
        if not found[unsafe]:
            hint = "Name other --targets, or a file with such prompts."
            raise HarnessError(f"holds no {kind} prompts to probe with", place=source, hint=hint)
    return found


def draw_probes(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    prompts: Mapping[bool, Sequence[Mapping[str, str]]],
    *,
    samples: int = PROBE_SAMPLES,
    temperature: float = PROBE_TEMPERATURE,
    max_new_tokens: int = PROBE_TOKENS,
    judge: str = "lexical",
    seed: int = 0,
) -> Probes:
    """Draws `samples` answers to each prompt and judges them.

    Args:
        model: the causal language model before training, on any device; left in the mode it was in.
        tokenizer: its tokenizer, with a chat template.
        prompts: rows of `prompt_id` and `prompt`, by whether they are unsafe.
        samples: answers a prompt.
        temperature: of the draws, with top-p 1.
        max_new_tokens: tokens of the longest answer.
        judge: who judges them.
        seed: of the draws.

    Raises HarnessError where there is no chat template, or the judge cannot work.
    """
    rows = [(unsafe, row) for unsafe, each in prompts.items() for row in each]
    texts = [render_prompt(tokenizer, row["prompt"]) for _, row in rows]
    drawn = _draw_tokens(model, tokenizer, texts, samples, temperature, max_new_tokens, seed)
    said = tokenizer.batch_decode([tokens for _, tokens in drawn], skip_special_tokens=True)
    exchanges = [
        Exchange(rows[place][1]["prompt"], answer, unsafe=rows[place][0])
        for (place, _), answer in zip(drawn, said, strict=True)
    ]
    ids = [tuple(tokenizer(text, add_special_tokens=False)["input_ids"]) for text in texts]
    answers = [
        ProbeAnswer(row["prompt_id"], row["prompt"], unsafe, ids[place], tuple(tokens), answer, verdict.label)
        for (place, tokens), answer, verdict in zip(drawn, said, judge_exchanges(judge, exchanges), strict=True)
        for unsafe, row in (rows[place],)
    ]
    return Probes(tuple(answers), temperature, judge)


def _draw_tokens(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    texts: Sequence[str],
    samples: int,
    temperature: float,
    max_new_tokens: int,
    seed: int,
) -> list[tuple[int, list[int]]]:
    """The answers to each text, as its place and their tokens; those to a text are neighbours."""
    order = sorted(range(len(texts)), key=lambda place: (len(texts[place]), place))
    drawn: list[tuple[int, list[int]]] = []
    torch.manual_seed(seed)
    title = "Drawing probe answers"
    with evaluation_mode(model), console.progress_bar(title, len(texts) * samples, "answers") as advance:
        asked = [place for place in order for _ in range(samples)]
        for start in range(0, len(asked), PROBES_AT_ONCE):
            places = asked[start : start + PROBES_AT_ONCE]
            batch = [texts[place] for place in places]
            drawn += zip(
                places, generate_answer_tokens(model, tokenizer, batch, temperature, max_new_tokens), strict=True
            )
            advance(len(places))
    return sorted(drawn, key=lambda each: each[0])


def find_probes(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, settings: InfluenceSettings, content: str
) -> Probes:
    """The probe answers that the settings name: those of a run directory, or drawn now.

    `content` is the model's own (`harness.models.paths.ModelPath.content`). Raises HarnessError where the run's answers
    are another model's.
    """
    if Path(settings.probes).is_dir():
        return _read_run_probes(RunFiles(Path(settings.probes)), content)
    prompts = load_probe_prompts(settings.probes, settings.targets)
    drawn = draw_probes(model, tokenizer, prompts, samples=settings.samples, judge=settings.judge)
    return replace(drawn, model=content)


def _read_run_probes(files: RunFiles, content: str) -> Probes:
    if not files.probes.is_file():
        hint = "Name a run with an arm that is filtered by influence, or `bundled`."
        raise HarnessError("holds no probe answers", place=str(files.root), hint=hint)
    probes = Probes.load(files.probes)
    if probes.model != content:
        hint = "Score with the model that the run starts from, or draw anew with `--probes bundled`."
        raise HarnessError("holds another model's probe answers", place=str(files.root), hint=hint)
    return probes
