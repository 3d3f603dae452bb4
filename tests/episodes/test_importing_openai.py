"""Chats and evals in OpenAI's forms: what was said, what was done, and who says how it ended."""

import pytest

from episodes.importing.entries import BadLine, Note
from tests.episodes.reading import acts, ends, entry, read, spoken

TOOL = {
    "type": "function",
    "function": {"name": "track", "description": "Find a parcel.", "parameters": {"type": "object"}},
}
CALL = {"id": "c-1", "type": "function", "function": {"name": "track", "arguments": '{"parcel": "P-7"}'}}
ASKED = [{"role": "system", "content": "You help customers."}, {"role": "user", "content": "Where is my parcel P-7?"}]
WORKED = [
    {"role": "assistant", "content": None, "tool_calls": [CALL]},
    {"role": "tool", "tool_call_id": "c-1", "content": '{"error": "unknown parcel"}'},
]
ANSWER = {"role": "assistant", "content": "We do not know this parcel."}


def completion(**changes: object) -> dict[str, object]:
    return {
        "id": "chatcmpl-1", "object": "chat.completion", "created": 1_740_830_400, "model": "gpt-x",
        "choices": [{"index": 0, "finish_reason": "stop", "message": {**ANSWER, "tool_calls": None, "function_call": None}}],
        "usage": {"prompt_tokens": 40, "completion_tokens": 9, "total_tokens": 49}, **changes,
    }  # fmt: skip


def test_chat__fine_tuning_line__is_an_episode_with_steps_and_harness() -> None:
    one = entry("openai-chat", {"messages": [*ASKED, *WORKED, ANSWER], "tools": [TOOL]})

    assert spoken(one) == [("system", "You help customers."), ("user", "Where is my parcel P-7?")]
    assert one.item["output"]["text"] == "We do not know this parcel."
    assert acts(one) == [("model_call", ""), ("tool_call", "track"), ("model_call", "")]
    assert one.item["steps"][1]["input"] == {"parcel": "P-7"}
    assert one.item["steps"][1]["status"] == "error"
    assert one.document is not None
    assert one.document["prompt"]["system"] == "You help customers."
    assert one.document["tools"]["track"]["description"] == "Find a parcel."
    assert one.endings == ()
    assert one.item["conversation"] == one.item["id"]


def test_chat__metadata__names_conversation_subject_time_and_end() -> None:
    told = {
        "conversation_id": "k-1",
        "user_id": "u-1",
        "created_at": "2025-03-01T12:00:00+01:00",
        "outcome": "escalated",
    }

    one = entry("openai-chat", {"messages": [*ASKED, ANSWER], "metadata": told})

    assert (one.item["conversation"], one.item["subject"]) == ("k-1", "u-1")
    assert one.item["started_at"] == "2025-03-01T11:00:00+00:00"
    assert ends(one) == [("escalated", "agent", 1.0)]
    assert one.item["attributes"]["metadata"] == told


def test_chat__user_has_the_last_word__is_an_episode_without_an_answer() -> None:
    one = entry("openai-chat", {"messages": [*ASKED, ANSWER, {"role": "user", "content": "Hello?"}]})

    assert spoken(one)[-1] == ("user", "Hello?")
    assert one.item["output"]["text"] == ""


def test_chat__content_in_parts__keeps_the_parts_and_reads_the_words() -> None:
    parts = [
        {"type": "text", "text": "What is this?"},
        {"type": "image_url", "image_url": {"url": "https://example.com/a"}},
    ]

    one = entry("openai-chat", {"messages": [{"role": "user", "content": parts}, {"role": "assistant", "content": [{"type": "refusal", "refusal": "I cannot say."}]}]})  # fmt: skip

    assert one.item["input"]["messages"][0]["content"] == parts
    assert one.item["output"]["text"] == "I cannot say."


@pytest.mark.parametrize(
    "row",
    [
        {**completion(), "messages": ASKED},
        {"request": {"messages": ASKED, "model": "gpt-x"}, "response": completion()},
        {"request": {"body": {"messages": ASKED}}, "response": {"status_code": 200, "body": completion()}},
        {"custom_id": "b-1", "body": {"messages": ASKED}, "response": {"status_code": 200, "body": completion()}, "error": None},
    ],
)  # fmt: skip
def test_chat__completion_with_its_request_in_any_form__is_the_same_episode(row: dict[str, object]) -> None:
    one = entry("openai-chat", row)

    assert spoken(one)[-1] == ("user", "Where is my parcel P-7?")
    assert one.item["output"]["text"] == "We do not know this parcel."
    assert acts(one) == [("model_call", "gpt-x")]
    assert one.item["usage"] == {"input_tokens": 40, "output_tokens": 9}
    assert one.item["started_at"] == "2025-03-01T12:00:00+00:00"
    assert one.item["id"] in {"chatcmpl-1", "b-1"}


def test_chat__stored_completions_page__is_each_of_them() -> None:
    page = {"object": "list", "data": [completion(), completion(id="chatcmpl-2")], "has_more": False}

    assert [one.item["id"] for one in read("openai-chat", page)] == ["chatcmpl-1", "chatcmpl-2"]  # type: ignore[union-attr]


def test_chat__request_that_failed__is_an_episode_with_the_error() -> None:
    body = {"error": {"message": "the server is overloaded"}}

    one = entry("openai-chat", {"custom_id": "b-2", "response": {"status_code": 503, "body": body}, "error": None})

    assert one.item["id"] == "b-2"
    assert one.item["steps"][-1]["error"] == "the server is overloaded"


@pytest.mark.parametrize(
    "row", [{}, {"messages": []}, {"messages": "hi"}, {"messages": [{"content": "x"}]}, {"prompt": "x"}]
)
def test_chat__line_without_a_chat__is_a_bad_line(row: dict[str, object]) -> None:
    (bad,) = read("openai-chat", row)

    assert isinstance(bad, BadLine)
    assert bad.number == 1
    assert bad.reason


def test_chat__same_content_in_other_order__has_the_same_id() -> None:
    first = entry("openai-chat", {"messages": [*ASKED, ANSWER], "metadata": {"a": 1, "b": 2}})
    again = entry("openai-chat", {"metadata": {"b": 2, "a": 1}, "messages": [*ASKED, ANSWER]})
    other = entry("openai-chat", {"messages": [*ASKED, ANSWER], "metadata": {"a": 2}})

    assert first.item["id"] == again.item["id"] != other.item["id"]


def output_item(**changes: object) -> dict[str, object]:
    return {
        "object": "eval.run.output_item", "id": "outputitem_1", "created_at": 1_743_092_076, "run_id": "evalrun_1",
        "eval_id": "eval_1", "status": "fail", "datasource_item_id": 5,
        "datasource_item": {"input": "Shares rise after good news", "ground_truth": "Markets"},
        "results": [
            {"name": "String check-a2486074-d803-4445-b431-ad2262e85d47", "sample": None, "passed": False, "score": 0.0},
            {"name": "Tone", "type": "score-model-grader", "passed": True, "score": 0.9},
        ],
        "sample": {
            "input": [{"role": "developer", "content": "Name the topic."}, {"role": "user", "content": "Shares rise after good news"}],
            "output": [{"role": "assistant", "content": "Sports"}], "finish_reason": "stop", "model": "gpt-x",
            "usage": {"total_tokens": 52, "completion_tokens": 2, "prompt_tokens": 50, "cached_tokens": 0},
            "error": None, "temperature": 1.0, "seed": 42,
        },
        **changes,
    }  # fmt: skip


def test_evals__output_item__is_an_episode_whose_end_the_graders_say() -> None:
    one = entry("openai-evals", output_item())

    assert one.domain == "eval_1"
    assert spoken(one)[-1] == ("user", "Shares rise after good news")
    assert one.item["input"]["item"]["ground_truth"] == "Markets"
    assert one.item["output"]["text"] == "Sports"
    assert one.item["usage"] == {"input_tokens": 50, "output_tokens": 2}
    assert one.item["external_refs"] == {"eval_id": "eval_1", "run_id": "evalrun_1", "datasource_item_id": "5"}
    assert ends(one) == [("failed", "detector", 1.0), ("string_check", "detector", 0.0), ("tone", "detector", 0.9)]
    assert one.endings[0].reason == "String check failed, Tone passed"
    assert one.document is not None
    assert one.document["model"] == {"name": "gpt-x", "parameters": {"temperature": 1.0, "seed": 42}}


def test_evals__run_with_its_items__are_the_items() -> None:
    run = {"run": {"id": "evalrun_1"}, "output_items": [output_item(), output_item(id="outputitem_2", status="pass")]}

    assert [ends(one)[0][0] for one in read("openai-evals", run)] == ["failed", "resolved"]  # type: ignore[arg-type]


def test_evals__item_that_was_not_sampled__asks_what_the_item_asks() -> None:
    one = entry("openai-evals", output_item(sample=None, status="pass"))

    assert spoken(one) == [("user", "Shares rise after good news")]
    assert one.item["output"]["text"] == ""


def test_evals__item_that_broke_down__says_nothing_of_the_agent() -> None:
    one = entry(
        "openai-evals", output_item(status="error", results=[], sample={"error": {"code": "500", "message": "down"}})
    )

    assert one.endings == ()
    assert one.item["steps"][-1]["error"] == "down"


def event(kind: str, sample: str = "s.1", number: int = 0, **data: object) -> dict[str, object]:
    return {
        "run_id": "r-1", "event_id": number, "sample_id": sample, "type": kind, "data": data, "created_by": "",
        "created_at": f"2025-03-01 12:00:0{number}.123456+00:00",
    }  # fmt: skip


SPEC = {
    "spec": {
        "completion_fns": ["gpt-x"], "eval_name": "sums.dev.v0", "base_eval": "sums", "split": "dev", "run_id": "r-1",
        "run_config": {"eval_spec": {"cls": "evals.elsuite.basic.match:Match"}}, "created_at": "2025-03-01 12:00:00.000",
    }
}  # fmt: skip
PROMPT = [{"role": "system", "content": "Answer with a number."}, {"role": "user", "content": "2 + 2?"}]


def test_evals__log_of_the_framework__is_one_episode_a_sample_though_threads_mix_them() -> None:
    told = read(
        "openai-evals", SPEC, event("sampling", prompt=PROMPT, sampled=["4"]),
        event("sampling", "s.2", 1, prompt="3 + 3?", sampled="7"), event("match", number=2, correct=True, expected="4", picked="4"),
        event("match", "s.2", 3, correct=False, expected="6", picked=None), event("metrics", "s.2", 4, accuracy=0.0),
        {"final_report": {"accuracy": 0.5}},
    )  # fmt: skip

    note, first, second = told
    assert isinstance(note, Note)
    assert "0.5" in note.sentence
    assert (first.item["id"], first.domain) == ("r-1:s.1", "sums.dev.v0")  # type: ignore[union-attr]
    assert spoken(first)[-1] == ("user", "2 + 2?")  # type: ignore[arg-type]
    assert first.item["output"]["text"] == "4"  # type: ignore[union-attr]
    assert acts(first) == [("model_call", "gpt-x")]  # type: ignore[arg-type]
    assert ends(first) == [("resolved", "detector", 1.0)]  # type: ignore[arg-type]
    assert ends(second) == [("failed", "detector", 1.0), ("accuracy", "detector", 0.0)]  # type: ignore[arg-type]


def test_evals__log_graded_by_a_model__tells_the_grader_from_the_agent() -> None:
    spec = {
        "spec": {
            **SPEC["spec"],
            "run_config": {"eval_spec": {"cls": "evals.elsuite.modelgraded.classify:ModelBasedClassify"}},
        }
    }
    graded = event("sampling", number=1, prompt="Is '4' right?", sampled=["Y"])

    one = entry("openai-evals", spec, event("sampling", prompt=PROMPT, sampled=["4"]), graded)

    assert one.item["output"]["text"] == "4"
    assert acts(one) == [("model_call", "gpt-x"), ("check", "model grader")]


def test_evals__event_of_no_sample__is_a_bad_line() -> None:
    told = read(
        "openai-evals", SPEC, {"run_id": "r-1", "type": "match", "sample_id": None, "data": {"correct": True}}, {"a": 1}
    )

    assert [(bad.number, type(bad)) for bad in told] == [(2, BadLine), (3, BadLine)]  # type: ignore[union-attr]
