"""What is shown is what is trained: token ids and learned tokens against transformers and TRL themselves."""

import json
from pathlib import Path

import pytest

from studio.data.chat_template import IGNORED, PLAIN_TEMPLATE, ChatTokenizer, tokenize
from studio.data.isolation import render_examples
from studio.errors import UserError

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
}


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
    "text": {"text": "the keeper of the lamp"},
}


@pytest.fixture(params=FAMILIES)
def family(request, tiny_model, tmp_path) -> Path:
    """The tiny model's folder with another family's template."""
    import shutil

    folder = shutil.copytree(tiny_model, tmp_path / request.param)
    (folder / "chat_template.jinja").write_text(FAMILIES[request.param])
    return folder


def trl_rows(trainer_name, folder, rows, tmp_path):
    """What TRL's own trainer collates from our examples, with its own code."""
    from datasets import Dataset
    from transformers import AutoModelForCausalLM, AutoTokenizer
    from trl import DPOConfig, DPOTrainer, SFTConfig, SFTTrainer

    classes = {"sft": (SFTTrainer, SFTConfig), "dpo": (DPOTrainer, DPOConfig)}
    trainer_class, config = classes[trainer_name]
    arguments = config(
        output_dir=str(tmp_path / "out"), report_to="none", use_cpu=True, bf16=False, max_length=None, max_steps=1
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
    from studio.methods.objectives import OBJECTIVES

    theirs, _ = trl_rows("dpo", family, [EXAMPLES["preference"]], tmp_path)
    [ours] = OBJECTIVES["dpo"].columns(tokenize(EXAMPLES["preference"], ChatTokenizer(family)), 512)
    assert {name: theirs[0][name] for name in ours} == ours


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
    import shutil

    folder = shutil.copytree(tiny_model, tmp_path / "forgetful")
    (folder / "chat_template.jinja").write_text(FORGETFUL)
    tokenizer = ChatTokenizer(folder)
    messages = [user("q1"), assistant("hm</think>a1"), user("q2"), assistant("so</think>a2")]
    first, second = tokenize({"messages": messages}, tokenizer)
    texts = [tokenizer.tokenizer.decode([t for t in one.labels if t != IGNORED]) for one in (first, second)]
    assert "hm</think>a1" in texts[0]
    assert "so</think>a2" in texts[1]
    assert "hm" not in tokenizer.tokenizer.decode(second.input_ids)


def test_the_preview_shows_the_tokens_of_the_training(family):
    tokenizer = ChatTokenizer(family)
    for name in ("prompt_completion", "preference", "messages"):
        sequences = tokenize(EXAMPLES[name], tokenizer)
        [shown] = render_examples([EXAMPLES[name]], family)
        for sequence, view in zip(sequences, shown, strict=True):
            assert view["total"] == len(sequence.input_ids)
            assert view["learned"] == sequence.learned
            text = "".join(piece for piece, _ in view["tokens"])
            assert text == tokenizer.tokenizer.decode(sequence.input_ids, skip_special_tokens=False)


def test_the_preview_says_what_is_cut(tiny_model):
    [[whole]] = render_examples([EXAMPLES["prompt_completion"]], tiny_model)
    [[cut]] = render_examples([EXAMPLES["prompt_completion"]], tiny_model, max_length=10)
    assert len(cut["tokens"]) <= 10
    assert cut["cut"] == whole["total"] - 10


@pytest.mark.parametrize(
    ("template", "word"),
    [("{{ raise_exception('only user and assistant') }}", "only user"), ("{% for x in %}", "refuses")],
)
def test_a_template_that_refuses_is_a_sentence(tiny_model, tmp_path, template, word):
    import shutil

    folder = shutil.copytree(tiny_model, tmp_path / "refusing")
    (folder / "chat_template.jinja").write_text(template)
    with pytest.raises(UserError, match=word):
        render_examples([EXAMPLES["prompt_completion"]], folder)


def test_a_model_without_template_says_so_and_takes_the_plain_one(tiny_model, tmp_path):
    import shutil

    folder = shutil.copytree(tiny_model, tmp_path / "base")
    (folder / "chat_template.jinja").unlink()
    config = json.loads((folder / "tokenizer_config.json").read_text())
    config.pop("chat_template", None)
    (folder / "tokenizer_config.json").write_text(json.dumps(config))
    with pytest.raises(UserError, match="no chat template"):
        ChatTokenizer(folder)
    text = ChatTokenizer(folder, "plain").render([user("q"), assistant("a")])
    assert text.startswith("### User:\nq")
