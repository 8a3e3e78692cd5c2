"""The lm-eval task whose prompts come rendered: nothing is to be put around them."""

from typing import Any

from lm_eval.api.task import ConfigurableTask


class PairLikelihood(ConfigurableTask):
    """Gives each pair's prompt to the model as DPOTrainer renders it, with and without `--apply_chat_template`."""

    def __init__(self, config: dict[str, Any]) -> None:
        super().__init__(config={key: value for key, value in config.items() if key != "class"})

    def fewshot_context(self, doc: dict[str, Any], *_: Any, **__: Any) -> str:
        """The pair's own context; a chat template is in it already, and examples would make another prompt of it."""
        return str(doc["context"])
