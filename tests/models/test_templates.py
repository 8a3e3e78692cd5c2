"""Chat templates that loop or grow without end are refused in a line, before they render anything in this process."""

import json
import shutil
import signal
import time

import pytest
from transformers.utils.chat_template_utils import render_jinja_template

from harness.models import templates
from harness.models.paths import ModelPath
from harness.models.template_probe import _CONVERSATIONS, _TOKENS, CHARACTERS, template_environment
from harness.models.templates import RunawayTemplate, check_chat_template, limit_rendering, refuse_runaway_template
from harness.organism.store import DEFAULT_DIRECTORY
from harness.preferences.pairs import Unscorable, check_pair
from harness.preferences.tokens import tokenize_pair
from harness.support.errors import HarnessError
from helpers.preference_rows import assistant, tokenizer, user

NESTED = "{% for i in range(99999) %}{% for j in range(99999) %}{% endfor %}{% endfor %}"
FINE = {
    "the miniature's": (DEFAULT_DIRECTORY / "chat_template.jinja").read_text(),
    "a tag of transformers": "{% for m in messages %}{% generation %}{{ m.content }}{% endgeneration %}{% endfor %}",
    "loop controls": "{% for m in messages %}{% if loop.index > 1 %}{% break %}{% endif %}{{ m.content }}{% endfor %}",
    "refuses a system turn": "{{ raise_exception('no system') if messages[0].role == 'system' else bos_token }}",
    "no Jinja": "{% this is not %}",
    "a range that the sandbox refuses": "{% for i in range(10**9) %}x{% endfor %}",
    "calls itself": "{% macro a() %}{{ a() }}{% endmacro %}{{ a() }}",
    "as long as is allowed": f"{{{{ 'x' * {CHARACTERS} }}}}",
    "several": {"default": "{{ messages }}", "tool_use": "{{ tools }}"},
    "none": None,
}
RUNAWAY = {
    "a text of a billion": ("{{ 'x' * 10**9 }}", "takes more than 512 MiB of memory"),
    "nested ranges": (NESTED, "takes more than 2 s"),
    "a number of ten billion digits": ("{{ 10**(10**10) }}", "takes more than"),
    "a wide field": ("{{ '%1000000000d' % 1 }}", "takes more than 512 MiB of memory"),
    "doubled and doubled": (
        "{% set n = namespace(a='x') %}{% for i in range(60) %}{% set n.a = n.a + n.a %}{% endfor %}{{ n.a }}",
        "takes more than 512 MiB of memory",
    ),
    "in transformers' tag": ("{% generation %}{{ 'x' * 10**9 }}{% endgeneration %}", "takes more than 512 MiB"),
    "with tools only": ("{% if tools %}{{ 'x' * 10**9 }}{% endif %}", "takes more than 512 MiB"),
    "one of several": ({"default": "a", "other": "{{ 'x' * 10**9 }}"}, "takes more than 512 MiB"),
    "too long a text": (f"{{{{ 'x' * {CHARACTERS + 1} }}}}", f"makes {CHARACTERS + 1} characters"),
}


@pytest.mark.parametrize("name", FINE)
def test_what_ends_is_accepted(name):
    refuse_runaway_template(FINE[name], "model")


@pytest.mark.parametrize("name", RUNAWAY)
def test_what_runs_away_is_refused(name):
    template, said = RUNAWAY[name]
    with pytest.raises(RunawayTemplate, match=f"model: its chat template {said}.* for a short conv|of a short"):
        refuse_runaway_template(template, "model")


def test_a_template_is_tried_once(monkeypatch):
    refuse_runaway_template("{{ messages[0].content }} once", "model")
    monkeypatch.setattr(templates, "_PROBE", "absent")
    refuse_runaway_template("{{ messages[0].content }} once", "model")
    with pytest.raises(HarnessError, match="cannot be tried"):
        refuse_runaway_template("{{ messages[0].content }} twice", "model")


@pytest.mark.parametrize("name", ["the miniature's", "a tag of transformers", "loop controls"])
def test_it_is_tried_as_transformers_renders_it(name):
    for conversation in _CONVERSATIONS:
        said, _ = render_jinja_template([conversation["messages"]], **_TOKENS, chat_template=FINE[name],
                                        **{k: v for k, v in conversation.items() if k != "messages"})  # fmt: skip
        assert template_environment().from_string(FINE[name]).render(**_TOKENS, **conversation) == said[0]


def test_one_that_waits_for_a_conversation_is_ended_there(monkeypatch):
    monkeypatch.setattr(templates, "_LONGEST_RENDERING", 0.2)
    waits = "{% for m in messages %}{{ m.content }}{% if 'egg' in m.content %}" + NESTED + "{% endif %}{% endfor %}"
    own = tokenizer(waits)

    def tokens(question):
        row = {"prompt": [user(question)], "chosen": [assistant("Yes.")], "rejected": [assistant("No.")]}
        return tokenize_pair(check_pair(row), own)

    assert tokens("A river?").chosen
    with pytest.raises(RunawayTemplate, match="takes more than 0 s for a conversation"):
        tokens("An egg?")


def test_a_template_that_a_row_brings_is_that_rows_fault():
    row = {"prompt": [user("a")], "chosen": [assistant("b")], "rejected": [assistant("c")]}
    bad = row | {"chat_template_kwargs": {"chat_template": RUNAWAY["a text of a billion"][0]}}
    with pytest.raises(Unscorable, match="its chat template takes more than 512 MiB"):
        tokenize_pair(check_pair(bad), tokenizer())


def test_a_timer_that_was_set_before_goes_on():
    reached = []
    before = signal.signal(signal.SIGALRM, lambda *_: reached.append(True))
    outer = signal.setitimer(signal.ITIMER_REAL, 0.05)
    try:
        with limit_rendering("model"):
            assert not reached
        time.sleep(0.1)
    finally:
        signal.signal(signal.SIGALRM, before)
        signal.setitimer(signal.ITIMER_REAL, *outer)
    assert reached


@pytest.mark.parametrize(
    ("settings", "files", "said"),
    [
        ({}, {}, "no chat template. Do this."),
        ({"chat_template": "{{ messages }}"}, {}, None),
        ({"chat_template": [{"name": "default", "template": NESTED}]}, {}, "takes more than 2 s"),
        ({}, {"chat_template.jinja": "{{ messages }}"}, None),
        ({}, {"additional_chat_templates/tool_use.jinja": NESTED}, "takes more than 2 s"),
        ({"auto_map": {"AutoTokenizer": ["own.Own", None]}}, {}, None),  # its code may know one
        (None, {}, None),  # only loading it tells
    ],
)
def test_a_models_template_is_found_without_loading_it(tmp_path, settings, files, said):
    (tmp_path / "additional_chat_templates").mkdir()
    if settings is not None:
        (tmp_path / "tokenizer_config.json").write_text(json.dumps(settings))
    for name, content in files.items():
        (tmp_path / name).write_text(content)
    path = ModelPath(str(tmp_path))
    if said is None:
        check_chat_template(path, hint="Do this.")
    else:
        with pytest.raises(HarnessError, match=said):
            check_chat_template(path, hint="Do this.")
        check_chat_template(path, "{{ messages }}", hint="Do this.")


@pytest.mark.parametrize("template", [None, NESTED])
def test_a_run_and_its_dry_run_say_so_before_anything_is_written(template, tmp_path):
    from harness.recipes.loading import load_recipe
    from harness.run.cost.dry_run import dry_run
    from harness.run.regression import run_regression

    model = shutil.copytree(DEFAULT_DIRECTORY, tmp_path / "model")
    (model / "chat_template.jinja").unlink()
    if template:
        (model / "chat_template.jinja").write_text(template)
    recipe, out = load_recipe("miniature", [f"model={model}"]), tmp_path / "run"
    for begin in (run_regression, dry_run):
        with pytest.raises(HarnessError, match="takes more than 2 s" if template else "as chat_template.jinja"):
            begin(recipe, out)
    assert not out.exists()
