"""Tasks of the user's own on every arm: measured beside ours, in the results, in the run's gate and on its page."""

import json
import re
from collections import defaultdict
from statistics import fmean

import pytest
from typer.testing import CliRunner

from harness.evaluation.lm_eval import AskedPrompts, evaluate_model, load_own_task
from harness.recipes.loading import load_recipe
from harness.recipes.schema import EvaluationSettings, OwnTask
from harness.run.checks import check_prerequisites
from harness.run.cost.dry_run import dry_run
from harness.run.regression import run_regression
from harness.support.errors import HarnessError
from helpers.own_tasks import CAPITALS, SUMS, write_tasks
from helpers.run_inputs import PROMPTS, SMALL


def read_samples(folder, task):
    (file,) = folder.rglob(f"samples_{task}_*.jsonl")
    return [json.loads(line) for line in file.read_text().splitlines()]


def read_results(folder, task):
    found = [json.loads(file.read_text()) for file in folder.rglob("results_*.json")]
    return next(content for content in found if task in content["configs"])


@pytest.fixture(scope="module")
def evaluated(micro, tmp_path_factory):
    """One model with tasks and without."""
    folder = tmp_path_factory.mktemp("evaluated")
    sums, capitals = write_tasks(folder / "tasks")
    (folder / "prompts.jsonl").write_text(PROMPTS)
    given = {"with": [OwnTask(name=str(sums)), OwnTask(name=str(capitals), limit=3)], "without": []}
    for name, tasks in given.items():
        settings = EvaluationSettings(max_new_tokens=8, batch_size=4)
        prompts = str(folder / "prompts.jsonl")
        evaluate_model(str(micro), folder / name, settings, AskedPrompts(prompts, "lexical", 3, own=tasks))
    return folder


def test_our_answers_do_not_depend_on_tasks_beside(evaluated):
    for task in ("refusal_displacement_unsafe", "refusal_displacement_benign"):
        beside, alone = (read_samples(evaluated / name, task) for name in ("with", "without"))
        assert beside == alone


def test_a_task_keeps_its_own_settings(evaluated):
    sums = read_results(evaluated / "with", "my_sums")
    assert sums["configs"]["my_sums"]["generation_kwargs"] == {"until": ["."], "max_gen_toks": 4, "do_sample": False}
    assert (sums["config"]["gen_kwargs"], sums["config"]["limit"]) == (None, None)
    ours = read_results(evaluated / "with", "refusal_displacement_unsafe")
    assert ours["config"]["gen_kwargs"]["temperature"] == 0.7
    rows = read_samples(evaluated / "with", "my_sums")
    assert [row["filter"] for row in rows] == ["strict-match"] * 6 + ["flexible-extract"] * 6


def test_a_limit_holds_for_its_task_alone(evaluated):
    assert read_results(evaluated / "with", "my_capitals")["config"]["limit"] == 3
    assert [row["doc_id"] for row in read_samples(evaluated / "with", "my_capitals")] == [0, 1, 2]


# What is refused


@pytest.mark.parametrize(
    ("text", "trusted", "backend", "told"),
    [
        (SUMS.replace("sums.jsonl", "absent.jsonl"), False, "hf", "cannot load the task .FileNotFoundError"),
        (SUMS.replace("exact_match", "someones/metric"), False, "hf", "metric 'someones/metric' is none of lm-eval's"),
        (CAPITALS, False, "api", "my_capitals asks for log-likelihoods, which the backend api does not give"),
        (SUMS + "unsafe_code: true\n", False, "hf", "asks to run code"),
        (SUMS.replace("my_sums", "../my_sums"), False, "hf", "'../my_sums' is no name for a task"),
        (SUMS.replace("my_sums", "'a, b'"), False, "hf", "'a, b' is no name for a task"),
    ],
)
def test_unfit_tasks_are_refused(tmp_path, text, trusted, backend, told):
    sums, _ = write_tasks(tmp_path)
    sums.write_text(text)
    with pytest.raises(HarnessError, match=told):
        load_own_task(OwnTask(name=str(sums)), trusted=trusted, backend=backend)


def test_a_template_reaches_no_python(tmp_path):
    """Jinja outside a sandbox would run this: lm-eval's own is none."""
    sums, _ = write_tasks(tmp_path)
    sums.write_text(SUMS.replace("{{question}}", "{{ ''.__class__.__mro__[1].__subclasses__() }}"))
    with pytest.raises(HarnessError, match="SecurityError"):
        load_own_task(OwnTask(name=str(sums)), trusted=False, backend="hf")


def test_code_runs_with_consent(tmp_path):
    sums, _ = write_tasks(tmp_path)
    (tmp_path / "utils.py").write_text("def ask(doc):\n    return 'Asked by code: ' + doc['question']\n")
    sums.write_text(SUMS.replace('"{{question}}"', "!function utils.ask"))
    (task,) = load_own_task(OwnTask(name=str(sums)), trusted=True, backend="hf")
    assert task.doc_to_text(task.eval_docs[0]) == "Asked by code: What is 0 plus 0?"


@pytest.mark.slow
def test_a_packaged_name_is_looked_up_in_lm_eval():
    with pytest.raises(HarnessError, match="lm-eval has no task 'gsm8kk'"):
        load_own_task(OwnTask(name="gsm8kk"), trusted=False, backend="hf")


# A whole run


@pytest.fixture(scope="module")
def asked(micro, tmp_path_factory):
    folder = tmp_path_factory.mktemp("own")
    write_tasks(folder)
    (folder / "prompts.jsonl").write_text(PROMPTS)
    (folder / "both.yaml").write_text("group: both\ntask: [my_sums]\n")
    arms = "arms={raw: {}}"
    tasks = f"tasks=[{folder}/both.yaml, {{name: {folder}/capitals.yaml, limit: 4}}]"
    given = [f"model={micro}", f"prompts={folder}/prompts.jsonl", *SMALL[:-1], arms, tasks]
    return load_recipe("miniature", given, seeds=2)


@pytest.fixture(scope="module")
def finished(asked, tmp_path_factory):
    out = tmp_path_factory.mktemp("run") / "run"
    return out, run_regression(asked, out, 1)


@pytest.mark.slow
def test_results_have_every_task_and_metric(finished):
    """Recounted from lm-eval's files by other code than the harness's own."""
    out, results = finished
    for arm in ("baseline", "raw"):
        values = defaultdict(lambda: defaultdict(list))
        for seed in (0, 1):
            for task, metric in (("my_sums", "exact_match"), ("my_capitals", "acc")):
                for row in read_samples(out / f"arms/{arm}/seed-{seed}/eval", task):
                    name = f"{metric},{row['filter']}" if task == "my_sums" else metric
                    values[task, name][row["doc_id"]].append(row[metric])
        found = results.arms[arm].tasks
        assert {(task, name) for task, metrics in found.items() for name in metrics} == values.keys()
        for (task, name), by_document in values.items():
            assert found[task][name].value == pytest.approx(fmean(map(fmean, by_document.values())))
            assert found[task][name].n == len(by_document) == (6 if task == "my_sums" else 4)
            assert (found[task][name].change is None) == (arm == "baseline")
            assert found[task][name].higher_is_better
    assert {*results.guarded_tasks} == {"both/exact_match,strict-match", "my_capitals/acc"}
    assert results.to_json() == json.loads((out / "results.json").read_text())
    for metric in ("refusal_rate", "benign_compliance_rate"):
        assert results.arms["raw"].metrics[metric].train.n <= 11  # of our prompts alone


@pytest.mark.slow
def test_the_page_and_its_gate_have_the_tasks(finished):
    out, _ = finished
    page = (out / "report.html").read_text()
    (section,) = re.findall(r'<section id="beside">.*?</section>', page, re.DOTALL)
    for told in ("my_sums, exact_match,strict-match", "my_sums, exact_match,flexible-extract", "my_capitals, acc"):
        assert told in section
    assert section.count("not guarded") == 1  # the second filter
    assert "Capital" not in section
    assert "both/exact_match,strict-match" in page  # among the gate's checks
    assert "my_capitals was not evaluated whole: --before saw 4 of 5 prompts" in page


@pytest.mark.slow
def test_the_command_prints_them(finished):
    from harness.cli.printing.results import print_results

    _, results = finished
    with CliRunner().isolation() as (stdout, *_):
        print_results(results)
        printed = stdout.getvalue().decode()
    first, beside = printed.partition("Beside safety")[::2]
    assert re.search(r"arm +refusals +harmful +benign answered", first)
    change = r"\d+→\d+ \([+-]\d+, [+-]\d+\)"
    assert re.search(rf"raw +{change} +{change} +nothing judged", first)  # of benign prompts none is judged
    assert "my_sums, exact_match,strict-match" in beside
    assert max(map(len, printed.splitlines())) <= 96


@pytest.mark.slow
def test_a_finished_run_is_not_run_again(finished, asked, capsys):
    out, results = finished
    assert run_regression(asked, out, 1) == results
    assert "nothing to do" in capsys.readouterr().err
    (changed,) = [task for task in asked.tasks if task.limit]
    tasks = tuple(task if task != changed else task.model_copy(update={"limit": 2}) for task in asked.tasks)
    due = dry_run(asked.model_copy(update={"tasks": tasks}), out, 1)
    assert {cost.stage.kind for cost in due.costs if cost.reason is not None} == {"evaluate"}
    assert f"the task {changed.name}" in due.missing


@pytest.mark.slow
def test_a_metric_that_a_task_lacks_is_told(finished, asked):
    out, _ = finished
    tasks = tuple(task.model_copy(update={"metric": "f1"}) for task in asked.tasks)
    with pytest.raises(HarnessError, match=r"no metric 'f1' of my_(capitals|sums) can be guarded.*There are: "):
        run_regression(asked.model_copy(update={"tasks": tasks}), out, 1)


def test_a_distrusted_task_stops_a_run_before_any_work(tmp_path, micro):
    sums, _ = write_tasks(tmp_path)
    sums.write_text(SUMS + "process_docs: !function utils.f\n")
    chosen = load_recipe("miniature", [f"model={micro}", f"tasks=[{sums}]"])
    with pytest.raises(HarnessError, match="does not run unasked"):
        check_prerequisites(chosen)
