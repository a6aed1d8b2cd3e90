"""The advice: any facts give a spec that could start, and the document's rules hold in it."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from studio.errors import UserError
from studio.jobs.preflight import check_combination
from studio.jobs.spec import build_spec
from studio.methods.advice import RANKS, TASKS, Facts, advise, gigabytes, rules
from studio.methods.objectives import OBJECTIVES

DATASET = {"id": "rows-1", "sha256": "0"}
TYPES = sorted({kind for objective in OBJECTIVES.values() for kind in objective.dataset_types})
SECTIONS = {"1", "2.1", "2.2", "2.3", "3.1", "3.2", "3.3", "3.4", "4", "5.1", "5.2", "5.3", "5.4", "6.1", "6.2",
            "6.3", "Q1", "Q2", "Q3", "Q4", "Q5"}  # fmt: skip


def value(key, **facts):
    """The value that is recommended for one option."""
    made = advise(Facts(**{"rows": 1000, "dataset_type": "prompt_completion", **facts}))
    return next(choice.value for choice in made.choices if choice.key == key)


@st.composite
def any_facts(draw):
    p95 = draw(st.integers(0, 200_000))
    tokens = {"p50": p95 // 2, "p95": p95, "max": p95 + draw(st.integers(0, 10_000))} if p95 else {}
    return Facts(
        rows=draw(st.integers(1, 10_000_000)),
        dataset_type=draw(st.sampled_from(TYPES)),
        task=draw(st.sampled_from(TASKS)),
        hurry=draw(st.booleans()),
        tokens=tokens,
        parameters=draw(st.integers(0, 700_000_000_000)),
        max_position_embeddings=draw(st.sampled_from([0, 128, 512, 2048, 131_072])),
        has_chat_template=draw(st.booleans()),
        has_card=draw(st.booleans()),
        memory_bytes=draw(st.integers(10**9, 200 * 10**9)),
    )


@given(any_facts())
@settings(max_examples=300, deadline=None)
def test_any_facts_give_a_spec_that_goes_together_and_sentences_in_both_languages(facts):
    recommendation = advise(facts)
    spec = build_spec({"dataset": DATASET, **recommendation.values()})
    check_combination(spec)
    assert facts.dataset_type in OBJECTIVES[spec.objective.name].dataset_types
    assert 1e-5 <= spec.learning_rate <= 2e-4, "the document's range"
    assert spec.max_length <= (facts.max_position_embeddings or spec.max_length)
    if spec.tuner.name == "lora":
        assert 2 * spec.tuner.r <= spec.tuner.lora_alpha <= 4 * spec.tuner.r
    for choice in recommendation.choices:
        for language in ("en", "zh"):
            told = choice.explain(language)
            assert len(told["reason"]) > 8
            assert "{" not in told["reason"]
            assert facts.rows > 1 or "1 rows" not in told["reason"]


@pytest.mark.parametrize(
    ("facts", "key", "wanted"),
    [
        ({}, "tuner.r", 8),
        ({"task": "classification"}, "tuner.r", 4),
        ({"task": "code", "hurry": True}, "tuner.r", 16),
        ({"task": "code"}, "tuner.r", 32),
        ({"parameters": 70 * 10**9}, "tuner.r", 64),
        ({"rows": 9_999}, "tuner.name", "lora"),
        ({"rows": 200_000}, "tuner.name", "lora"),  # nothing is known about the model
        ({"rows": 200_000, "parameters": 10**9, "memory_bytes": 80 * 10**9}, "tuner.name", "full"),
        ({"rows": 200_000, "parameters": 7 * 10**9, "memory_bytes": 80 * 10**9}, "tuner.name", "lora"),
        ({"rows": 200_000, "parameters": 7 * 10**9, "memory_bytes": 80 * 10**9}, "tuner.r", 32),
        ({"dataset_type": "preference", "rows": 500_000, "parameters": 10**9}, "tuner.name", "lora"),
        ({"dataset_type": "preference"}, "objective.name", "dpo"),
        ({"task": "alignment"}, "objective.name", "sft"),
        ({"parameters": 7 * 10**9, "has_card": True, "memory_bytes": 24 * 10**9}, "quantization", "none"),
        ({"parameters": 7 * 10**9, "has_card": True, "memory_bytes": 12 * 10**9}, "quantization", "nf4"),
        ({"parameters": 7 * 10**9, "has_card": True, "memory_bytes": 12 * 10**9}, "optim", "paged_adamw_8bit"),
        ({"parameters": 7 * 10**9, "memory_bytes": 12 * 10**9}, "optim", "adamw_torch"),
        ({"rows": 100}, "num_train_epochs", 5),
        ({"rows": 100, "hurry": True}, "num_train_epochs", 1),
        ({"rows": 50_000}, "num_train_epochs", 2),
        ({"has_chat_template": False}, "chat_template", "plain"),
        ({"tokens": {"p50": 100, "p95": 200, "max": 210}}, "max_length", 256),
        ({"tokens": {"p50": 100, "p95": 90_000, "max": 90_000}, "max_position_embeddings": 512}, "max_length", 512),
        ({"rows": 3}, "eval_share", 0.0),
    ],
)  # fmt: skip
def test_a_rule_of_the_document_holds(facts, key, wanted):
    assert value(key, **facts) == wanted


def test_seventy_billion_weights_in_four_bits_need_more_than_one_24_gb_card():
    facts = Facts(rows=1000, dataset_type="prompt_completion", parameters=65 * 10**9, has_card=True)
    assert 40 < gigabytes(facts)["nf4"] < 60, "QLoRA's paper: 48 GB"
    assert "choose a smaller model" in str([one.explain("en") for one in advise(facts).choices])


def test_a_batch_is_never_one_row_and_divides_into_its_parts():
    for kind in TYPES:
        for rows in (1, 30, 200, 5_000):
            for p95 in (10, 5_000):
                facts = {"dataset_type": kind, "rows": rows, "tokens": {"p50": 1, "p95": p95, "max": p95}}
                device = value("per_device_train_batch_size", **facts)
                assert device >= 2
                assert device * value("gradient_accumulation_steps", **facts) in (4, 8, 16)


def test_every_rule_names_a_section_and_speaks_both_languages():
    for name, rule in rules().items():
        assert set(rule) <= {"section", "reason", "note"}, name
        assert set(rule["section"].split(", ")) <= SECTIONS, name
        for part in ("reason", "note"):
            if part in rule:
                assert set(rule[part]) == {"en", "zh"}, name
                assert any("\u4e00" <= letter <= "\u9fff" for letter in rule[part]["zh"]), name


def test_every_rule_is_used():
    used = set()
    for kind in TYPES:
        for task in RANKS:
            for rows in (2, 20, 700, 5_000, 60_000, 300_000):
                for billion in (0, 1, 7, 14, 70):
                    for gb in (1, 12, 24, 640):
                        for flag in (False, True):
                            facts = Facts(
                                rows=rows, dataset_type=kind, task=task, hurry=flag, parameters=billion * 10**9,
                                has_card=flag, memory_bytes=gb * 10**9, has_chat_template=flag,
                                tokens={"p50": 5, "p95": 9, "max": 9} if flag else {},
                            )  # fmt: skip
                            used |= {choice.rule for choice in advise(facts).choices}
    assert used == set(rules()) - ({"objective_orpo"} - set(_names("orpo"))) - ({"objective_kto"} - set(_names("kto")))


def _names(objective):
    return [f"objective_{objective}"] if objective in OBJECTIVES else []


def test_no_rows_are_told():
    with pytest.raises(UserError, match="no rows"):
        advise(Facts(rows=0, dataset_type="prompt_completion"))


def test_every_sentence_is_whole():
    for name, rule in rules().items():
        for part in ("reason", "note"):
            for language, text in rule.get(part, {}).items():
                assert text.rstrip("”")[-1] in ".。)）", f"{name} {part} {language}: {text}"


def test_one_row_is_counted_as_english_does():
    reasons = [one.explain("en")["reason"] for one in advise(Facts(rows=1, dataset_type="prompt_completion")).choices]
    assert any(reason.startswith("1 row: that is little") for reason in reasons)
    assert not [reason for reason in reasons if "1 rows" in reason]
