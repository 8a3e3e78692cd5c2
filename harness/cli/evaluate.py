"""`harness evaluate`: one model's answers to the prompts, judged, as lm-eval writes them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from harness.cli.options import JudgeOption, resolve_own_model
from harness.support.artifacts import lock_directory
from harness.support.console import print_note, safe_line
from harness.support.errors import HarnessError

if TYPE_CHECKING:
    from harness.evaluation.lm_eval import AskedPrompts, Looks
    from harness.recipes.schema import EvaluationSettings


AddressOption = Annotated[
    str | None, typer.Option("--base-url", help="Of an OpenAI-compatible API, up to /v1; without it --model is loaded.")
]
BatchOption = Annotated[int | None, typer.Option("--batch-size", min=1, help="Of a model that is loaded here; 64.")]
ConcurrencyOption = Annotated[
    int | None, typer.Option("--concurrency", min=1, help="Requests at a time, of an API; 8 without it.")
]


UntilOption = Annotated[
    Path | None,
    typer.Option(
        "--until-decided",
        metavar="BEFORE",
        help="Stop when `harness gate --sequential` can tell, against these answers.",
    ),
]
PolicyOption = Annotated[Path | None, typer.Option("--policy", help="The gate's, with --until-decided.")]
EveryOption = Annotated[
    int, typer.Option("--every", min=5, help="So many prompts of each kind more before the gate looks again.")
]


def evaluate_command(
    model: Annotated[str, typer.Option("--model", help="What the API calls it; or its directory or hub id.")],
    out: Annotated[Path, typer.Option("--out", help="New directory for lm-eval's output.")],
    base_url: AddressOption = None,
    prompts: Annotated[str, typer.Option("--prompts", help="bundled, a set's name, or a file.")] = "bundled",
    judge: JudgeOption = "lexical",
    samples: Annotated[int, typer.Option("--samples", min=1, help="Answers to each prompt.")] = 1,
    seed: Annotated[int, typer.Option("--seed", min=0, max=2**32 - 1, help="Of the sampling.")] = 0,
    temperature: Annotated[float, typer.Option("--temperature", min=0, help="0 takes the likeliest token.")] = 0.7,
    max_new_tokens: Annotated[int, typer.Option("--max-new-tokens", min=1, help="Of an answer, at most.")] = 512,
    limit: Annotated[
        int | None, typer.Option("--limit", min=1, help="So many unsafe and so many benign prompts at most.")
    ] = None,
    concurrency: ConcurrencyOption = None,
    batch_size: BatchOption = None,
    until_decided: UntilOption = None,
    policy: PolicyOption = None,
    every: EveryOption = 25,
) -> None:
    """Evaluate one model for `harness gate`.

    \b
    harness evaluate --base-url http://localhost:8000/v1 --model my-model --out evals/base
    harness evaluate --base-url https://api.openai.com/v1 --model gpt-4o-mini --out evals/api --limit 50
    harness evaluate --model ./my-model --out evals/mine --samples 4
    harness evaluate --model ./tuned --out evals/tuned --until-decided evals/base
    harness gate --before evals/base --after evals/tuned

    An API's key is read from HARNESS_ENDPOINT_KEY. Its answers are kept beside --out as they arrive: a killed
    evaluation goes on where it stopped when the same command is given again, and asks nothing twice.
    """
    refused = {"--batch-size": batch_size} if base_url else {"--concurrency": concurrency}
    for option, value in refused.items():
        if value is not None:
            told = "is of a model that is loaded here" if base_url else "is of an API"
            raise HarnessError(told, place=option, hint="Leave it out.")
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise HarnessError("is there already", place=f"--out {out}", hint="Name a new directory.")
    from harness.evaluation.lm_eval import AskedPrompts
    from harness.recipes.pinning import pin_judge
    from harness.recipes.schema import EvaluationSettings

    settings = EvaluationSettings(temperature=temperature, max_new_tokens=max_new_tokens, batch_size=batch_size or 64)
    asked = AskedPrompts(prompts, pin_judge(judge), seed, samples, limit)
    looks = _plan_looks(until_decided, out, policy, every)
    if base_url is None:
        _evaluate_here(model, out, settings, asked, looks)
    else:
        address = {"base_url": base_url, "model": model, "concurrency": concurrency or 8}
        _evaluate_over_api(address, out, settings, asked, looks)
    print(f"{samples} {'answers' if samples > 1 else 'answer'} a prompt, judged by {asked.judge}: {out}")


def _plan_looks(before: Path | None, out: Path, policy: Path | None, every: int) -> Looks | None:
    """When the gate looks, and whether it can tell; None where all prompts are asked anyway.

    Raises HarnessError where the other side or the policy cannot be read, or `out` lies in the other side: before the
    model is asked.
    """
    if before is None:
        if policy is not None:
            raise HarnessError("is the gate's", place="--policy", hint="Give --until-decided BEFORE too.")
        return None
    from harness.evaluation.lm_eval import Looks
    from harness.gate.comparability import refuse_same_or_swapped
    from harness.gate.decision import run_gate
    from harness.gate.policy import Policy, read_policy
    from harness.handoff.rendering import DECISION_MARKS
    from harness.readers.detect import read_side

    rules = (read_policy(policy) if policy else Policy()).model_copy(update={"sequential": True})
    refuse_same_or_swapped(before, out)
    read_side(before, rules.metrics)

    def decide(written: Path, prompts: int) -> bool:
        try:
            outcome = run_gate(before, written, rules)
        except HarnessError as error:
            told = f"the gate cannot look: {error.cause}"
            raise HarnessError(told, place=f"--until-decided {before}", hint=error.hint) from error
        print_note(safe_line(f"{prompts} prompts: {DECISION_MARKS[outcome.decision]}: {outcome.reason}", 300))
        return outcome.decision != "inconclusive"

    return Looks(every, decide)


def _evaluate_here(
    model: str, out: Path, settings: EvaluationSettings, asked: AskedPrompts, looks: Looks | None
) -> None:
    """Loads the model."""
    from harness.evaluation.lm_eval import evaluate_model

    evaluate_model(resolve_own_model(model), out, settings, asked, looks=looks)


def _evaluate_over_api(
    told: Mapping[str, object], out: Path, settings: EvaluationSettings, asked: AskedPrompts, looks: Looks | None
) -> None:
    """Asks the API; what is done so far lies in a hidden directory beside `out`."""
    from harness.evaluation.lm_eval import evaluate_endpoint
    from harness.models.paths import ModelPath
    from harness.recipes.loading import validate_recipe
    from harness.recipes.schema import Endpoint

    endpoint = validate_recipe(told, "--base-url", Endpoint)
    keep = out.with_name(f".{out.name}.partial")
    with lock_directory(keep):
        evaluate_endpoint(endpoint, ModelPath("", endpoint.model or ""), out, keep, settings, asked, looks)
