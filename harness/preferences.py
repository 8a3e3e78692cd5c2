"""Preference tables: read row by row from anywhere, checked, and cut into the tokens TRL's DPOTrainer trains on."""

from __future__ import annotations

import csv
import io
import json
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from harness import hub, storage
from harness.errors import HarnessError

if TYPE_CHECKING:
    import pyarrow.parquet as pq
    from datasets import Dataset
    from transformers import PreTrainedTokenizerBase

Row = Mapping[str, Any]
Message = dict[str, Any]
Text = str | list[Message]

_LOCAL = {".jsonl", ".ndjson", ".json", ".csv", ".parquet"}
_SAVED_BY_DATASETS = {"dataset_info.json", "dataset_dict.json", "state.json"}


class Unscorable(ValueError):  # noqa: N818 - it names the row's state, and is never shown as an error
    """A row that is no usable preference pair; the message is the reason its row in the output carries."""


@dataclass(frozen=True, slots=True)
class Broken:
    """A row that could not even be read: why, and the beginning of what stood there."""

    reason: str
    text: str = ""


@dataclass(frozen=True, slots=True)
class Pair:
    """One checked pair with its prompt made explicit: all three are strings, or all three lists of messages."""

    row: Row
    prompt: Text
    chosen: Text
    rejected: Text
    tools: list[Any] | None = None
    template_arguments: Mapping[str, Any] = field(default_factory=dict)

    @property
    def conversational(self) -> bool:
        """Whether a chat template renders it."""
        return isinstance(self.prompt, list)


@dataclass(frozen=True, slots=True)
class Tokens:
    """One pair's token ids as trained on. `merged`: the prompt's last tokens merged with the answers' first."""

    prompt: list[int]
    chosen: list[int]
    rejected: list[int]
    merged: bool = False


def load(source: str | Path, *, config: str | None = None, split: str = "train") -> Dataset:
    """A whole preference table as a data set with explicit `prompt`, `chosen`, `rejected` and a unique `pair_id`.

    Args:
        source: what `read` takes: a file or directory, here or in object storage, or a hub id ("org/name").
        config: configuration of a hub data set.
        split: split of a hub data set.

    Raises HarnessError where the source cannot be read, a row is no usable pair, or a `pair_id` comes twice.
    """
    from datasets import Dataset

    rows = [_strict(row, number, source) for number, row in enumerate(read(source, config, split))]
    if not rows:
        raise HarnessError("holds no rows", place=str(source))
    refuse_repeated([row["pair_id"] for row in rows], str(source))
    return Dataset.from_list(rows)


def pair_id(row: Row, number: int) -> str:
    """The row's own `pair_id`, or one made from its place in the table."""
    own = row.get("pair_id")
    return f"row-{number:08d}" if own is None or own == "" else str(own)


def refuse_repeated(ids: Iterable[str], place: str) -> None:
    """Raises HarnessError naming a `pair_id` that comes twice: tables are joined by it."""
    seen: set[str] = set()
    for name in ids:
        if name in seen:
            raise HarnessError(f"pair_id {name!r} comes twice", place=place, mend="Give each pair its own pair_id.")
        seen.add(name)


def _strict(row: Row | Broken, number: int, source: str | Path) -> dict[str, Any]:
    try:
        pair = check(row)
    except Unscorable as error:
        raise HarnessError(str(error), place=f"{source}, row {number + 1}", mend="Mend or remove the row.") from error
    return {**explicit(pair), "pair_id": pair_id(pair.row, number)}


def explicit(pair: Pair) -> dict[str, Any]:
    """The columns of a pair's row with the prompt made explicit."""
    return {**pair.row, "prompt": pair.prompt, "chosen": pair.chosen, "rejected": pair.rejected}


PAIR_TYPES = ("two_refusals", "mixed", "two_non_refusals")


def pair_type(chosen_verdict: str | None, rejected_verdict: str | None) -> str:
    """Which of `PAIR_TYPES` a pair is, by the verdicts on its answers (section 6's figure of the pair types)."""
    return PAIR_TYPES[2 - (chosen_verdict == "refusal") - (rejected_verdict == "refusal")]


# Reading: every source is a stream of rows, and a row that cannot be read is one too.


def read(source: str | Path, config: str | None = None, split: str = "train") -> Iterator[Row | Broken]:
    """The rows of a table, one at a time; memory does not grow with their number (except for `.json`, read whole).

    Args:
        source: a JSONL, JSON, CSV or Parquet file, or a directory of such files (read in the order of their names),
            here or in object storage (`s3://`, `gs://`); a directory saved by `datasets`; or a hub id,
            with `@REVISION` at its end or without.
        config: configuration of a hub data set.
        split: split of a hub data set.

    Raises HarnessError where there is no such file or data set, or it cannot be opened.
    """
    place = str(source)
    if files := _files(place):
        for file in files:
            yield from _read_file(file)
    elif Path(source).is_dir():
        yield from _read_directory(Path(source))
    elif storage.is_remote(place) or Path(place).suffix in _LOCAL or place.startswith((".", "/", "~")):
        raise HarnessError("no such file", place=place, mend="Give a file or a hub id such as org/name.")
    else:
        yield from _read_hub(place, config, split)


def count(source: str | Path, config: str | None = None, split: str = "train") -> int | None:
    """How many rows `read` will yield, where that can be told without loading them or fetching them twice."""
    place = str(source)
    files = _files(place)
    if files and all(file.endswith(".parquet") for file in files):
        return sum(map(_parquet_rows, files))
    return sum(1 for _ in read(source, config, split)) if files and not storage.is_remote(place) else None


def _files(place: str) -> list[str]:
    """The files of a table: the one named, or those of known kinds in a directory that is no `datasets` one."""
    if storage.is_file(place):
        return [place]
    names = storage.names(place)
    if _SAVED_BY_DATASETS & set(names):
        return []
    return [storage.join(place, name) for name in names if Path(name).suffix in _LOCAL and name[0] not in "._"]


def _read_file(place: str) -> Iterator[Row | Broken]:
    readers = {".jsonl": _read_jsonl, ".ndjson": _read_jsonl, ".json": _read_json, ".csv": _read_csv,
               ".parquet": _read_parquet}  # fmt: skip
    reader = readers.get(Path(place).suffix)
    if reader is None:
        raise HarnessError("is of no known kind", place=place, mend=f"Use one of {', '.join(sorted(_LOCAL))}.")
    try:
        with storage.opened(place) as stream:
            yield from reader(stream, place)
    except OSError as error:
        raise HarnessError(f"cannot be read ({error.strerror or error})", place=place) from error


def _read_jsonl(stream: BinaryIO, _place: str) -> Iterator[Row | Broken]:
    yield from (_json_row(line) for line in stream if line.strip())


def _json_row(line: bytes) -> Row | Broken:
    try:
        row = json.loads(line.decode("utf-8-sig"))
    except UnicodeDecodeError:
        return Broken("not UTF-8", line[:200].decode(errors="replace"))
    except (ValueError, RecursionError):
        return Broken("not JSON", line[:200].decode(errors="replace"))
    return row if isinstance(row, dict) else Broken("not a JSON object", line[:200].decode(errors="replace"))


def _read_json(stream: BinaryIO, place: str) -> Iterator[Row | Broken]:
    """A JSON array of rows, an object with one under `data`, or (as `datasets` allows) one object a line."""
    content = stream.read()
    try:
        value = json.loads(content.decode("utf-8-sig"))
    except (ValueError, RecursionError):
        yield from _read_jsonl(io.BytesIO(content), place)
        return
    rows = value.get("data", [value]) if isinstance(value, dict) else value
    if not isinstance(rows, list):
        raise HarnessError("holds no list of rows", place=place, mend="Write a JSON array of objects.")
    yield from (row if isinstance(row, dict) else Broken("not a JSON object", str(row)[:200]) for row in rows)


def _read_csv(stream: BinaryIO, _place: str) -> Iterator[Row | Broken]:
    csv.field_size_limit(sys.maxsize)
    rows = csv.DictReader(io.TextIOWrapper(stream, encoding="utf-8-sig", errors="surrogateescape", newline=""))
    while True:
        try:
            yield _csv_row(next(rows))
        except StopIteration:
            return
        except csv.Error as error:
            yield Broken(f"not CSV ({error})")


def _csv_row(row: Mapping[Any, Any]) -> Row | Broken:
    if None in row:
        return Broken("more fields than the header names", str(row)[:200])
    return {str(name): _messages_in(cell) for name, cell in row.items()}


def _messages_in(cell: str | None) -> object:
    """A CSV cell that holds a JSON list of messages, as that list; any other as it stands."""
    if cell is None or not cell.lstrip().startswith("["):
        return cell
    try:
        value = json.loads(cell)
    except (ValueError, RecursionError):
        return cell
    return value if _looks_conversational(value) else cell


def _read_parquet(stream: BinaryIO, place: str) -> Iterator[Row | Broken]:
    with _parquet(stream, place) as table:
        for batch in table.iter_batches(batch_size=256):
            yield from batch.to_pylist()


def _parquet_rows(place: str) -> int:
    with storage.opened(place) as stream, _parquet(stream, place) as table:
        return int(table.metadata.num_rows)


@contextmanager
def _parquet(stream: BinaryIO, place: str) -> Iterator[pq.ParquetFile]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(stream) as table:
            yield table
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        raise HarnessError(f"is not Parquet ({error})", place=place, mend="Write the file anew.") from error


def _read_directory(path: Path) -> Iterator[Row | Broken]:
    from datasets import Dataset, load_from_disk

    try:
        data = load_from_disk(str(path))
    except (OSError, ValueError) as error:
        raise HarnessError(f"is no data set saved by `datasets` ({error})", place=str(path)) from error
    if not isinstance(data, Dataset):
        raise HarnessError("holds several splits", place=str(path), mend=f"Give one of: {', '.join(data)}.")
    yield from data


def _read_hub(source: str, config: str | None, split: str) -> Iterator[Row | Broken]:
    from datasets import load_dataset

    name, revision = hub.parted(source)
    chosen = {"revision": revision} if revision else {}
    try:
        yield from load_dataset(name, config, split=split, streaming=True, **chosen)
    except Exception as error:  # `datasets` and the hub client raise dozens of kinds here
        reason = f"cannot be loaded from the hub ({type(error).__name__}: {error})"
        raise HarnessError(reason, place=source, mend="Check the id, --config, --split and the network.") from error


# Checking: TRL's standard and conversational formats, with explicit and implicit prompts.


def check(row: Row | Broken) -> Pair:
    """The row as a pair with an explicit prompt. Raises Unscorable saying why it is none."""
    if isinstance(row, Broken):
        raise Unscorable(row.reason)
    answers = [_text(row.get(name), name) for name in ("chosen", "rejected")]
    prompt, chosen, rejected = _explicit(row.get("prompt"), *answers)
    for name, answer in (("chosen", chosen), ("rejected", rejected)):
        if answer == []:
            raise Unscorable(f"empty {name} answer")
    return Pair(row, prompt, chosen, rejected, _tools(row.get("tools")), _arguments(row.get("chat_template_kwargs")))


def _text(value: object, name: str) -> Text:
    if value is None:
        raise Unscorable(f"no {name} answer")
    if isinstance(value, str):
        return _encodable(value, name)
    if isinstance(value, Sequence) and not isinstance(value, bytes):
        return [_message(message, name) for message in value]
    raise Unscorable(f"{name} is neither text nor a list of messages")


def _message(message: object, name: str) -> Message:
    if not isinstance(message, Mapping) or not isinstance(message.get("role"), str):
        raise Unscorable(f"{name} holds a message without a role")
    content = message.get("content")
    if isinstance(content, str):
        _encodable(content, name)
    elif not isinstance(content, list) and not message.get("tool_calls"):
        raise Unscorable(f"{name} holds a message without content")
    return dict(message)


def _encodable(text: str, name: str) -> str:
    try:
        text.encode()
    except UnicodeEncodeError:
        raise Unscorable(f"{name} is not valid Unicode text") from None
    return text


def _looks_conversational(value: object) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(part, dict) and "role" in part for part in value)


def _explicit(prompt: object, chosen: Text, rejected: Text) -> tuple[Text, Text, Text]:
    if type(chosen) is not type(rejected):
        raise Unscorable("one answer is text, the other a list of messages")
    if prompt is None:
        return _implicit(chosen, rejected)
    prompt = _text(prompt, "prompt")
    if isinstance(prompt, str) and isinstance(chosen, list):
        return _prompt_beside_messages(prompt, chosen, rejected)
    if type(prompt) is not type(chosen):
        raise Unscorable("the prompt is a list of messages, the answers are text")
    if prompt == []:
        raise Unscorable("empty prompt")
    return prompt, chosen, rejected


def _implicit(chosen: Text, rejected: Text) -> tuple[Text, Text, Text]:
    """The longest common beginning is the prompt, found as TRL's `extract_prompt` finds it, quirks included."""
    if chosen == rejected:
        raise Unscorable("identical answers, so the prompt they begin with cannot be told from them")
    if not chosen or not rejected:
        raise Unscorable("an empty answer and no prompt column")
    cut = min(len(chosen), len(rejected)) - 1
    for place in range(cut + 1):
        if chosen[place] != rejected[place]:
            cut = place - 1 if chosen[place - 1] == " " else place
            break
    if cut <= 0:
        raise Unscorable("no prompt column, and the answers do not begin alike")
    return chosen[:cut], chosen[cut:], rejected[cut:]


def _prompt_beside_messages(prompt: str, chosen: list[Message], rejected: Text) -> tuple[Text, Text, Text]:
    """A text prompt beside message lists, as in UltraFeedback: the lists repeat it, or are the answers alone."""
    if chosen and chosen[0]["role"] != "assistant":
        return _implicit(chosen, rejected)
    return [{"role": "user", "content": prompt}], chosen, rejected


def _tools(value: object) -> list[Any] | None:
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except (ValueError, RecursionError):
            raise Unscorable("tools is not JSON") from None
    if value is not None and not isinstance(value, list):
        raise Unscorable("tools is not a list")
    return value


def _arguments(value: object) -> Mapping[str, Any]:
    if value is not None and not isinstance(value, Mapping):
        raise Unscorable("chat_template_kwargs is not an object")
    return value or {}


# Tokens: what TRL 1.16's DPOTrainer._prepare_dataset and its collator make of a pair.


def tokenize(pair: Pair, tokenizer: PreTrainedTokenizerBase, max_length: int | None = None) -> Tokens:
    """The pair's token ids as DPOTrainer trains on them.

    The answers start where the rendered prompt and the rendered whole part ways; plain text gets the end-of-sequence
    token, messages get what the chat template renders. With `max_length` the end is cut off, as TRL's default
    `keep_start` does. Raises Unscorable saying why the pair has no tokens to score.
    """
    try:
        prompt, chosen, rejected = _rendered(pair, tokenizer)
    except Exception as error:  # chat templates raise whatever their author chose
        said = " ".join(str(error).split())[:120]
        raise Unscorable(f"cannot be tokenised ({type(error).__name__}: {said})") from error
    shared = min(common_prefix(prompt, chosen), common_prefix(prompt, rejected))
    if shared == 0:
        raise Unscorable("no prompt token to predict the answer from")
    if max_length is not None and shared >= max_length:
        raise Unscorable(f"the prompt alone fills {max_length} tokens")
    tokens = Tokens(chosen[:shared], chosen[shared:max_length], rejected[shared:max_length], shared < len(prompt))
    if not tokens.chosen or not tokens.rejected:
        raise Unscorable(f"empty {'rejected' if tokens.chosen else 'chosen'} answer")
    return tokens


def common_prefix(left: Sequence[int], right: Sequence[int]) -> int:
    """How many leading items two sequences share."""
    shortest = min(len(left), len(right))
    return next((place for place in range(shortest) if left[place] != right[place]), shortest)


def _rendered(pair: Pair, tokenizer: PreTrainedTokenizerBase) -> tuple[list[int], list[int], list[int]]:
    """Token ids of the prompt alone, and of the prompt with each answer."""
    whole = [_joined(pair.prompt, answer, tokenizer.eos_token) for answer in (pair.chosen, pair.rejected)]
    if not pair.conversational:
        prompt, chosen, rejected = (list(tokenizer(text=text)["input_ids"]) for text in (pair.prompt, *whole))
        return prompt, chosen, rejected
    options = {"tools": pair.tools, **pair.template_arguments}
    prompt = _templated(tokenizer, pair.prompt, {**options, "add_generation_prompt": True})
    return prompt, _templated(tokenizer, whole[0], options), _templated(tokenizer, whole[1], options)


def rendered_texts(pair: Pair, tokenizer: PreTrainedTokenizerBase) -> tuple[str, str, str]:
    """The text behind the tokens: of the prompt alone, and of the prompt with each answer."""
    whole = [_joined(pair.prompt, answer, tokenizer.eos_token) for answer in (pair.chosen, pair.rejected)]
    if not pair.conversational:
        return str(pair.prompt), str(whole[0]), str(whole[1])
    options = {"tools": pair.tools, **pair.template_arguments, "tokenize": False}
    prompt = tokenizer.apply_chat_template(pair.prompt, **options, add_generation_prompt=True)
    chosen, rejected = (tokenizer.apply_chat_template(messages, **options) for messages in whole)
    return str(prompt), str(chosen), str(rejected)


def _templated(tokenizer: PreTrainedTokenizerBase, messages: Text, options: Mapping[str, Any]) -> list[int]:
    return list(tokenizer.apply_chat_template(messages, tokenize=True, return_dict=True, **options)["input_ids"])


def _joined(prompt: Text, answer: Text, end: str | None) -> Text:
    if isinstance(prompt, list) and isinstance(answer, list):
        return prompt + answer
    if end is None:
        raise ValueError("the tokenizer has no end-of-sequence token")
    text = str(answer)
    return f"{prompt}{text if text.endswith(end) else text + end}"
