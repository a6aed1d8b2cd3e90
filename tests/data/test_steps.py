"""Steps: applied in order, taken back without a trace, and never more than they say."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from studio.data.audit.contract import AuditSettings, Finding
from studio.data.audit.report import audit
from studio.data.examples import assistant, system, user
from studio.data.steps import (
    STEPS,
    TRIMS,
    Step,
    add_step,
    apply_steps,
    is_accepted,
    read_steps,
    remove_step,
    step_for,
    without_tokens,
    without_whitespace,
    write_steps,
)
from studio.errors import UserError

SETTINGS = AuditSettings(dataset_type="prompt_completion", special_tokens=("<|im_start|>", "<|im_end|>"))
WHEN = "2026-11-25T03:00:00+00:00"
TEXTS = [
    "Which bird lives on the cliff?",
    " Which fish lives in the reef?\n",
    "Who lights the lamp?<|im_end|>",
    "What is written in the log book?",
    "How is tea made at sea?",
]


def examples() -> list[tuple[int, dict]]:
    answers = ("The puffin does.", "  The wrasse\n", "The <|im_start|>keeper.", "Wind and fog.", "With hot water.")
    pairs = zip(TEXTS, answers, strict=True)
    return [
        (row, {"prompt": [system("Be good."), user(asked)], "completion": [assistant(answer)]})
        for row, (asked, answer) in enumerate(pairs, start=1)
    ]


def bytes_of(numbered) -> bytes:
    return json.dumps(list(numbered), ensure_ascii=False).encode()


def step(finding: str, remedy: str, rows: str, **parameters) -> Step:
    return Step(finding=finding, remedy=remedy, rows=rows, parameters=parameters, when=WHEN)


def findings(numbered) -> dict[str, Finding]:
    report, _ = audit(numbered, None, SETTINGS)
    return {finding.code: finding for finding in report.findings}


def test_dropped_rows_are_left_out_and_the_others_keep_their_numbers_and_bytes():
    after = list(apply_steps(examples(), [step("duplicates", "drop", "2,4-5")]))
    assert [row for row, _ in after] == [1, 3]
    assert bytes_of(after) == bytes_of([pair for pair in examples() if pair[0] in (1, 3)])


@pytest.mark.parametrize("code", ["surrounding_whitespace", "special_tokens"])
def test_a_trim_takes_away_what_was_found_and_nothing_else(code):
    before = findings(examples())
    after = list(apply_steps(examples(), [step_for(before[code], "trim")]))
    assert set(findings(after)) == set(before) - {code}
    untouched = set(range(1, 6)) - set(before[code].row_numbers())
    assert bytes_of(pair for pair in after if pair[0] in untouched) == bytes_of(
        pair for pair in examples() if pair[0] in untouched
    )


def test_trimmed_texts_are_exactly_these():
    found = findings(examples())
    steps = [step_for(found[code], "trim") for code in ("surrounding_whitespace", "special_tokens")]
    after = dict(apply_steps(examples(), steps))
    assert after[2] == {
        "prompt": [system("Be good."), user("Which fish lives in the reef?")],
        "completion": [assistant("The wrasse")],
    }
    assert after[3] == {
        "prompt": [system("Be good."), user("Who lights the lamp?")],
        "completion": [assistant("The keeper.")],
    }
    assert steps[1].parameters == {"tokens": ["<|im_end|>", "<|im_start|>"]}


def test_steps_taken_back_leave_the_very_bytes(tmp_path):
    before = bytes_of(examples())
    found = findings(examples())
    add_step(tmp_path, step_for(found["surrounding_whitespace"], "trim"))
    add_step(tmp_path, step_for(found["special_tokens"], "drop"))
    steps = add_step(tmp_path, step("duplicates", "drop", "1"))
    assert [row for row, _ in apply_steps(examples(), steps)] == [2, 4, 5]
    assert [one.finding for one in remove_step(tmp_path, 1)] == ["surrounding_whitespace", "duplicates"]
    assert [row for row, _ in apply_steps(examples(), read_steps(tmp_path))] == [2, 3, 4, 5]
    assert remove_step(tmp_path)
    assert remove_step(tmp_path) == []
    assert bytes_of(apply_steps(examples(), read_steps(tmp_path))) == before
    with pytest.raises(UserError, match="no such step"):
        remove_step(tmp_path)


def test_applying_steps_changes_no_example_that_was_given():
    given_examples = examples()
    before = bytes_of(given_examples)
    list(apply_steps(given_examples, [step("surrounding_whitespace", "trim", "1-5"), step("duplicates", "drop", "1")]))
    assert bytes_of(given_examples) == before


@given(st.lists(st.sampled_from(["trim", "drop", "keep"]), max_size=5), st.data())
def test_a_step_taken_back_is_as_if_it_had_never_been(remedies, data):
    rows = st.lists(st.integers(1, 5), unique=True).map(lambda some: ",".join(map(str, sorted(some))))
    steps = [step("surrounding_whitespace", remedy, data.draw(rows)) for remedy in remedies]
    extra = step("special_tokens", "trim", "1-5", tokens=["<|im_end|>"])
    position = data.draw(st.integers(0, len(steps)))
    with_extra = [*steps[:position], extra, *steps[position:]]
    del with_extra[position]
    assert bytes_of(apply_steps(examples(), with_extra)) == bytes_of(apply_steps(examples(), steps))
    assert bytes_of(apply_steps(examples(), [])) == bytes_of(examples())


def test_steps_are_kept_beside_the_data_set_and_come_back(tmp_path):
    steps = [step("special_tokens", "trim", "1-3", tokens=["<s>"]), step("length_bias", "keep", "")]
    assert read_steps(tmp_path) == []
    write_steps(tmp_path, steps)
    assert read_steps(tmp_path) == steps
    assert [path.name for path in tmp_path.iterdir()] == [STEPS]


def test_what_was_kept_shows_as_accepted_until_more_rows_have_it():
    finding = Finding(code="duplicates", severity="warning", count=2, rows="4,9", remedies=("drop", "keep"))
    kept = step_for(finding, "keep")
    assert not is_accepted(finding, [])
    assert is_accepted(finding, [kept])
    assert is_accepted(finding, [step_for(finding, "keep", "4"), step_for(finding, "keep", "9")])
    assert not is_accepted(finding, [step_for(finding, "keep", "4")])
    assert not is_accepted(finding.model_copy(update={"rows": "4,9,11"}), [kept])
    assert not is_accepted(finding.model_copy(update={"code": "secrets"}), [kept])
    whole = Finding(code="length_bias", severity="warning", count=50)
    assert not is_accepted(whole, [kept])
    assert is_accepted(whole, [step_for(whole, "keep")])


def test_a_remedy_that_a_finding_does_not_have_is_refused():
    finding = Finding(code="duplicates", severity="warning", count=2, rows="4,9", remedies=("drop", "keep"))
    with pytest.raises(UserError, match="trim is no remedy"):
        step_for(finding, "trim")
    with pytest.raises(UserError, match="Not all of these rows"):
        step_for(finding, "drop", "4,5")
    with pytest.raises(UserError, match="cannot be trimmed"):
        list(apply_steps(examples(), [step("duplicates", "trim", "1")]))


def test_every_finding_that_offers_a_trim_has_one():
    from studio.data.audit.findings import FINDINGS

    assert {code for code, check in FINDINGS.items() if "trim" in check.remedies} == set(TRIMS)


def test_whitespace_goes_around_texts_but_not_in_a_tools_answer_or_where_nothing_else_is():
    tool = {"role": "tool", "content": " 17 \n", "name": "f"}
    call = {"role": "assistant", "content": "", "tool_calls": [{"function": {"name": "f", "arguments": {"a": " x "}}}]}
    example = {
        "messages": [user(" a b\n"), call, tool, assistant(" \n"), assistant("\u3000好 ")],
        "tools": [{"a": " "}],
    }
    changed = without_whitespace(example)
    assert changed == {"messages": [user("a b"), call, tool, assistant(" \n"), assistant("好")], "tools": [{"a": " "}]}
    assert without_whitespace({"text": "  a\n b "}) == {"text": "a\n b"}


def test_tokens_go_from_all_texts_also_from_reasoning_and_the_arguments_of_calls():
    turn = {
        "role": "assistant",
        "content": "a<s>b",
        "reasoning_content": "<s>hm",
        "tool_calls": [{"type": "function", "function": {"name": "<s>", "arguments": {"<s>": ["<s>c", 1, None]}}}],
    }
    [changed] = without_tokens({"messages": [turn]}, ["<s>"])["messages"]
    assert (changed["content"], changed["reasoning_content"]) == ("ab", "hm")
    assert changed["tool_calls"][0]["function"] == {"name": "<s>", "arguments": {"<s>": ["c", 1, None]}}


@given(st.text(alphabet="<s>ab</", max_size=40))
def test_no_token_is_left_when_tokens_are_taken_out(text):
    tokens = ["<s>", "</s>", "ab"]
    left = without_tokens({"text": text}, tokens)["text"]
    assert not any(token in left for token in tokens)
    if not any(token in text for token in tokens):
        assert left == text


def test_tokens_nested_in_tokens_are_taken_out_in_linear_time():
    nested = "<|im_" * 20_000 + "<|im_end|>" + "end|>" * 20_000
    assert without_tokens({"text": f"a{nested}b"}, ["<|im_end|>"]) == {"text": "ab"}
