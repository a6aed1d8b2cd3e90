"""Every option still exists in the library that it is passed to, and so does what we override there."""

import dataclasses
import inspect
from pathlib import Path

import pytest
import torch

from studio.jobs.spec import TrainSpec
from studio.methods.objectives import OBJECTIVES
from studio.methods.tuners import TUNERS
from studio.worker.arguments import training_arguments
from studio.worker.load import Precision
from studio.worker.trainer import StudioTrainer

pytestmark = pytest.mark.slow
# Fields that tell the studio something, rather than TRL.
OURS = {
    "kind", "name", "base_model", "dataset", "objective", "tuner", "eval_share", "chat_template", "dtype",
    "eval_dataset", "general_dataset", "general_share", "start_from", "ewc_lambda", "ewc_rows",
    "quantization", "bnb_4bit_use_double_quant", "bnb_4bit_compute_dtype",
    "gradient_checkpointing", "eval_steps", "save_total_limit",
}  # fmt: skip


@pytest.mark.parametrize("name", OBJECTIVES)
def test_every_argument_is_a_field_of_the_trainer_config(name):
    _, config = OBJECTIVES[name].trainer()
    fields = {field.name for field in dataclasses.fields(config)}
    spec = TrainSpec(dataset={"id": "a", "sha256": ""}, objective={"name": name})
    arguments = training_arguments(
        spec,
        Path("out"),
        precision=Precision(torch.float32, None),
        where=torch.device("cpu"),
        checkpointing=True,
        evaluate=True,
    )
    # gradient_checkpointing is transformers' older name for activation_checkpointing; TRL 1.16 still uses it.
    assert set(arguments) - fields <= {"gradient_checkpointing", "gradient_checkpointing_kwargs"}
    config(**{**arguments, "output_dir": "/tmp/unused"})
    told = set(arguments) | set(OBJECTIVES[name].unused)
    assert set(TrainSpec.model_fields) - OURS <= told, "an option that no trainer is told"


@pytest.mark.parametrize("name", [name for name, tuner in TUNERS.items() if tuner.library_class])
def test_every_tuner_option_is_a_field_of_the_peft_config(name):
    import peft

    from studio.methods import bottleneck_layers

    tuner = TUNERS[name]
    library = bottleneck_layers if name == "bottleneck" else peft
    fields = {field.name for field in dataclasses.fields(getattr(library, tuner.library_class))}
    assert set(tuner.options.model_fields) - {"name", *tuner.own_options} <= fields
    assert not set(tuner.own_options) & fields
    config = {"model_type": "llama", "_name_or_path": "folder"}
    assert tuner.peft_config(tuner.options(), config, "CAUSAL_LM").peft_type


@pytest.mark.parametrize("name", OBJECTIVES)
def test_what_we_override_in_the_trainer_is_still_there(name):
    trainer, _ = OBJECTIVES[name].trainer()
    always = ("compute_loss", "training_step", "_clip_grad_norm", "_save_checkpoint", "_get_output_dir", "_save", "log")
    # Where a trainer would tokenise; the studio's own does not.
    tokenising = {
        "orpo": "tokenize_row",
        "cpo": "tokenize_row",
        "grpo": "_tokenize_prompts",
        "rloo": "_tokenize_prompts",
    }
    own = () if name == "ppo" else (tokenising.get(name, "_prepare_dataset"),)
    for method in (*always, *own):
        assert callable(getattr(trainer, method)), method
        assert method in vars(StudioTrainer)


def test_the_fused_output_has_the_fields_that_we_fill():
    from trl.trainer.utils import FusedCausalLMOutput, add_fused_lm_head

    fields = {field.name for field in dataclasses.fields(FusedCausalLMOutput)}
    assert {"loss", "log_probs", "entropy", "mean_logits", "is_top1", "label_mask"} <= fields
    assert "fused_lm_head" in inspect.getsource(add_fused_lm_head)
