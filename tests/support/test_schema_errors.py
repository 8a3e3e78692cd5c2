"""What a person reads of pydantic's errors: one line, the key, and the closest known one."""

import pytest
from pydantic import BaseModel, ConfigDict, ValidationError, model_validator

from harness.support.schema_errors import explain_schema_error


class Inner(BaseModel):
    model_config = ConfigDict(extra="forbid")
    margin: float = 0.1


class Outer(BaseModel):
    model_config = ConfigDict(extra="forbid")
    alpha: float = 0.5
    backend: str = "hf"
    metrics: dict[str, Inner] = {}

    @model_validator(mode="after")
    def _some_metric(self):
        if self.alpha == 0:
            raise ValueError("alpha is nothing")
        return self


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ({"alfa": 1}, "policy.yaml: unknown key 'alfa'. Did you mean 'alpha'?"),
        ({"metrics": {"a": {"marjin": 1}}}, "policy.yaml: unknown key 'metrics.a.marjin'. Did you mean 'margin'?"),
        ({"metrics": {"a": {"margin": "x"}}}, "policy.yaml: metrics.a.margin: needs a number, not 'x'"),
        ({"alpha": 0}, "policy.yaml: alpha is nothing"),
        ({"engine": "hf"}, "policy.yaml: unknown key 'engine'. It is called 'backend' now"),
        ({"metrics": {"a": {"engine": 1}}}, "policy.yaml: unknown key 'metrics.a.engine'. There are: margin."),
    ],
)
def test_one_line_names_the_place_the_key_and_what_was_meant(content, expected):
    with pytest.raises(ValidationError) as error:
        Outer.model_validate(content)
    told = str(explain_schema_error(error.value, "policy.yaml", Outer, {"engine": "backend"}))
    assert told.startswith(expected)
