"""Every finding on planted rows: the right rows, the right number, and nothing else."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from studio.data.audit.contract import AuditSettings, Finding, row_numbers, to_spans
from studio.data.audit.findings import FINDINGS, build_checks
from studio.data.audit.lengths import NONE, Lengths, LengthsBuilder, learned_spans
from studio.data.audit.report import AuditReport, audit, cache_key, special_tokens_of
from studio.data.audit.scripts import script_of
from studio.data.audit.tokens import recount, suggest
from studio.data.audit.words import WORDS, describe
from studio.data.chat_template import IGNORED, ChatTokenizer, Sequence, tokenize
from studio.data.examples import assistant, system, user
from studio.data.statistics import TextStatistics

SEA = "harbour lantern gull tide anchor mast rope captain storm island pilot compass fog channel reef sail rudder deck"
LAND = "keel buoy beacon sailor voyage cargo stern bow galley current horizon drift swell breeze cliff shoal ledger"
PLAIN = AuditSettings(dataset_type="prompt_completion", special_tokens=("<|im_start|>", "<|im_end|>"))


def sentence(seed: int, words: int = 40) -> str:
    """Words that no other seed puts in the same order."""
    return " ".join(random.Random(seed).choices(f"{SEA} {LAND}".split(), k=words)) + f" {seed}."


def pair(seed: int, *, asked: str = "", answer: str = "") -> dict:
    return {"prompt": [user(asked or sentence(seed, 8))], "completion": [assistant(answer or sentence(-seed - 1))]}


def preference(seed: int, chosen: str = "", rejected: str = "") -> dict:
    ours, theirs = (sentence(seed * 3 + k + 1, 12) for k in (1, 2))
    return {
        "prompt": [user(sentence(seed * 3, 8))],
        "chosen": [assistant(chosen or ours)],
        "rejected": [assistant(rejected or theirs)],
    }


def labelled(seed: int, label: bool) -> dict:
    return {**pair(seed), "label": label}


def clean(count: int = 30) -> list[dict]:
    return [pair(seed) for seed in range(count)]


def numbered(examples):
    return list(enumerate(examples, start=1))


def found_in(examples, settings=PLAIN, tokenizer=None, **options) -> dict[str, Finding]:
    report, _ = audit(numbered(examples), tokenizer, settings, **options)
    return {finding.code: finding for finding in report.findings}


def planted(rows: dict[int, dict], count: int = 30) -> list[dict]:
    """Clean examples, with others at some row numbers."""
    examples = clean(count)
    for row, example in rows.items():
        examples[row - 1] = example
    return examples


@pytest.fixture(scope="module")
def tokenizer(tiny_model) -> ChatTokenizer:
    return ChatTokenizer(tiny_model)


def test_clean_examples_have_no_finding(tokenizer):
    assert found_in(clean(300), tokenizer=tokenizer) == {}


PLANTED = {
    "empty_answers": {
        4: pair(1000, answer="  \n"),
        9: pair(1001, answer="\u200b\ufeff"),
        12: {"prompt": [], "completion": [assistant("")]},
    },
    "placeholders": {
        2: pair(1000, answer="undefined"),
        5: pair(1001, asked="Sum up the text.\n\nnan"),
        7: pair(1002, asked="N/A", answer=sentence(900)),
    },
    "short_answers": {3: pair(1000, answer="Yes."), 8: pair(1001, answer="是", asked="海鹦会飞吗，它住在哪里？")},
    "surrounding_whitespace": {
        1: pair(1000, answer=" " + sentence(901)),
        30: pair(1001, asked="Which bird is that?\n"),
    },
    "special_tokens": {
        6: pair(1000, answer="Good.<|im_end|> And more of it."),
        20: pair(1001, asked="a <|im_start|>user b"),
    },
    "template_marks": {
        6: pair(1000, asked="[INST] Which bird is that? [/INST]"),
        7: pair(1001, answer=sentence(902) + "<|eot_id|>"),
    },
    "template_code": {
        10: pair(1000, asked="Dear {{ name }}, which bird is that?"),
        11: pair(1001, answer="{% if a %} " + sentence(903)),
    },
    "secrets": {
        2: pair(1000, answer="My key is hf_" + "a1B2" * 9),
        13: pair(1001, asked="Use sk-proj-" + "x9Y8z7" * 5),
        14: pair(1002, answer="AKIA" + "ABCD1234" * 2 + " is it"),
        15: pair(1003, answer="-----BEGIN RSA PRIVATE KEY-----\nMII"),
        16: pair(1004, answer="ghp_" + "a1B2c3" * 6 + " is it"),
    },
    "language_mix": {5: pair(1000, asked="这是什么鸟？", answer="这是一只海鹦，它住在悬崖上，吃小鱼。")},
    "answer_language": {5: pair(1000, answer="Это тупик, он живёт на скалах.")},
    "duplicates": {18: pair(3), 22: pair(3), 29: pair(10)},
    "repeated_prompts": {17: pair(3, asked=sentence(5, 8), answer=sentence(904))},
}
ALSO = {
    "short_answers": {"language_mix"},
    "answer_language": {"language_mix"},
}  # findings that the same rows have as well


@pytest.mark.parametrize("code", PLANTED)
def test_a_text_finding_names_the_planted_rows_and_nothing_else_is_found(code):
    found = found_in(planted(PLANTED[code]))
    assert set(found) == {code} | ALSO.get(code, set())
    assert list(found[code].row_numbers()) == sorted(PLANTED[code])
    assert found[code].count == len(PLANTED[code])
    assert "drop" in found[code].remedies


@pytest.mark.parametrize(
    "text", ["risk-adjusted-return-of-the-whole-fund", "sk-learn", "hf_hub_download", "AKIAKO", "https://a.b/sk-1"]
)
def test_what_only_resembles_a_secret_is_none(text):
    assert found_in([pair(1, answer=f"{sentence(905)} {text} {sentence(906)}")]) == {}


def test_a_secret_is_not_repeated_in_the_finding():
    secret = "hf_" + "a1B2" * 9
    finding = found_in(planted({3: pair(900, answer=f"It is {secret}.")}))["secrets"]
    assert finding.figures == {"kinds": {"Hugging Face token": 1}}
    assert secret not in finding.model_dump_json()


def test_a_call_of_a_tool_is_no_empty_answer_and_its_arguments_are_read():
    call = {"type": "function", "function": {"name": "f", "arguments": {"to": ["hf_" + "a1B2" * 9]}}}
    turn = {"role": "assistant", "content": "", "tool_calls": [call]}
    found = found_in([{"prompt": [user("Which bird is that?")], "completion": [turn]}])
    assert set(found) == {"secrets"}


def test_a_turn_that_is_not_learned_may_be_empty():
    unread = {"role": "assistant", "content": "", "weight": 0}
    messages = [user("Hello there."), unread, user("Which bird is that?"), assistant(sentence(907))]
    assert found_in([{"messages": messages}], AuditSettings(dataset_type="language_modeling")) == {}


def test_short_answers_are_only_mentioned_where_most_are_short():
    finding = found_in([pair(seed, answer="Yes." if seed % 3 else "No.") for seed in range(9)])["short_answers"]
    assert (finding.severity, finding.count, finding.figures["share"]) == ("info", 9, 1.0)


LIGHTHOUSE = (
    "灯塔守护人每天傍晚点亮灯火，为远方的船只指引方向。他把风向、浪高和雾的浓淡写进日志，夜里常常煮一壶茶，"
    "听海鸥在礁石上叫。清晨他擦净玻璃，量好灯油，再走下一百二十级台阶去看潮水，村里的孩子们都认得他的脚步声。"
)


@pytest.mark.parametrize("scenario", ["case and signs", "a few words", "chinese", "another system message"])
def test_nearly_the_same_rows_are_found(scenario):
    asked, long = "Which bird is that?", sentence(910, 90)
    kept = {"prompt": [user(asked)], "completion": [assistant(long)]}
    one, other = {
        "case and signs": (pair(900, answer="The puffin is it"), pair(900, answer="the  Puffin is it!")),
        "a few words": (kept, pair(900, asked=asked, answer=long + " So it is.")),
        "chinese": (pair(900, answer=LIGHTHOUSE), pair(900, answer=LIGHTHOUSE + "天亮了。")),
        "another system message": (kept, {**kept, "prompt": [system("Be kind."), user(asked)]}),
    }[scenario]
    found = found_in(planted({8: one, 21: other}))
    near = found["near_duplicates"]
    assert (list(near.row_numbers()), near.figures["pairs"]) == ([21], [[21, 8]])
    assert (near.figures["compared"], near.figures["of"]) == (30, 30)


def test_numbers_and_a_shared_instruction_make_no_rows_alike():
    instruction = "Add the two numbers and answer with nothing but the sum, written in digits, without any words. " * 3
    sums = [pair(0, asked=f"{instruction}{a}.5+{a * 7}", answer=f"{a * 8}.5 is it") for a in range(10, 60)]
    sums += [pair(0, asked=f"{instruction}{a}5+{a * 7}", answer=f"{a * 8}5 is it") for a in range(10, 60)]
    assert "near_duplicates" not in found_in(sums)


def test_only_so_many_rows_are_compared_and_the_finding_says_so():
    examples = planted(
        {2: pair(0, asked="Which bird?"), 3: pair(0, asked="which bird"), 29: pair(0, asked="WHICH bird")}
    )
    settings = AuditSettings(dataset_type="prompt_completion", most_compared=20)
    near = found_in(examples, settings)["near_duplicates"]
    assert (list(near.row_numbers()), near.figures["compared"], near.figures["of"]) == ([3], 20, 30)


def test_rows_are_the_same_in_whatever_batches_they_are_compared(monkeypatch):
    from studio.data.audit import near_duplicates

    examples = planted({8: pair(0, answer=sentence(911, 90)), 21: pair(0, answer=sentence(911, 90) + " So.")}, 200)
    whole = found_in(examples)["near_duplicates"].rows
    monkeypatch.setattr(near_duplicates, "BATCH_ROWS", 7)
    assert found_in(examples)["near_duplicates"].rows == whole == "21"


PREFERENCE = AuditSettings(dataset_type="preference")
UNPAIRED = AuditSettings(dataset_type="unpaired_preference")


def test_pairs_that_teach_nothing_are_found():
    examples = [preference(seed) for seed in range(30)]
    examples[3] = preference(3, "The puffin it is.", "The puffin it is.\n")
    examples[7]["rejected"] = [assistant("What?"), user("Which bird?"), assistant("The gull it is.")]
    turned = preference(11)
    examples[20] = {**turned, "chosen": turned["rejected"], "rejected": turned["chosen"]}
    found = found_in(examples, PREFERENCE)
    assert {code: found[code].rows for code in ("identical_answers", "differing_prompts", "contradictions")} == {
        "identical_answers": "4",
        "differing_prompts": "8",
        "contradictions": "21",
    }
    assert set(found) <= {
        "identical_answers",
        "differing_prompts",
        "contradictions",
        "surrounding_whitespace",
        "near_duplicates",
    }


def test_longer_chosen_answers_are_a_bias_with_its_share():
    examples = [preference(seed, sentence(seed + 1, 30), sentence(seed + 2, 10)) for seed in range(30)]
    for seed in (0, 10, 20):
        examples[seed] = preference(seed, sentence(seed + 1, 10), sentence(seed + 2, 30))
    bias = found_in(examples, PREFERENCE)["length_bias"]
    assert (bias.count, bias.rows, bias.figures["chosen_longer"], bias.remedies) == (30, "", 0.9, ("keep",))
    assert "90%" in describe(bias)[0]
    assert found_in(examples[:10], PREFERENCE) == {}


@pytest.mark.parametrize(("good", "severity"), [(15, None), (24, None), (25, "warning"), (30, "error"), (0, "error")])
def test_labels_far_from_balance_are_found(good, severity):
    found = found_in([labelled(seed, seed < good) for seed in range(30)], UNPAIRED)
    if severity is None:
        assert found == {}
    else:
        balance = found["label_balance"]
        assert (balance.severity, balance.figures) == (severity, {"good": good, "bad": 30 - good})


def test_an_answer_with_both_labels_is_a_contradiction():
    examples = [labelled(seed, seed % 2 == 0) for seed in range(20)]
    examples[15] = labelled(4, False)
    found = found_in(examples, UNPAIRED)
    assert found["contradictions"].rows == "16"
    assert "duplicates" not in found


def test_a_text_finding_knows_raw_text_as_well():
    texts = [{"text": sentence(seed)} for seed in range(20)]
    texts[4], texts[9], texts[12] = {"text": sentence(3)}, {"text": " " + sentence(500)}, {"text": "\n \n"}
    found = found_in(texts, AuditSettings(dataset_type="language_modeling"))
    assert {code: finding.rows for code, finding in found.items()} == {
        "duplicates": "5",
        "surrounding_whitespace": "10",
        "empty_answers": "13",
    }


def test_training_rows_that_evaluate_as_well_are_found():
    examples = planted({9: pair(2), 14: pair(900, asked=sentence(3, 8))})
    leakage = found_in(examples, held_out={3, 4})["leakage"]
    assert leakage.rows == "9,14"
    assert leakage.figures == {"same_example": 1, "same_prompt": 1, "held_out_rows": 2}
    apart = found_in(clean(), eval_examples=numbered([pair(7), pair(100), pair(900, asked=sentence(1, 8))]))["leakage"]
    assert apart.rows == "2,8"
    assert apart.figures == {"same_example": 1, "same_prompt": 1, "held_out_rows": 2}
    assert found_in(clean(), held_out={3, 4}) == {}


def test_long_rows_are_cut_and_very_long_prompts_leave_nothing(tokenizer):
    examples = planted({5: pair(900, asked=sentence(920, 90)), 11: pair(901, answer=sentence(921, 120))})
    lengths = [len(tokenize(example, tokenizer)[0].input_ids) for example in examples]
    longest = max(length for row, length in enumerate(lengths, start=1) if row not in (5, 11))
    found = found_in(examples, tokenizer=tokenizer, max_length=longest)
    assert {code: finding.rows for code, finding in found.items()} == {"fully_masked": "5", "cut": "5,11"}
    lost = lengths[4] + lengths[10] - 2 * longest
    assert (found["cut"].figures["tokens_lost"], found["cut"].figures["ends_lost"]) == (lost, 2)


def test_an_answer_that_does_not_end_is_found(tiny_model, tmp_path):
    import shutil

    folder = shutil.copytree(tiny_model, tmp_path / "endless")
    template = "{% for m in messages %}{{ m.content + (eos_token + '\n' if 'gull' in m.content else '') }}{% endfor %}"
    (folder / "chat_template.jinja").write_text(template)
    examples = [pair(1, asked="q1", answer="the gull"), pair(2, asked="q2", answer="the fog")]
    found = found_in(examples, tokenizer=ChatTokenizer(folder))
    assert {code: finding.rows for code, finding in found.items()} == {"missing_eos": "2"}


def test_rows_that_the_template_refuses_are_named_with_the_reason(tiny_model, tmp_path):
    import shutil

    folder = shutil.copytree(tiny_model, tmp_path / "strict")
    template = "{% if messages[0].role == 'system' %}{{ raise_exception('no system here') }}{% endif %}"
    (folder / "chat_template.jinja").write_text(template + (tiny_model / "chat_template.jinja").read_text())
    examples = planted(
        {7: {"prompt": [system("Be good."), user("Which bird?")], "completion": [assistant(sentence(930))]}}
    )
    found = found_in(examples, tokenizer=ChatTokenizer(folder))
    assert {code: finding.rows for code, finding in found.items()} == {"refused_by_template": "7"}
    [reason] = found["refused_by_template"].figures["reasons"]
    assert "no system here" in reason


def test_every_finding_has_words_that_fit_its_figures(tokenizer):
    everything = planted({row: example for rows in PLANTED.values() for row, example in rows.items()})
    seen = dict(found_in(everything, tokenizer=tokenizer, max_length=40, held_out={1, 5}))
    for finding in seen.values():
        what, why = describe(finding)
        assert why
        assert "{c" not in what
    assert set(FINDINGS) | {"refused_by_template", "fully_masked", "cut", "missing_eos"} == set(WORDS)
    assert all(check.code == code for code, check in FINDINGS.items())


def test_a_report_is_json_and_comes_back(tokenizer):
    report, _ = audit(numbered(planted(PLANTED["secrets"])), tokenizer, PLAIN, max_length=64)
    assert AuditReport.model_validate_json(report.model_dump_json()) == report


def test_progress_is_told_and_can_stop_the_audit():
    told = []

    def stop_after(rows):
        told.append(rows)
        if rows > 300:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        audit(numbered(clean(2000)), None, PLAIN, progress=stop_after)
    assert told == [256, 512]


def test_the_cache_key_follows_what_the_tokens_depend_on(tiny_model, tmp_path):
    import shutil

    other = shutil.copytree(tiny_model, tmp_path / "other")
    keys = [cache_key("a", ChatTokenizer(tiny_model)), cache_key("a", ChatTokenizer(other))]
    assert keys[0] == keys[1]
    (other / "chat_template.jinja").write_text("{{ messages }}")
    keys += [cache_key("a", ChatTokenizer(other)), cache_key("b", ChatTokenizer(tiny_model)), cache_key("a", None)]
    keys += [cache_key("a", ChatTokenizer(tiny_model), held_out="1-3")]
    (other / "tokenizer.json").write_text((other / "tokenizer.json").read_text() + " ")
    keys += [cache_key("a", ChatTokenizer(other))]
    assert len(set(keys[1:])) == 6


def test_the_special_tokens_are_those_of_the_tokenizer(tokenizer):
    assert special_tokens_of(tokenizer) == ("<|endoftext|>", "<|im_end|>", "<|im_start|>")


@pytest.mark.parametrize(
    ("text", "script"),
    [
        ("Hello", "latin"),
        ("Grüße", "latin"),
        ("12 + 3", "none"),
        ("", "none"),
        ("请解释 Transformer 是什么", "chinese"),
        ("𠀀𠀁𠀂", "chinese"),
        ("これは海の鳥です", "japanese"),
        ("이것은 새입니다", "korean"),
        ("Это птица", "cyrillic"),
        ("هذا طائر", "arabic"),
        ("यह एक पक्षी है", "devanagari"),
        ("写一个函数\n```python\n" + "def f(): pass\n" * 20 + "```", "chinese"),
    ],
)
def test_the_script_of_a_text(text, script):
    assert script_of(text) == script


@given(st.sets(st.integers(1, 300)))
def test_spans_name_the_same_rows(rows):
    spans = to_spans(sorted(rows))
    assert list(row_numbers(spans)) == sorted(rows)
    assert spans.count(",") <= len(rows)


@given(st.lists(st.booleans(), max_size=40))
def test_the_learned_spans_are_the_learned_tokens(mask):
    labels = [7 if learned else IGNORED for learned in mask]
    spans = learned_spans(labels)
    assert [i for start, stop in spans for i in range(start, stop)] == [i for i, learned in enumerate(mask) if learned]


SEQUENCES = st.lists(
    st.lists(st.lists(st.booleans(), min_size=1, max_size=30), min_size=1, max_size=3), min_size=1, max_size=12
)


def sequence_of(mask: list[bool]) -> Sequence:
    """Tokens of which some are learned; the last one is the end of text."""
    ids = [9] * (len(mask) - 1) + [2]
    return Sequence(ids, [token if learned else IGNORED for token, learned in zip(ids, mask, strict=True)])


@given(rows=SEQUENCES, max_length=st.integers(1, 34))
def test_recounting_is_what_counting_the_cut_sequences_gives(tiny_model, rows, max_length):
    sequences = [[sequence_of(mask) for mask in row] for row in rows]
    builder = LengthsBuilder(ChatTokenizer(tiny_model))
    for number, some in enumerate(sequences, start=1):
        builder.add(number, some)
    statistics, findings = recount(builder.build(), max_length)
    flat = [one for some in sequences for one in some]
    cut = [one.cut(max_length) for one in flat]
    assert statistics.total == sum(len(one.input_ids) for one in flat)
    assert statistics.learned == sum(one.learned for one in flat)
    assert statistics.kept == sum(len(one.input_ids) for one in cut)
    assert statistics.kept_learned == sum(one.learned for one in cut)
    assert sum(statistics.histogram.counts) == len(flat)
    found = {finding.code: list(finding.row_numbers()) for finding in findings}
    assert found.get("fully_masked", []) == [
        number for number, some in enumerate(sequences, start=1) if not any(one.cut(max_length).learned for one in some)
    ]
    assert found.get("cut", []) == [
        number for number, some in enumerate(sequences, start=1) if any(len(one.input_ids) > max_length for one in some)
    ]
    ends_lost = sum(one.labels[-1] == 2 and len(one.input_ids) > max_length for one in flat)
    assert ends_lost == sum(finding.figures.get("ends_lost", 0) for finding in findings)


def some_lengths(totals: list[int]) -> Lengths:
    import numpy as np

    count = len(totals)
    rows = np.arange(1, count + 1, dtype=np.int32)
    total = np.array(totals, np.int32)
    ends = np.full(count, NONE, np.int32)
    return Lengths(rows=rows, total=total, end=ends, spans_of=rows - 1, starts=np.zeros(count, np.int32), stops=total)


def test_the_suggested_length_leaves_99_of_100_rows_whole():
    assert suggest(some_lengths([100] * 99 + [5000])) == (
        128,
        "99 of 100 rows have at most 128 tokens; the longest has 5000.",
    )
    assert suggest(some_lengths([100] * 98 + [5000] * 2))[0] == 5056
    assert suggest(some_lengths([64])) == (64, "No row has more than 64 tokens.")
    assert suggest(some_lengths([65]))[0] == 128
    length, reason = suggest(some_lengths([100] * 90 + [5000] * 10), context_length=2048)
    assert length == 2048
    assert "90 of 100 rows stay whole" in reason


def test_padding_is_what_shorter_rows_of_a_batch_are_filled_with():
    assert recount(some_lengths([10] * 7), 0, batch_size=4)[0].padding_share == 0
    assert recount(some_lengths([10, 30]), 0, batch_size=2)[0].padding_share == pytest.approx(1 / 3)
    assert recount(some_lengths([10, 30]), 20, batch_size=2)[0].padding_share == pytest.approx(1 / 4)
    assert recount(some_lengths([10, 30]), 0, batch_size=1)[0].padding_share == 0


def test_lengths_are_kept_in_a_file_and_rows_can_go(tmp_path, tokenizer):
    examples = [{"messages": [user("q"), assistant("a"), user("r"), assistant(sentence(seed))]} for seed in range(9)]
    _, lengths = audit(numbered(examples), tokenizer, AuditSettings(dataset_type="language_modeling"))
    lengths.write(tmp_path / "lengths.npz")
    again = Lengths.read(tmp_path / "lengths.npz")
    assert recount(again, 50) == recount(lengths, 50)
    fewer = [pair for pair in numbered(examples) if pair[0] not in (2, 9)]
    _, expected = audit(fewer, tokenizer, AuditSettings(dataset_type="language_modeling"))
    assert recount(again.without(row_numbers("2,9")), 50) == recount(expected, 50)
    assert [path.name for path in tmp_path.iterdir()] == ["lengths.npz"]


def test_moving_max_length_changes_only_what_depends_on_it(tokenizer):
    examples = numbered(planted({5: pair(0, asked=sentence(920, 90)), 6: pair(3), 9: pair(1, answer="Yes.")}))
    report, lengths = audit(examples, tokenizer, PLAIN, max_length=512)
    again, _ = audit(examples, tokenizer, PLAIN, max_length=60)
    assert report != again
    assert report.at(lengths, 60) == again


def test_a_check_is_only_made_for_the_types_that_it_is_about():
    assert "length_bias" not in build_checks(PLAIN)
    assert "length_bias" in build_checks(PREFERENCE)
    assert "label_balance" in build_checks(UNPAIRED)
    assert "repeated_prompts" not in build_checks(PREFERENCE)


def test_nothing_at_all_is_no_error(tokenizer):
    report, lengths = audit([], tokenizer, PLAIN, max_length=10)
    assert (report.rows, report.findings, report.scripts) == (0, [], {})
    assert report.tokens.suggested_max_length == 0
    assert len(lengths.rows) == 0


def test_the_figures_of_texts_count_what_is_learned_as_the_answer():
    statistics = TextStatistics()
    assert statistics.to_dict() == {}
    call = {"role": "assistant", "content": "ab", "tool_calls": [{"function": {"name": "f", "arguments": {}}}]}
    unread = {"role": "assistant", "content": "abcd", "weight": 0}
    statistics.add({"messages": [system("s"), user("qq"), unread, user("q"), call, assistant("abc")]})
    statistics.add({"prompt": [user("q" * 10)], "chosen": [assistant("a" * 7)], "rejected": [assistant("a" * 90)]})
    statistics.add({"text": "a" * 30})
    assert statistics.to_dict() == {
        "prompt_characters_median": 8,
        "prompt_characters_max": 10,
        "answer_characters_median": 7,
        "answer_characters_p99": 30,
        "answer_characters_max": 30,
        "characters": 60,
        "turns_median": 2,
        "turns_max": 6,
        "rows_with_system": 1,
        "rows_with_tools": 1,
    }
