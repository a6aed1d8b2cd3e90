"""What is shown is what is trained: token ids and learned tokens against transformers and TRL themselves."""

import json
import shutil
from pathlib import Path

import pytest

from studio.data.chat_template import IGNORED, PLAIN_TEMPLATE, ChatTokenizer, tokenize, tokenize_batch
from studio.data.formats import FORMATS
from studio.data.isolation import render_examples
from studio.errors import UserError
from studio.methods.objectives import OBJECTIVES
from tests.conftest import tiny_spec

CHATML_WITH_DEFAULT_SYSTEM = (
    "{% for message in messages %}{% if loop.first and messages[0]['role'] != 'system' %}"
    "{{ '<|im_start|>system\\nYou help.<|im_end|>\\n' }}{% endif %}{{ '<|im_start|>' + message['role'] + '\\n' + "
    "message['content'] + '<|im_end|>' + '\\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)
LLAMA_3 = (
    "{{ bos_token }}{% for message in messages %}{{ '<|start_header_id|>' + message['role'] + '<|end_header_id|>\\n\\n'"
    " + message['content'] | trim + '<|eot_id|>' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|start_header_id|>assistant<|end_header_id|>\\n\\n' }}{% endif %}"
)
MISTRAL = (
    "{{ bos_token }}{% for message in messages %}{% if message['role'] == 'user' %}"
    "{{ '[INST] ' + message['content'] + ' [/INST]' }}{% elif message['role'] == 'system' %}"
    "{{ '<<SYS>>' + message['content'] }}{% else %}{{ ' ' + message['content'] + eos_token }}{% endif %}{% endfor %}"
)
# As Qwen3's: thinking of earlier turns is taken out, so a conversation's start changes when it grows.
FORGETFUL = (
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\\n' }}"
    "{% if message['role'] == 'assistant' and not loop.last %}{{ message['content'].split('</think>')[-1] }}"
    "{% else %}{{ message['content'] }}{% endif %}{{ '<|im_end|>\\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)
FAMILIES = {
    "chatml": CHATML_WITH_DEFAULT_SYSTEM,
    "llama3": LLAMA_3,
    "mistral": MISTRAL,
    "plain": PLAIN_TEMPLATE,
    "forgetful": FORGETFUL,
}
# As Qwen2.5's: definitions before everything, calls and reasoning in the assistant's turn.
WITH_TOOLS = (
    "{% if tools %}{{ '<tools>' }}{% for tool in tools %}{{ tool | tojson }}{% endfor %}{{ '</tools>' }}{% endif %}"
    "{% for message in messages %}{{ '<|im_start|>' + message.role + '\\n' }}"
    "{% if message.reasoning_content %}{{ '<think>' + message.reasoning_content + '</think>' }}{% endif %}"
    "{{ message.content or '' }}{% for call in message.tool_calls or [] %}{{ call.function | tojson }}{% endfor %}"
    "{{ '<|im_end|>\\n' }}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)
# ChatML that marks what the assistant says, as TRL's assistant_only_loss needs it.
MARKED = (
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\\n' }}{% if message['role'] == 'assistant' %}"
    "{% generation %}{{ message['content'] + '<|im_end|>\\n' }}{% endgeneration %}"
    "{% else %}{{ message['content'] + '<|im_end|>\\n' }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)
# The answer's first word joins the space before it into one token.
SPACED = (
    "{% for message in messages %}{{ message['role'] + ': ' + message['content'] + '\\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ 'assistant: ' }}{% endif %}"
)


def user(text):
    return {"role": "user", "content": text}


def assistant(text):
    return {"role": "assistant", "content": text}


EXAMPLES = {
    "prompt_completion": {"prompt": [user("what is the 12 tea?")], "completion": [assistant("good, ü 茶 tea")]},
    "with_system": {
        "prompt": [{"role": "system", "content": "be good"}, user("q")],
        "completion": [assistant("the lamp\nis lit ")],
    },
    "messages": {"messages": [user("q1"), assistant("a1"), user("q2"), assistant("a2 is longer")]},
    "preference": {"prompt": [user("q")], "chosen": [assistant("good tea")], "rejected": [assistant("bad fog, sea")]},
    "unpaired_preference": {"prompt": [user("q")], "completion": [assistant("tea 茶")], "label": False},
    "text": {"text": "the keeper of the lamp"},
}
THINKING = {"messages": [user("q1"), assistant("hm</think>a1"), user("q2"), assistant("so</think>a2")]}
CALL = {"type": "function", "function": {"name": "tea", "arguments": {"kind": "茶", "cups": 2}}}
TOOLS = [{"type": "function", "function": {"name": "tea", "parameters": {"type": "object", "properties": {}}}}]
CALLING = {
    "messages": [
        user("tea, please"),
        {"role": "assistant", "content": "", "tool_calls": [CALL], "reasoning_content": "they want tea"},
        {"role": "tool", "content": "2 cups", "name": "tea"},
        assistant("here it is"),
    ],
    "tools": TOOLS,
}


def with_template(model: Path, folder: Path, template: str) -> Path:
    """A copy of a model's folder with another chat template."""
    shutil.copytree(model, folder)
    (folder / "chat_template.jinja").write_text(template)
    return folder


@pytest.fixture(params=FAMILIES)
def family(request, tiny_model, tmp_path) -> Path:
    """The tiny model's folder with another family's template."""
    return with_template(tiny_model, tmp_path / request.param, FAMILIES[request.param])


def trl_rows(trainer_name, folder, rows, tmp_path, **options):
    """What TRL's own trainer collates from our examples, with its own code."""
    from datasets import Dataset
    from transformers import AutoModelForCausalLM, AutoTokenizer
    from trl import DPOConfig, DPOTrainer, KTOConfig, KTOTrainer, SFTConfig, SFTTrainer

    classes = {"sft": (SFTTrainer, SFTConfig), "dpo": (DPOTrainer, DPOConfig), "kto": (KTOTrainer, KTOConfig)}
    trainer_class, config = classes[trainer_name]
    arguments = config(
        output_dir=str(tmp_path / "out"),
        report_to="none",
        use_cpu=True,
        bf16=False,
        max_length=None,
        max_steps=1,
        **options,
    )
    trainer = trainer_class(
        AutoModelForCausalLM.from_pretrained(folder),
        args=arguments,
        train_dataset=Dataset.from_list(rows),
        processing_class=AutoTokenizer.from_pretrained(folder),
    )
    return list(trainer.train_dataset), trainer.data_collator


@pytest.mark.slow
def test_prompt_and_completion_are_what_trl_makes_of_them(family, tmp_path):
    tokenizer = ChatTokenizer(family)
    rows = [EXAMPLES["prompt_completion"], EXAMPLES["with_system"]]
    theirs, collate = trl_rows("sft", family, rows, tmp_path)
    ours = [tokenize(row, tokenizer)[0] for row in rows]
    assert [row["input_ids"] for row in theirs] == [sequence.input_ids for sequence in ours]
    assert [row["labels"] for row in theirs] == [sequence.labels for sequence in ours]
    batch = collate([{"input_ids": one.input_ids, "labels": one.labels} for one in ours])
    assert batch["labels"].tolist() == collate(theirs)["labels"].tolist()


@pytest.mark.slow
def test_text_is_what_trl_makes_of_it(family, tmp_path):
    theirs, _ = trl_rows("sft", family, [EXAMPLES["text"]], tmp_path)
    assert theirs[0]["input_ids"] == tokenize(EXAMPLES["text"], ChatTokenizer(family))[0].input_ids


@pytest.mark.slow
def test_preference_pairs_are_what_trl_makes_of_them(family, tmp_path):
    theirs, _ = trl_rows("dpo", family, [EXAMPLES["preference"]], tmp_path)
    [ours] = OBJECTIVES["dpo"].columns(tokenize(EXAMPLES["preference"], ChatTokenizer(family)), 512)
    assert {name: theirs[0][name] for name in ours} == ours


@pytest.mark.slow
def test_unpaired_answers_are_what_trl_makes_of_them(family, tmp_path):
    rows = [EXAMPLES["unpaired_preference"], {**EXAMPLES["unpaired_preference"], "label": True}]
    theirs, _ = trl_rows("kto", family, rows, tmp_path, per_device_train_batch_size=2)
    for row, their in zip(rows, theirs, strict=True):
        [ours] = tokenize(row, ChatTokenizer(family))
        assert (their["prompt_ids"], their["completion_ids"]) == ours.parts()


@pytest.mark.slow
def test_the_answers_of_a_conversation_are_those_that_a_marked_template_tells_trl(tiny_model, tmp_path):
    folder = with_template(tiny_model, tmp_path / "marked", MARKED)
    rows = [{"messages": [*EXAMPLES["messages"]["messages"], user("q3"), assistant("ü 茶")]}, EXAMPLES["messages"]]
    theirs, collate = trl_rows("sft", folder, rows, tmp_path, assistant_only_loss=True)
    ours = [tokenize(row, ChatTokenizer(folder))[0] for row in rows]
    batch = collate(theirs)
    for row, sequence in enumerate(ours):
        length = len(sequence.input_ids)
        assert batch["input_ids"][row][:length].tolist() == sequence.input_ids
        assert batch["labels"][row][:length].tolist() == sequence.labels


@pytest.mark.slow
def test_a_token_over_the_answers_edge_is_learned_as_in_trl(tiny_model, tmp_path):
    folder = with_template(tiny_model, tmp_path / "spaced", SPACED)
    row = {"prompt": [user("what is")], "completion": [assistant("the lamp")]}
    theirs, _ = trl_rows("sft", folder, [row], tmp_path)
    [ours] = tokenize(row, ChatTokenizer(folder))
    assert ChatTokenizer(folder).tokenizer.decode(ours.parts()[1]).startswith(" the")
    assert (theirs[0]["input_ids"], theirs[0]["labels"]) == (ours.input_ids, ours.labels)


TYPES = {"with_system": "prompt_completion", "messages": "language_modeling", "text": "language_modeling"}


def examples_of(dataset_types):
    """An example of every format, and those above."""
    formats = [one for one in FORMATS.values() if one.dataset_type in dataset_types]
    more = [example for name, example in EXAMPLES.items() if TYPES.get(name, name) in dataset_types]
    return [one.to_example(one.sample_row) for one in formats] + more


@pytest.mark.slow
@pytest.mark.parametrize("objective", ["sft", "dpo"])
def test_every_format_is_previewed_as_the_trainer_collates_it(family, objective, instructions, tmp_path):
    """The studio's own trainer, its data set and its collator, against `tokenize` and against the preview."""
    from studio.jobs.training_data import UsedData, UsedDataset
    from studio.worker import load
    from studio.worker.ingredients import Ingredients, tokenized_rows
    from studio.worker.train import build_trainer

    preset = {"sft": "lora", "dpo": "dpo"}[objective]
    spec = tiny_spec(preset, instructions, family, max_length=512)
    examples = examples_of(OBJECTIVES[objective].dataset_types) + ([THINKING] if objective == "sft" else [])
    chat = ChatTokenizer(family)
    rows, dropped = tokenized_rows(examples, chat, spec)
    assert not dropped
    dataset = UsedDataset(**instructions, rows=len(rows))
    ingredients = Ingredients(
        spec=spec,
        base=family,
        tokenizer=load.load_tokenizer(family, "model"),
        train_rows=rows,
        eval_rows=[],
        used=UsedData(dataset=dataset, train_examples=len(rows), eval_examples=0),
    )
    trainer = build_trainer(ingredients, tmp_path / "job")
    batch = trainer.data_collator(list(trainer.train_dataset))
    previewed = [sequence for shown in render_examples(examples, family) for sequence in shown]
    expected = [sequence for example in examples for sequence in tokenize(example, chat)]
    if objective == "dpo":  # the collator puts all chosen answers before all rejected ones
        expected, previewed = expected[::2] + expected[1::2], previewed[::2] + previewed[1::2]
    assert len(batch["input_ids"]) == len(expected) == len(previewed)
    for index, (sequence, shown) in enumerate(zip(expected, previewed, strict=True)):
        length = int(batch["attention_mask"][index].sum()) if "attention_mask" in batch else len(sequence.input_ids)
        ids = batch["input_ids"][index][:length].tolist()
        assert ids == sequence.input_ids
        assert learned_tokens(batch, index, length) == [label for label in sequence.labels if label != IGNORED]
        assert "".join(text for text, _ in shown["tokens"]) == chat.tokenizer.decode(ids, skip_special_tokens=False)
        assert (shown["total"], shown["learned"], shown["cut"]) == (length, sequence.learned, 0)


def learned_tokens(batch, index, length):
    """The ids that a collated row teaches: by its labels (SFT), or by its completion mask (preference)."""
    ids = batch["input_ids"][index][:length]
    if "labels" in batch:
        assert set(batch["labels"][index][length:].tolist()) <= {IGNORED}
        return [label for label in batch["labels"][index].tolist() if label != IGNORED]
    return ids[batch["completion_mask"][index][:length].bool()].tolist()


@pytest.mark.parametrize("name", EXAMPLES)
def test_the_rendering_is_transformers_own(family, name):
    from transformers import AutoTokenizer

    theirs = AutoTokenizer.from_pretrained(family)
    example, tokenizer = EXAMPLES[name], ChatTokenizer(family)
    if name == "text":
        assert tokenize(example, tokenizer)[0].input_ids[:-1] == theirs(example["text"])["input_ids"]
        return
    messages = example.get("messages") or example["prompt"] + (example.get("completion") or example["chosen"])
    ids = theirs.apply_chat_template(messages)["input_ids"]
    assert tokenize(example, tokenizer)[0].input_ids == ids


def test_every_answer_of_a_conversation_is_learned_and_nothing_else(family):
    tokenizer = ChatTokenizer(family)
    [sequence] = tokenize(EXAMPLES["messages"], tokenizer)
    learned = tokenizer.tokenizer.decode([label for label in sequence.labels if label != IGNORED])
    assert "a1" in learned
    assert "a2 is longer" in learned
    assert "q1" not in learned
    assert "q2" not in learned


def test_a_template_that_rewrites_earlier_turns_gives_one_sequence_a_turn(tiny_model, tmp_path):
    tokenizer = ChatTokenizer(with_template(tiny_model, tmp_path / "forgetful", FORGETFUL))
    first, second = tokenize(THINKING, tokenizer)
    texts = [tokenizer.tokenizer.decode([t for t in one.labels if t != IGNORED]) for one in (first, second)]
    assert "hm</think>a1" in texts[0]
    assert "so</think>a2" in texts[1]
    assert "hm" not in tokenizer.tokenizer.decode(second.input_ids)


def test_the_preview_says_what_is_cut(tiny_model):
    [[whole]] = render_examples([EXAMPLES["prompt_completion"]], tiny_model)
    [[cut]] = render_examples([EXAMPLES["prompt_completion"]], tiny_model, max_length=10)
    assert len(cut["tokens"]) <= 10
    assert cut["cut"] == whole["total"] - 10


@pytest.mark.parametrize(
    ("template", "word"),
    [
        ("{{ raise_exception('only user and assistant') }}", "only user"),
        ("{% for x in %}", "refuses"),
        ("{{ messages[0]['content'] + 1 }}", "refuses"),
        ("{{ 1 / 0 }}", "refuses"),
        ("{{ messages.nothing.more }}", "refuses"),
    ],
)
def test_a_template_that_refuses_is_a_sentence(tiny_model, tmp_path, template, word):
    folder = with_template(tiny_model, tmp_path / "refusing", template)
    with pytest.raises(UserError, match=word):
        render_examples([EXAMPLES["prompt_completion"]], folder)


def test_a_model_without_template_says_so_and_takes_the_plain_one(tiny_model, tmp_path):
    folder = shutil.copytree(tiny_model, tmp_path / "base")
    (folder / "chat_template.jinja").unlink()
    config = json.loads((folder / "tokenizer_config.json").read_text())
    config.pop("chat_template", None)
    (folder / "tokenizer_config.json").write_text(json.dumps(config))
    with pytest.raises(UserError, match="no chat template"):
        ChatTokenizer(folder)
    text = ChatTokenizer(folder, "plain").render([user("q"), assistant("a")])
    assert text.startswith("### User:\nq")


def test_tools_and_calls_go_to_the_template_as_transformers_passes_them(tiny_model, tmp_path):
    from transformers import AutoTokenizer

    folder = with_template(tiny_model, tmp_path / "tools", WITH_TOOLS)
    tokenizer = ChatTokenizer(folder)
    [sequence] = tokenize(CALLING, tokenizer)
    theirs = AutoTokenizer.from_pretrained(folder).apply_chat_template(CALLING["messages"], tools=TOOLS)
    assert sequence.input_ids == theirs["input_ids"]
    learned = tokenizer.tokenizer.decode([t for t in sequence.labels if t != IGNORED])
    assert '<think>they want tea</think>{"name": "tea", "arguments": {"kind": "茶", "cups": 2}}' in learned
    assert "here it is" in learned
    assert "2 cups" not in learned
    answer = {"prompt": CALLING["messages"][:1], "completion": CALLING["messages"][1:2], "tools": TOOLS}
    assert "<tools>" in tokenizer.tokenizer.decode(tokenize(answer, tokenizer)[0].parts()[0])


@pytest.mark.parametrize(
    ("example", "words"),
    [
        (CALLING, "no place for"),
        ({"messages": CALLING["messages"][2:], "tools": TOOLS}, "tool definitions"),
        ({"prompt": [user("q")], "completion": [{**assistant(""), "tool_calls": [CALL]}]}, "tool calls"),
        ({"messages": [user("q"), {**assistant("a"), "reasoning_content": "hm"}]}, "reasoning"),
    ],
)
def test_what_a_template_would_leave_out_is_said(tiny_model, example, words):
    with pytest.raises(UserError, match=words):
        tokenize(example, ChatTokenizer(tiny_model))


def test_the_plain_template_has_a_place_for_everything(tiny_model):
    tokenizer = ChatTokenizer(tiny_model, "plain")
    [sequence] = tokenize(CALLING, tokenizer)
    text = tokenizer.tokenizer.decode(sequence.input_ids, skip_special_tokens=False)
    for piece in ("### Tools:", "they want tea", '<tool_call>{"name": "tea"', "### Tool:\n2 cups", "here it is<|im"):
        assert piece in text


def test_a_turn_of_weight_0_is_read_but_not_learned(family):
    tokenizer = ChatTokenizer(family)
    messages = [user("q1"), {**assistant("a1"), "weight": 0}, user("q2"), assistant("a2")]
    [sequence] = tokenize({"messages": messages}, tokenizer)
    learned = tokenizer.tokenizer.decode([t for t in sequence.labels if t != IGNORED])
    assert "a1" not in learned
    assert "a2" in learned
    assert "a1" in tokenizer.tokenizer.decode(sequence.input_ids)


def test_a_first_turn_of_the_assistant_is_learned_without_its_heading(family):
    tokenizer = ChatTokenizer(family)
    [sequence] = tokenize({"messages": [assistant("good tea"), user("q"), assistant("a2")]}, tokenizer)
    assert tokenizer.tokenizer.decode(sequence.parts()[1]).lstrip().startswith("good tea")


def test_a_batch_is_what_its_examples_are_one_by_one(family):
    examples = [*EXAMPLES.values(), THINKING] * 60  # more texts than are encoded at once
    tokenizer = ChatTokenizer(family)
    assert tokenize_batch(examples, tokenizer) == [tokenize(example, tokenizer) for example in examples]
    assert tokenize_batch([], tokenizer) == []


def test_a_tokenizer_file_that_pads_and_truncates_changes_nothing(tiny_model, tmp_path):
    folder = shutil.copytree(tiny_model, tmp_path / "padding")
    file = folder / "tokenizer.json"
    content = json.loads(file.read_text())
    content["padding"] = {
        "strategy": "BatchLongest",
        "direction": "Left",
        "pad_to_multiple_of": None,
        "pad_id": 2,
        "pad_type_id": 0,
        "pad_token": "<|im_end|>",
    }
    content["truncation"] = {"direction": "Right", "max_length": 5, "strategy": "LongestFirst", "stride": 0}
    file.write_text(json.dumps(content))
    examples = list(EXAMPLES.values())
    expected = tokenize_batch(examples, ChatTokenizer(tiny_model))
    assert tokenize_batch(examples, ChatTokenizer(folder)) == expected


@pytest.mark.parametrize("text", ["🙂 café 茶\u2028 e\u0301", "<|im_end|> inside", "\n\n  the lamp  \n", "\t"])
def test_learned_characters_are_found_whatever_they_are(family, text):
    tokenizer = ChatTokenizer(family)
    [sequence] = tokenize({"prompt": [user("q")], "completion": [assistant(text + "x")]}, tokenizer)
    learned = tokenizer.tokenizer.decode(sequence.parts()[1], skip_special_tokens=False)
    assert (text + "x").strip() in learned
    assert "q" not in learned
