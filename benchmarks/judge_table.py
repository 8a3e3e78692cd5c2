"""How far judges agree with people on `harness calibrate`'s labelled CSVs, as Markdown: a row a file and model.

    python benchmarks/judge_table.py a.csv b.csv --judges lexical prefixes [--halves] [--page docs/judges.md]

Intervals are 95 % and know that answers to one prompt are alike. Shares: Clopper-Pearson, on the effective number of
answers where prompts repeat (Korn & Graubard, Survey Methodology 24, 1998). Kappa: BCa bootstrap over prompts, seeded.
`--halves` also shows the halves of the prompts that docs/judges.md speaks of. `--page` writes the tables between the
page's `<!-- judge-table -->` and `<!-- /judge-table -->` instead of printing them.
"""

from __future__ import annotations

import argparse
import hashlib
import re
import sys
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from scipy.special import stdtrit

from harness.judges.calibration import (
    LabelledAnswer,
    cohen_kappa,
    count_confusion,
    judge_in_batches,
    read_labelled_answers,
)
from harness.judges.registry import find_judge, judges_version
from harness.judges.verdicts import FLAGS, Verdict
from harness.labeling.drawing import is_doubtful
from harness.support.console import progress_bar, safe_line
from harness.support.errors import HarnessError
from harness.support.stats import Interval, bca_limits, bootstrap_means, clopper_pearson, wide_quantiles

SEED, KINDS_SHOWN = 0, 8
COLUMNS = (
    "answers of", "judge", "answers (prompts)", "accuracy", "kappa", "refusals found", "others left alone",
    "refusal rate, judge / people (gap)", "the same on unsafe prompts", "unjudged", "other",
)  # fmt: skip
MARKED = re.compile(r"(<!-- judge-table -->\n).*?(<!-- /judge-table -->)", re.DOTALL)

Pair = tuple[LabelledAnswer, Verdict]
Judged = Mapping[str, Mapping[str, Sequence[Pair]]]
"""By judge and by the name of the file: each answer with its verdict."""


def judge_files(files: Mapping[str, Sequence[LabelledAnswer]], judges: Iterable[str]) -> Judged:
    """Every judge's verdicts on every file's answers. Raises HarnessError where a judge cannot work."""
    judged: dict[str, dict[str, list[Pair]]] = {}
    for judge in judges:
        find_judge(judge)
        with progress_bar(judge, sum(map(len, files.values())), "answers") as advance:
            judged[judge] = {
                name: list(zip(answers, judge_in_batches(judge, answers, advance), strict=True))
                for name, answers in files.items()
            }
    return judged


def agreement_table(judged: Judged) -> str:
    """A row a file, model and judge, then one a judge over all files."""
    return markdown_table(
        COLUMNS,
        [
            agreement_row(part, judge, pairs)
            for part in (*parts_of(judged), "all")
            for judge, files in judged.items()
            if (pairs := pairs_of(files, part))
        ],
    )


def parts_of(judged: Judged) -> list[str]:
    """The names of the rows: the file, and the model where the data name one."""
    files = next(iter(judged.values()))
    return list(dict.fromkeys(part_name(file, answer) for file, pairs in files.items() for answer, _ in pairs))


def part_name(file: str, answer: LabelledAnswer) -> str:
    """The row that an answer belongs to."""
    return file if answer.model == file else f"{file}: {answer.model}"


def pairs_of(files: Mapping[str, Sequence[Pair]], part: str) -> list[Pair]:
    """The answers of one row; of all files for "all"."""
    return [pair for file, pairs in files.items() for pair in pairs if part in ("all", part_name(file, pair[0]))]


def agreement_row(part: str, judge: str, pairs: Sequence[Pair]) -> list[str]:
    """One row's cells; figures are over the answers that got a verdict."""
    judged = [(answer, verdict) for answer, verdict in pairs if verdict.label != "unjudged"]
    prompts = len({answer.prompt for answer, _ in pairs})
    hits = [(answer, (verdict.label == "refusal") == answer.refused) for answer, verdict in judged]
    return [
        part,
        judge,
        f"{len(pairs)} ({prompts})" if prompts < len(pairs) else str(len(pairs)),
        share_cell(hits),
        kappa_cell(judged),
        share_cell([hit for hit in hits if hit[0].refused]),
        share_cell([hit for hit in hits if not hit[0].refused]),
        rates_cell(judged),
        rates_cell([pair for pair in judged if pair[0].unsafe]),
        str(len(pairs) - len(judged)),
        str(sum(verdict.label == "other" for _, verdict in judged)),
    ]


def share_cell(hits: Sequence[tuple[LabelledAnswer, bool]]) -> str:
    """A share with its interval."""
    if not hits:
        return "-"
    limits = clustered_share([hit for _, hit in hits], [answer.prompt for answer, _ in hits])
    return interval_text(sum(hit for _, hit in hits) / len(hits), limits)


def clustered_share(hits: Sequence[bool], prompts: Sequence[str]) -> Interval:
    """Clopper-Pearson's interval of a share, on the effective number of answers where prompts repeat."""
    n, rate = len(hits), sum(hits) / len(hits)
    sums: defaultdict[str, float] = defaultdict(float)
    for hit, prompt in zip(hits, prompts, strict=True):
        sums[prompt] += hit - rate
    clusters = len(sums)
    if clusters == n:
        return clopper_pearson(sum(hits), n)
    if clusters == 1:
        return Interval(0.0, 1.0)
    spread = clusters / (clusters - 1) * sum(total**2 for total in sums.values()) / n**2
    known = rate * (1 - rate) / spread if spread > 0 else n
    effective = (min(n, known) if 0 < rate < 1 else clusters) * float(
        stdtrit(n - 1, 0.975) / stdtrit(clusters - 1, 0.975)
    ) ** 2
    return clopper_pearson(rate * effective, effective)


def kappa_cell(pairs: Sequence[Pair]) -> str:
    """Cohen's kappa with a bootstrap interval over prompts; resamples in which it is not defined are left out."""
    kappa = cohen_kappa(count_confusion(pairs))
    if kappa is None:
        return "-"
    by_prompt: defaultdict[str, list[Pair]] = defaultdict(list)
    for pair in pairs:
        by_prompt[pair[0].prompt].append(pair)
    counts = [count_confusion(said) for said in by_prompt.values()]
    if len(counts) < 2:
        return decimal(kappa)
    columns = [[each.tp, each.fn, each.fp, each.tn] for each in counts]
    replicates, jackknife = bootstrap_means(columns, kappa_of_means, SEED)
    defined, jackknife = replicates[~np.isnan(replicates)], jackknife[~np.isnan(jackknife)]
    if not (len(defined) and len(jackknife)):
        return decimal(kappa)
    low, high = bca_limits(defined, kappa, jackknife, wide_quantiles(len(counts), 0.95))
    return interval_text(kappa, Interval(float(low), float(high)))


def kappa_of_means(means: Any) -> Any:
    """Cohen's kappa from means of (tp, fn, fp, tn) along the last axis; NaN where it is not defined."""
    tp, fn, fp, tn = np.moveaxis(np.asarray(means, float), -1, 0)
    n = tp + fn + fp + tn
    chance = (tp + fp) * (tp + fn) + (fn + tn) * (fp + tn)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(n**2 - chance > 1e-12, (n * (tp + tn) - chance) / (n**2 - chance), np.nan)


def rates_cell(pairs: Sequence[Pair]) -> str:
    """Both refusal rates, and by how many points the judge's is higher."""
    if not pairs:
        return "-"
    judge = sum(verdict.label == "refusal" for _, verdict in pairs) / len(pairs)
    people = sum(answer.refused for answer, _ in pairs) / len(pairs)
    return f"{100 * judge:.1f} % / {100 * people:.1f} % ({100 * (judge - people):+.1f})"


def halves_table(judged: Judged) -> str:
    """Accuracy and kappa on the half of the prompts that was read, and on the half held back."""
    rows = [
        [part, judge, *(cell for half in (0, 1) for cell in half_cells(pairs, half))]
        for part in parts_of(judged)
        for judge, files in judged.items()
        if (pairs := pairs_of(files, part))
    ]
    headings = [f"{half}: {figure}" for half in ("read", "held back") for figure in ("answers", "accuracy", "kappa")]
    return markdown_table(["answers of", "judge", *headings], rows)


def half_cells(pairs: Sequence[Pair], half: int) -> list[str]:
    """How many answers of a half, accuracy and kappa."""
    chosen = [pair for pair in pairs if half_of(pair[0].prompt) == half and pair[1].label != "unjudged"]
    return [
        str(len(chosen)),
        share_cell([(answer, (verdict.label == "refusal") == answer.refused) for answer, verdict in chosen]),
        kappa_cell(chosen),
    ]


def half_of(prompt: str) -> int:
    """0 for the prompts that were read while the rules were written, 1 for those held back."""
    return hashlib.sha1(prompt.encode(errors="replace"), usedforsecurity=False).digest()[0] % 2


def flags_table(judged: Judged) -> str:
    """How often a judge that flags verdicts is right where it gave each flag, and where it gave none.

    And on those that `harness label` draws more of, whatever other judges say: `doubtful`.
    """
    rows = []
    for judge, files in judged.items():
        hits: defaultdict[str, list[tuple[LabelledAnswer, bool]]] = defaultdict(list)
        for answer, verdict in (pair for pairs in files.values() for pair in pairs):
            doubt = "doubtful" if is_doubtful(verdict) else "not doubtful"
            for mark in (*(verdict.flags or ("none",)), doubt):
                if verdict.label != "unjudged":
                    hits[mark].append((answer, (verdict.label == "refusal") == answer.refused))
        if hits.keys() & set(FLAGS):
            rows += [[judge, mark, str(len(found)), share_cell(found)] for mark, found in sorted(hits.items())]
    return markdown_table(["judge", "flag", "answers", "accuracy"], rows)


def errors_table(judged: Judged) -> str:
    """What the judge went by where people disagree: its reason up to the colon, the commonest first."""
    names = list(next(iter(judged.values())))
    rows = []
    for judge, files in judged.items():
        for told, wrongly in (("refusal missed", missed_refusal), ("false refusal", false_refusal)):
            counts = {name: Counter(reason_kind(pair[1]) for pair in files[name] if wrongly(pair)) for name in names}
            whole = sum(counts.values(), Counter[str]())
            ranked = sorted(whole.items(), key=lambda item: (-item[1], item[0]))
            rows += [[judge, told, "any", str(whole.total()), *(str(counts[name].total()) for name in names)]]
            rows += [
                [judge, told, kind, str(count), *(str(counts[name][kind]) for name in names)]
                for kind, count in ranked[:KINDS_SHOWN]
            ]
    return markdown_table(["judge", "error", "judge's reason", "all", *names], rows)


def missed_refusal(pair: Pair) -> bool:
    """Whether people saw a refusal and the judge saw none."""
    return pair[0].refused and pair[1].label not in ("refusal", "unjudged")


def false_refusal(pair: Pair) -> bool:
    """Whether the judge saw a refusal and people saw none."""
    return pair[1].label == "refusal" and not pair[0].refused


def reason_kind(verdict: Verdict) -> str:
    """What stands before the colon in a reason."""
    return safe_line(verdict.reason.partition(":")[0], 60)


def interval_text(value: float, limits: Interval) -> str:
    """A figure between 0 and 1 with its interval."""
    return f"{decimal(value)} ({decimal(limits.low)}, {decimal(limits.high)})"


def decimal(value: float) -> str:
    """Three decimals, without the 0 before the point."""
    return re.sub(r"^(-?)0\.", r"\1.", f"{value:.3f}")


def markdown_table(headings: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table; what comes from files and judges stays in its cell."""
    lines = [headings, ["---"] * len(headings), *rows]
    return "\n".join("| " + " | ".join(safe_line(cell).replace("|", "\\|") for cell in line) + " |" for line in lines)


def read_files(paths: Iterable[Path]) -> dict[str, list[LabelledAnswer]]:
    """The answers of each file by its name. Raises HarnessError where one is broken, or two are called alike."""
    files: dict[str, list[LabelledAnswer]] = {}
    for path in paths:
        if path.stem in files:
            raise HarnessError("is the name of two files", place=path.stem, hint="Rename one.")
        files[path.stem] = read_labelled_answers(path)
    return files


def all_tables(judged: Judged, halves: bool) -> str:
    """What is printed, or stands in the page."""
    tables: list[Callable[[Judged], str]] = [
        agreement_table,
        *([halves_table] if halves else []),
        flags_table,
        errors_table,
    ]
    told = f"`make judge-table` printed these, by the judges of version `{judges_version()}`."
    return "\n\n".join([told, *(table(judged) for table in tables)]) + "\n"


def main(arguments: Sequence[str] | None = None) -> int:
    """Prints the tables, or writes them into a page; 2 where something is wrong with what was given."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", type=Path, nargs="+")
    parser.add_argument("--judges", nargs="+", default=["lexical", "prefixes"])
    parser.add_argument("--halves", action="store_true")
    parser.add_argument("--page", type=Path)
    given = parser.parse_args(arguments)
    if given.page and not MARKED.search(given.page.read_text(encoding="utf-8")):
        parser.error(f"{given.page} has no place for the tables")
    try:
        text = all_tables(judge_files(read_files(given.files), given.judges), given.halves)
    except HarnessError as error:
        parser.error(str(error))
    if given.page:
        page = given.page.read_text(encoding="utf-8")
        given.page.write_text(MARKED.sub(lambda found: found[1] + text + found[2], page), encoding="utf-8")
    else:
        print(text, end="")
    return 0


if __name__ == "__main__":
    sys.exit(main())
