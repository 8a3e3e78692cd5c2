"""The lm-eval tasks whose answers are sampled, unless at temperature 0."""

from typing import Any

from lm_eval.api.task import ConfigurableTask


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
