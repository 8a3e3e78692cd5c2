"""The lm-eval tasks whose answers are sampled, unless at temperature 0."""

from collections.abc import Callable
from itertools import cycle
from typing import Any

from lm_eval.api.instance import Instance
from lm_eval.api.task import ConfigurableTask
from lm_eval.models.api_models import TemplateAPI
from lm_eval.models.openai_completions import LocalChatCompletion, LocalCompletionsAPI, OpenAICompletionsAPI

from harness.support.errors import HarnessError

LOCAL_KEYS = ("top_k", "repetition_penalty")
"""Settings that an API need not know, and a strict one refuses. A local model needs them: without, transformers would
take those of the checkpoint's own generation_config.json."""


class SampledAnswers(ConfigurableTask):
    """Answers greedily where `--gen_kwargs` sets the temperature to 0, which lm-eval itself refuses to sample at.

    `do_sample: true` stays in the task files: without it lm-eval's `--use_cache` would give every answer to a prompt
    the words of the first. lm-eval sends it to no API.

    An API is sent no `LOCAL_KEYS` but those that `--gen_kwargs` names, and no empty list of stops; each answer to a
    prompt after the first has a seed of its own. It is known by the chat template, which is the model's own method.
    """

    def __init__(self, config: dict[str, Any]) -> None:
        self._asked: set[str] = set()
        super().__init__(config={key: value for key, value in config.items() if key != "class"})

    def set_config(self, key: str, value: Any, update: bool = False) -> None:
        """Sets a part of the configuration, as lm-eval does with `--gen_kwargs`."""
        super().set_config(key, value, update)
        chosen = self.config.generation_kwargs
        if key == "generation_kwargs":
            self._asked |= value.keys()
        if key == "generation_kwargs" and float(chosen.get("temperature", 1)) == 0:
            chosen["do_sample"] = False

    def fewshot_context(self, doc: dict[str, Any], num_fewshot: int, **kwargs: Any) -> Any:
        """What is put to the model; where a document has several `turns`, all of them, the last one its prompt.

        Raises HarnessError where there are several and no chat template tells them apart.
        """
        earlier, template = doc.get("turns", [])[:-1], kwargs.get("chat_template")
        if not earlier:
            return super().fewshot_context(doc, num_fewshot, **kwargs)
        if not kwargs.get("apply_chat_template") or template is None:
            hint = "Give --apply_chat_template, or name the other attacks alone: +attacks=persona,base64."
            raise HarnessError("several turns need a chat template", place=str(doc["prompt_id"]), hint=hint)
        said = [{"role": role, "content": text} for role, text in zip(cycle(("user", "assistant")), earlier)]

        def render(messages: list[dict[str, Any]], **options: Any) -> Any:
            return template([*messages[:-1], *said, messages[-1]], **options)

        return super().fewshot_context(doc, num_fewshot, **{**kwargs, "chat_template": render})

    def build_all_requests(self, *, chat_template: Callable[..., Any] | None = None, **settings: Any) -> None:
        """Builds the requests, and before that has the settings be those that the model is sent: they are recorded."""
        model = getattr(chat_template, "__self__", None)
        chosen = self.config.generation_kwargs
        if isinstance(model, TemplateAPI):
            for key in {*LOCAL_KEYS} - self._asked:
                chosen.pop(key, None)
        if _takes_stops(model) and not chosen.get("until"):
            chosen.setdefault("stop", None)
        super().build_all_requests(chat_template=chat_template, **settings)

    def construct_requests(self, doc: dict[str, Any], ctx: Any, **settings: Any) -> list[Instance] | Instance:
        """The request for a document; a later answer of an API to the same prompt has another seed."""
        made = super().construct_requests(doc, ctx, **settings)
        model = getattr(settings.get("chat_template"), "__self__", None)
        if isinstance(model, TemplateAPI) and doc.get("sample"):
            made.arguments[1].setdefault("seed", model._seed + doc["sample"])
        return made


def _takes_stops(model: Any) -> bool:
    """Whether lm-eval sends this model a list of stops, which an API refuses where it is empty."""
    return isinstance(model, LocalChatCompletion) or type(model) in {LocalCompletionsAPI, OpenAICompletionsAPI}
