"""The short way through the model on a CPU: the same numbers as TRL's own fused head, to float32's last digits."""

import copy

import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM, LlamaConfig, LlamaForCausalLM

from studio.jobs.events import Metrics
from studio.worker import token_forward
from studio.worker import train as train_module
from tests.worker.conftest import of_kind, values_of

pytestmark = pytest.mark.slow
FIGURES = ("log_probs", "entropy", "mean_logits", "is_top1")
IGNORED, PAD = -100, 2
CLOSE = {"rtol": 2e-5, "atol": 2e-6}
# Each row: (tokens, how many of them are the prompt); None learns nothing at all.
ROWS = {"even": [(7, 3), (7, 2)], "ragged": [(12, 4), (3, 1), (9, 8)], "lone": [(5, 0)], "silent": [(6, None), (4, 1)]}


def tiny_llama(*, tied=True, seed=0):
    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=97, hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, tie_word_embeddings=tied, pad_token_id=PAD, attn_implementation="sdpa",
    )  # fmt: skip
    return LlamaForCausalLM(config)


def two_ways(model):
    """(a copy with TRL's fused head, a copy that goes the short way)."""
    from trl.trainer.utils import add_fused_lm_head

    theirs, ours = copy.deepcopy(model), copy.deepcopy(model)
    for one in (theirs, ours):
        add_fused_lm_head(one, outputs=FIGURES)
    assert token_forward.shorten(ours)
    return theirs, ours


def padded(rows, side, *, hole=False):
    """A batch as a collator makes it; `hole`: a label in the middle of each answer is not learned either."""
    generator = torch.Generator().manual_seed(5)
    width = max(length for length, _ in rows)
    batch = {name: torch.full((len(rows), width), fill) for name, fill in
             (("input_ids", PAD), ("attention_mask", 0), ("labels", IGNORED))}  # fmt: skip
    for index, (length, prompt) in enumerate(rows):
        place = slice(0, length) if side == "right" else slice(width - length, width)
        ids = torch.randint(3, 97, (length,), generator=generator)
        labels = ids.clone()
        labels[: length if prompt is None else prompt] = IGNORED
        if hole and length > 6:
            labels[length - 2] = IGNORED
        batch["input_ids"][index, place], batch["attention_mask"][index, place] = ids, 1
        batch["labels"][index, place] = labels
    return batch


def gradients(model):
    return {name: weight.grad for name, weight in model.named_parameters() if weight.grad is not None}


def assert_same_gradients(theirs, ours):
    expected, found = gradients(theirs), gradients(ours)
    assert expected.keys() == found.keys()
    assert expected
    for name, gradient in expected.items():
        torch.testing.assert_close(found[name], gradient, **CLOSE, msg=lambda text, name=name: f"{name}: {text}")


@pytest.mark.parametrize("tied", [True, False], ids=["tied", "untied"])
@pytest.mark.parametrize("side", ["right", "left"])
@pytest.mark.parametrize("rows", ROWS)
def test_loss_figures_and_gradients_are_trls(rows, side, tied):
    theirs, ours = two_ways(tiny_llama(tied=tied))
    batch = padded(ROWS[rows], side, hole=True)
    expected, found = (model(**batch, fused_lm_head=True) for model in (theirs, ours))
    torch.testing.assert_close(found.loss, expected.loss, **CLOSE)
    assert torch.equal(found.label_mask, expected.label_mask)
    for figure in FIGURES:
        torch.testing.assert_close(getattr(found, figure), getattr(expected, figure), **CLOSE)
    expected.loss.backward()
    found.loss.backward()
    assert_same_gradients(theirs, ours)


@pytest.mark.parametrize("count", [40, torch.tensor(40)], ids=["number", "tensor"])
def test_the_loss_is_shared_out_over_the_items_of_all_batches(count):
    theirs, ours = two_ways(tiny_llama())
    batch = padded(ROWS["ragged"], "right")
    losses = [model(**batch, num_items_in_batch=count, fused_lm_head=True).loss for model in (theirs, ours)]
    torch.testing.assert_close(losses[1], losses[0], **CLOSE)
    assert losses[1].item() * 40 == pytest.approx(
        ours(**batch, fused_lm_head=True).loss.item() * int((batch["labels"][:, 1:] != IGNORED).sum()), rel=1e-5
    )


@pytest.mark.parametrize("side", ["right", "left"])
def test_each_tokens_weight_reaches_its_own_gradient(side):
    """DPO weighs each answer by itself, so the gradients of single tokens must be right, not just their sum."""
    theirs, ours = two_ways(tiny_llama(tied=False))
    batch = padded(ROWS["ragged"], side)
    for model in (theirs, ours):
        log_probs = model(**batch, fused_lm_head=True).log_probs
        answers = log_probs.sum(1)
        (-torch.nn.functional.logsigmoid(answers[0] - answers[1]) + answers[2].square()).backward()
    assert_same_gradients(theirs, ours)


def test_only_the_adapter_of_a_frozen_model_gets_gradients():
    from peft import LoraConfig, get_peft_model

    theirs, ours = two_ways(tiny_llama())
    for model in (theirs, ours):
        torch.manual_seed(1)
        adapted = get_peft_model(model, LoraConfig(r=4, target_modules="all-linear", init_lora_weights=False))
        adapted(**padded(ROWS["ragged"], "right"), fused_lm_head=True).loss.backward()
    assert all("lora_" in name for name in gradients(ours))
    assert_same_gradients(theirs, ours)


def test_more_labels_than_fit_a_tile_are_scored_like_few():
    theirs, ours = two_ways(tiny_llama(tied=False))
    batch = padded([(token_forward.ROWS_AT_ONCE + 20, 1), (token_forward.ROWS_AT_ONCE, 3)], "right")
    losses = [model(**batch, fused_lm_head=True).loss for model in (theirs, ours)]
    for loss in losses:
        loss.backward()
    torch.testing.assert_close(losses[1], losses[0], **CLOSE)
    assert_same_gradients(theirs, ours)


def test_one_sequence_does_not_see_another():
    _, ours = two_ways(tiny_llama())
    batch = padded(ROWS["ragged"], "right")
    together = ours(**batch, fused_lm_head=True).log_probs
    batch["input_ids"][0] = torch.randint(3, 97, batch["input_ids"][0].shape)
    batch["labels"][0] = batch["input_ids"][0]
    changed = ours(**batch, fused_lm_head=True).log_probs
    assert not torch.allclose(together[0], changed[0])
    torch.testing.assert_close(changed[1:], together[1:], **CLOSE)


@torch.no_grad()
def test_the_ordinary_forward_and_generation_stay_as_they_were():
    plain = tiny_llama().eval()
    _, ours = two_ways(plain)
    batch = padded(ROWS["ragged"], "left")
    del batch["labels"]
    torch.testing.assert_close(ours(**batch).logits, plain(**batch).logits, **CLOSE)
    written = [model.generate(**batch, max_new_tokens=12, do_sample=False) for model in (plain, ours)]
    assert torch.equal(written[0], written[1])


def test_a_batch_with_more_than_tokens_and_labels_takes_trls_way(monkeypatch):
    theirs, ours = two_ways(tiny_llama())
    monkeypatch.setattr(token_forward, "_score", None)  # whoever goes the short way now fails
    batch = padded(ROWS["ragged"], "right")
    positions = (batch["attention_mask"].cumsum(1) - 1).clamp(min=0)
    expected, found = (model(**batch, position_ids=positions, fused_lm_head=True) for model in (theirs, ours))
    torch.testing.assert_close(found.loss, expected.loss, **CLOSE)
    with pytest.raises(TypeError):
        ours(**batch, fused_lm_head=True)


@pytest.mark.parametrize(
    ("model_type", "changes", "short"),
    [
        ("llama", {}, True),
        ("qwen2", {}, True),
        ("qwen3", {}, True),
        ("mistral", {"sliding_window": None}, True),
        ("mistral", {"sliding_window": 8}, False),
        ("qwen2", {"use_sliding_window": True, "sliding_window": 8, "max_window_layers": 1}, False),
        ("gemma2", {}, False),  # caps its logits, and every second layer has a window
        ("granite", {}, False),  # scales its logits
        ("gpt2", {}, False),
    ],
)
def test_only_plain_causal_attention_goes_the_short_way(model_type, changes, short):
    sizes = {
        "vocab_size": 97, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4,
        "num_key_value_heads": 2, "head_dim": 8, "n_embd": 32, "n_head": 4, "n_layer": 2,
    }  # fmt: skip
    model = AutoModelForCausalLM.from_config(AutoConfig.for_model(model_type, **sizes, **changes))
    before = (model.forward, model.config._attn_implementation)
    assert token_forward.shorten(model) is short
    after = (model.forward, model.config._attn_implementation)
    assert (before == after) is not short


@pytest.mark.parametrize("model_type", ["qwen2", "qwen3", "mistral"])
def test_other_families_give_trls_numbers_too(model_type):
    torch.manual_seed(0)
    config = AutoConfig.for_model(
        model_type, vocab_size=97, hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, head_dim=8, sliding_window=None,
    )  # fmt: skip
    theirs, ours = two_ways(AutoModelForCausalLM.from_config(config, attn_implementation="sdpa"))
    losses = [model(**padded(ROWS["ragged"], "right"), fused_lm_head=True).loss for model in (theirs, ours)]
    for loss in losses:
        loss.backward()
    torch.testing.assert_close(losses[1], losses[0], **CLOSE)
    assert_same_gradients(theirs, ours)


@pytest.mark.parametrize("preset", ["lora", "full", "dpo"])
def test_a_whole_training_is_the_same_with_and_without_the_short_way(lab, preset, monkeypatch):
    """TRL's own collators, prompts masked, several batches a step, evaluation and reference model."""
    spec = lab.spec(preset, dtype="float32", gradient_accumulation_steps=2, learning_rate=1e-3, max_steps=4)
    short = lab.train(spec)
    monkeypatch.setattr(train_module, "shorten", lambda model: False)
    long = lab.train(spec)
    assert len(of_kind(short, Metrics)) == len(of_kind(long, Metrics)) >= 6
    for name in ("loss", "grad_norm", "eval_loss", "mean_token_accuracy", "rewards/margins", "logps/chosen"):
        assert values_of(short, name) == pytest.approx(values_of(long, name), rel=1e-3, abs=1e-6), name
    assert values_of(short, "loss")
