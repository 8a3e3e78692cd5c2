"""The lm-eval tasks whose answers are sampled, unless at temperature 0."""

from itertools import cycle
from typing import Any

from lm_eval.api.task import ConfigurableTask

from harness.support.errors import HarnessError


class SampledAnswers(ConfigurableTask):
    """Answers greedily where `--gen_kwargs` sets the temperature to 0, which lm-eval itself refuses to sample at.

    `do_sample: true` stays in the task files: without it lm-eval's `--use_cache` would give every answer to a prompt
    the words of the first.
    """

    def __init__(self, config: dict[str, Any]) -> None:
        super().__init__(config={key: value for key, value in config.items() if key != "class"})

    def set_config(self, key: str, value: Any, update: bool = False) -> None:
        """Sets a part of the configuration, as lm-eval does with `--gen_kwargs`."""
        super().set_config(key, value, update)
        chosen = self.config.generation_kwargs
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
