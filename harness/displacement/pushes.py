"""How hard each training pair pushes each prompt's refusal, to first order and before training.

A prompt's refusal is the exact probability that its answer opens as one (`harness.displacement.openings`), so its
gradient takes no draws. A pair pushes it by `<gradient of that probability, gradient of the pair's margin>`, where the
margin is ln p(y+|x) - ln p(y-|x).

Both gradients are taken over the linear layers of the decoder's body, many sequences at once: a layer's gradient for
one sequence is the sum over its tokens of (gradient of the output) x (input). Each side is projected to at most `WIDTH`
dimensions by random signs, which keeps inner products but for noise (LoGra, Choe et al. 2024, arXiv 2405.13954).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence
from transformers.pytorch_utils import Conv1D

from harness.displacement.nearest import prompt_token_ids
from harness.displacement.openings import OPENING_DEPTH, answer_openings
from harness.models.loading import evaluation_mode
from harness.scoring.packing import decoder_body
from harness.scoring.unembedding import token_logprobs
from harness.support import artifacts, console

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from harness.preferences.tokens import Tokens


WIDTH = 48
"""Dimensions that each side of a layer's gradient is projected to, where it has more."""
PUSH_FLOOR = 0.05
"""Openings less likely than this hardly move a prompt's refusal, and are not told apart."""
LIKELY_OPENINGS = 6
"""Openings of a prompt's answers as refusals that are reckoned with in estimating the work."""
CPU_WORK, DEVICE_WORK = 1e12, 1e16
"""Operations that are spent on it, on a CPU and elsewhere: some twenty seconds of a core, a minute of a GPU."""
_MOST_ENTRIES = 10**7
"""Prompts times pairs that are kept."""
_TOKENS_AT_ONCE = 2048

FloatArray = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Pushes:
    """How hard each pair pushes each prompt's refusal: `pushes` [prompts, pairs], in shares per unit of gradient step.

    Below zero, training on the pair costs the refusal. Sign and order matter; the unit is the model's own. Zero
    throughout where the answer to a prompt never opens as a refusal. No prompts and pairs where it was too much work.
    """

    prompts: tuple[str, ...]
    pairs: tuple[str, ...]
    pushes: FloatArray

    def save(self, path: Path) -> None:
        """Writes them in NumPy's format."""
        with artifacts.atomic_file(path) as temporary, temporary.open("wb") as file:
            np.savez_compressed(
                file, prompts=np.array(self.prompts, str), pairs=np.array(self.pairs, str), pushes=self.pushes
            )


@dataclass(frozen=True, slots=True)
class _Part:
    """A sequence whose answer, from `start` on, counts with a weight in a sum of ln p."""

    tokens: tuple[int, ...]
    start: int
    weight: float


def measure_pushes(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    prompts: Mapping[str, str],
    pairs: Mapping[str, Tokens],
) -> Pushes:
    """How hard each pair pushes each prompt's refusal; nothing where it would be too much work (`is_affordable`).

    Args:
        model: the model before training, on any device; left as it was.
        tokenizer: its tokenizer, with a chat template.
        prompts: unsafe requests by their ids.
        pairs: the pairs' tokens by `pair_id`.

    Raises HarnessError where there is no chat template.
    """
    ids = {name: tuple(prompt_token_ids(tokenizer, prompt)) for name, prompt in prompts.items()}
    tokens = push_tokens([*map(len, ids.values())], sum(map(_pair_size, pairs.values())))
    if not is_affordable(model.num_parameters(), tokens, len(ids) * len(pairs), on_cpu=model.device.type == "cpu"):
        return Pushes((), (), np.zeros((0, 0), np.float32))
    openings = answer_openings(model, tokenizer, list(prompts.values()), PUSH_FLOOR)
    asked = [
        [
            _Part(ids[name] + opening.tokens, len(ids[name]), opening.probability)
            for opening in found
            if opening.way == "refusal"
        ]
        for name, found in zip(prompts, openings, strict=True)
    ]
    trained = [
        [
            _Part((*pair.prompt, *pair.chosen), len(pair.prompt), 1.0),
            _Part((*pair.prompt, *pair.rejected), len(pair.prompt), -1.0),
        ]
        for pair in pairs.values()
    ]
    pushes = np.zeros((len(prompts), len(pairs)), np.float32)
    with console.progress_bar("Tracing refusals to pairs", len(asked) + len(trained), "gradients") as advance:
        ours = torch.zeros(0)
        for places, rows in _project_gradients(model, asked, advance):
            if not len(ours):
                ours = torch.zeros(len(asked), rows.shape[1])
            ours[places] = rows
        for places, rows in _project_gradients(model, trained, advance) if len(ours) else ():
            pushes[:, places] = (ours @ rows.T).numpy()
    return Pushes(tuple(prompts), tuple(pairs), pushes)


def push_tokens(prompts: Sequence[int], pairs: int) -> int:
    """About how many tokens are gone through forth and back.

    Args:
        prompts: tokens of each prompt.
        pairs: tokens of all pairs, the prompt once for each answer.
    """
    return LIKELY_OPENINGS * sum(size + OPENING_DEPTH for size in prompts) + pairs


def is_affordable(parameters: int, tokens: int, entries: int, *, on_cpu: bool) -> bool:
    """Whether so much is worth the work: six operations a parameter and token, and numbers to keep."""
    return 6.0 * parameters * tokens <= (CPU_WORK if on_cpu else DEVICE_WORK) and entries <= _MOST_ENTRIES


def _pair_size(pair: Tokens) -> int:
    return 2 * len(pair.prompt) + len(pair.chosen) + len(pair.rejected)


def _project_gradients(
    model: PreTrainedModel, sums: Sequence[Sequence[_Part]], advance: Callable[..., None]
) -> Iterator[tuple[list[int], Tensor]]:
    """The projected gradient of each sum of ln p, in batches: their places and rows [n, d], float32 on the CPU."""
    body = decoder_body(model)
    with evaluation_mode(model), _frozen(model), _Recorder(body) as recorder:
        for places in _batches(sums):
            parts = [part for place in places for part in sums[place]]
            if parts:
                owners = [number for number, place in enumerate(places) for _ in sums[place]]
                yield places, _batch_gradients(model, body, recorder, parts, owners, len(places))
            advance(len(places))


def _batches(sums: Sequence[Sequence[_Part]]) -> Iterator[list[int]]:
    """The places of sums of like length, so that little is padding."""
    sizes = [max((len(part.tokens) for part in parts), default=0) for parts in sums]
    batch: list[int] = []
    used = 0
    for place in sorted(range(len(sums)), key=sizes.__getitem__):
        size = sizes[place] * len(sums[place])
        if batch and used + size > _TOKENS_AT_ONCE:
            yield batch
            batch, used = [], 0
        batch.append(place)
        used += size
    if batch:
        yield batch


def _batch_gradients(
    model: PreTrainedModel,
    body: PreTrainedModel,
    recorder: _Recorder,
    parts: Sequence[_Part],
    owners: Sequence[int],
    count: int,
) -> Tensor:
    """The projected gradients of `count` sums, whose parts are the rows of one padded forward pass."""
    rows = [torch.tensor(part.tokens, device=body.device) for part in parts]
    ids, present = pad_sequence(rows, True), pad_sequence([torch.ones_like(row) for row in rows], True)
    with torch.enable_grad():
        recorder.begin()
        hidden = body(input_ids=ids, attention_mask=present, use_cache=False).last_hidden_state
        spans = [(number, slice(part.start - 1, len(part.tokens) - 1)) for number, part in enumerate(parts)]
        predicting = torch.cat([hidden[number, span] for number, span in spans])
        answers = torch.cat([row[part.start :] for row, part in zip(rows, parts, strict=True)])
        weights = torch.cat([torch.full((len(part.tokens) - part.start,), part.weight) for part in parts])
        total = (token_logprobs(model, predicting, answers).float() * weights.to(predicting.device)).sum()
        projected = recorder.project(total)
    found = torch.zeros(count, projected.shape[1])
    return found.index_add_(0, torch.tensor(owners), projected.cpu())


class _Recorder:
    """Inputs and outputs of a body's linear layers in one forward pass; of them, each row's projected gradient."""

    def __init__(self, body: PreTrainedModel) -> None:
        self._layers = {name: each for name, each in body.named_modules() if isinstance(each, torch.nn.Linear | Conv1D)}
        self._signs: dict[tuple[str, int], Tensor] = {}
        self._seen: list[tuple[str, Tensor, Tensor]] = []
        self._body, self._hooks = body, ExitStack()

    def __enter__(self) -> _Recorder:
        embedding = self._body.get_input_embeddings()
        # No weight takes a gradient: what flows back starts here.
        self._hooks.callback(embedding.register_forward_hook(lambda _m, _i, out: out.requires_grad_()).remove)
        for name, layer in self._layers.items():
            self._hooks.callback(layer.register_forward_hook(self._keep(name)).remove)
        return self

    def __exit__(self, *_: object) -> None:
        self._hooks.close()

    def begin(self) -> None:
        """Forgets the pass before."""
        self._seen.clear()

    def _keep(self, name: str) -> Callable[..., None]:
        def hook(_module: Any, inputs: tuple[Tensor, ...], output: Tensor) -> None:
            if inputs[0].dim() == 3:  # [rows, tokens, width]: a row's tokens can be told from another's
                self._seen.append((name, inputs[0].detach(), output))

        return hook

    def project(self, total: Tensor) -> Tensor:
        """The projected gradient of `total` for each row of the pass [rows, d], float32."""
        slopes = torch.autograd.grad(total, [output for _, _, output in self._seen], allow_unused=True)
        found: dict[str, Tensor] = {}
        for (name, given, output), slope in zip(self._seen, slopes, strict=True):
            if slope is None:
                slope = torch.zeros_like(output)
            sides = self._narrow(f"{name} out", slope.float()), self._narrow(f"{name} in", given.float())
            outer = torch.einsum("rto,rti->roi", *sides).flatten(1)
            found[name] = found[name] + outer if name in found else outer
        return torch.cat([*found.values()], dim=1)

    def _narrow(self, side: str, rows: Tensor) -> Tensor:
        width = rows.shape[-1]
        if width <= WIDTH:
            return rows
        if (side, width) not in self._signs:
            drawn = torch.Generator().manual_seed(len(self._signs))
            signs = torch.randint(0, 2, (width, WIDTH), generator=drawn).float() * 2 - 1
            self._signs[side, width] = (signs / WIDTH**0.5).to(rows.device)
        return rows @ self._signs[side, width]


@contextmanager
def _frozen(model: PreTrainedModel) -> Iterator[None]:
    """In the block no weight takes a gradient."""
    taking = [each for each in model.parameters() if each.requires_grad]
    try:
        for each in taking:
            each.requires_grad_(False)
        yield
    finally:
        for each in taking:
            each.requires_grad_(True)
