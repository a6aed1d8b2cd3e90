"""PPO on transformers' Trainer: answers are written, rewarded, and learned from a few times within a clip range.

TRL has no PPO any more. A value head stands on the policy's last hidden state; the reference is the model as it was
at the start: the base with the adapter off, the frozen copy "ref" of an adapter that the job continues from, or a
copy of the whole model. Only the worker imports this file.
"""

import contextlib
import copy
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from peft import PeftModel, get_peft_model
from safetensors.torch import load_file, save_file
from torch.utils.data import DataLoader
from transformers import GenerationConfig, Trainer, TrainingArguments, set_seed
from trl.models.utils import disable_gradient_checkpointing
from trl.trainer.utils import RepeatSampler, disable_dropout_in_model, use_adapter

from studio.errors import UserError
from studio.methods import ppo_math

Tensors = dict[str, torch.Tensor]
FROZEN = "ref"
VALUE_HEAD = "value_head.safetensors"  # in checkpoints; the result is the policy alone


@dataclass
class PPOConfig(TrainingArguments):  # type: ignore[misc]
    """transformers' arguments and PPO's, by the names that TRL used."""

    max_completion_length: int = 64
    temperature: float = 1.0
    kl_coef: float = 0.05
    num_ppo_epochs: int = 4
    num_mini_batches: int = 1
    cliprange: float = 0.2
    cliprange_value: float = 0.2
    vf_coef: float = 0.1
    gamma: float = 1.0
    lam: float = 0.95
    whiten_rewards: bool = False
    missing_eos_penalty: float = 0.0
    remove_unused_columns: bool | None = False


class PPOTrainer(Trainer):  # type: ignore[misc]
    """Rows are {"prompt": token ids, "answer": text}; `reward_funcs` are called as TRL calls them."""

    def __init__(
        self,
        *,
        model: Any,
        args: PPOConfig,
        train_dataset: Any,
        reward_funcs: list[Any],
        processing_class: Any,
        eval_dataset: Any = None,
        peft_config: Any = None,
    ) -> None:
        set_seed(args.seed)
        self.reward_funcs = reward_funcs
        self._micro_steps = args.gradient_accumulation_steps * args.num_mini_batches  # in one look at all answers
        self.rollout_size = args.per_device_train_batch_size * self._micro_steps
        if len(train_dataset) < self.rollout_size:
            raise UserError(
                f"A round of PPO writes {self.rollout_size} answers; there are {len(train_dataset)} prompts.",
                "Lower the batch size, gradient accumulation or mini-batches, or add examples.",
            )
        self.reference = self._take_reference(model, peft_config)
        model = get_peft_model(model, peft_config) if peft_config is not None else model
        if isinstance(model, PeftModel) and args.gradient_checkpointing:
            model.enable_input_require_grads()
        disable_dropout_in_model(model)
        super().__init__(
            model=model,
            args=args,
            train_dataset=train_dataset,
            eval_dataset=eval_dataset,
            processing_class=processing_class,
            data_collator=list,
        )
        self.model_accepts_loss_kwargs = False
        self.can_return_loss = True
        self.label_names: list[str] = []
        hidden = self.model.config.get_text_config().hidden_size
        self.value_head = torch.nn.Linear(hidden, 1).to(self.args.device, torch.float32)
        torch.nn.init.zeros_(self.value_head.weight)
        torch.nn.init.zeros_(self.value_head.bias)
        self._answers: Tensors | None = None
        self._micro: int | None = None
        self._order: torch.Tensor = torch.empty(0)
        self._metrics: dict[str, dict[str, list[float]]] = {"train": defaultdict(list), "eval": defaultdict(list)}
        self._generation = self._generation_config()

    # --- what is compared with

    def _take_reference(self, model: Any, peft_config: Any) -> Any:
        """A frozen copy of a whole model; of an adapter, a second one of its weights; None where it is switched off."""
        if peft_config is not None:
            return None
        if not isinstance(model, PeftModel):
            return copy.deepcopy(model).requires_grad_(False).eval()
        model.add_adapter(FROZEN, model.peft_config["default"])
        for name, weight in list(model.named_parameters()):
            if ".default." in name:
                model.get_parameter(name.replace(".default.", f".{FROZEN}.")).data.copy_(weight.data)
        return None

    @contextlib.contextmanager
    def _as_reference(self) -> Iterator[Any]:
        if self.reference is not None:
            self.reference.to(self.args.device)
            yield self.reference
            return
        policy = self.accelerator.unwrap_model(self.model)
        with use_adapter(policy, FROZEN if FROZEN in policy.peft_config else None):
            yield policy

    # --- batches: one of prompts for every micro step, the same until its answers are used up

    def get_train_dataloader(self) -> "DataLoader[Any]":
        loader: DataLoader[Any] = self._get_dataloader(
            dataset=self.train_dataset,
            description="Training",
            batch_size=self.rollout_size,
            sampler_fn=self._prompts_again,
            is_training=True,
        )
        return loader

    def _prompts_again(self, dataset: Any) -> Any:
        repeats = self.args.num_ppo_epochs * self._micro_steps
        return RepeatSampler(dataset, 1, batch_size=self.rollout_size, repeat_count=repeats, seed=self.args.seed)

    def _prepare_inputs(self, rows: list[dict[str, Any]]) -> Tensors:
        """The answers that the next micro step learns from; they are written anew when all were used."""
        if not self.model.training:
            return self.write_answers(rows, "eval")
        if self._micro is None:
            self._micro = self.state.global_step * self.args.gradient_accumulation_steps
        place = self._micro % (self.args.num_ppo_epochs * self._micro_steps)
        if place == 0 or self._answers is None:  # none: the job goes on from a checkpoint
            self._answers = self.write_answers(rows, "train")
        if place % self._micro_steps == 0 or not len(self._order):
            self._order = torch.randperm(self.rollout_size, device=self.args.device)
        self._micro += 1
        size = self.args.per_device_train_batch_size
        start = place % self._micro_steps * size
        chosen = self._order[start : start + size]
        return {name: tensor[chosen] for name, tensor in self._answers.items()}

    # --- writing and rewarding

    @torch.no_grad()
    def write_answers(self, rows: list[dict[str, Any]], mode: str) -> Tensors:
        """Answers to prompts, with all that learning from them needs: tensors of one row an answer."""
        was_training = self.model.training
        self.model.eval()
        with self.accelerator.autocast(), disable_gradient_checkpointing(self.model):
            batch = self._write([row["prompt"] for row in rows])
            log_probs, values, _ = self._look(self.model, batch)
            with self._as_reference() as reference:
                expected, _, _ = self._look(reference, batch)
        self.model.train(was_training)
        mask = batch["completion_mask"]
        scores = self._score(rows, batch, mode)
        rewards = ppo_math.token_rewards(scores, log_probs, expected, mask, self.args.kl_coef)
        if self.args.whiten_rewards:
            rewards = ppo_math.whiten(rewards, mask, shift_mean=False)
        advantages, returns = ppo_math.advantages_and_returns(
            rewards, values, mask, gamma=self.args.gamma, lam=self.args.lam
        )
        figures = self._metrics[mode]
        figures["kl"].append(float(((log_probs - expected) * mask).sum(1).mean()))
        figures["reward"].append(float(scores.mean()))
        figures["completions/mean_length"].append(float(mask.sum(1).float().mean()))
        whitened = ppo_math.whiten(advantages, mask)
        return {**batch, "log_probs": log_probs, "values": values, "advantages": whitened, "returns": returns}

    def _write(self, prompts: list[list[int]]) -> Tensors:
        """Prompts (left-padded) and sampled answers (right-padded), ids and masks."""
        width, pad = max(len(ids) for ids in prompts), self.processing_class.pad_token_id
        device = self.args.device
        prompt_ids = torch.tensor([[pad] * (width - len(ids)) + ids for ids in prompts], device=device)
        prompt_mask = torch.tensor([[0] * (width - len(ids)) + [1] * len(ids) for ids in prompts], device=device)
        policy = self.accelerator.unwrap_model(self.model)
        written = policy.generate(input_ids=prompt_ids, attention_mask=prompt_mask, generation_config=self._generation)
        completion_ids = written[:, width:]
        ends = torch.isin(completion_ids, torch.tensor(self._generation.eos_token_id, device=device)).int()
        completion_mask = ((ends.cumsum(1) - ends) == 0).int()  # up to the first end, itself included
        return {
            "prompt_ids": prompt_ids,
            "prompt_mask": prompt_mask,
            "completion_ids": completion_ids.masked_fill(completion_mask == 0, pad),
            "completion_mask": completion_mask,
            "ended": ends.any(1),
        }

    def _score(self, rows: list[dict[str, Any]], batch: Tensors, mode: str) -> torch.Tensor:
        """The sum of the rewards of each answer, (answers)."""
        pairs = zip(batch["completion_ids"].tolist(), batch["completion_mask"].sum(1).tolist(), strict=True)
        answers = [ids[:length] for ids, length in pairs]
        texts = self.processing_class.batch_decode(answers, skip_special_tokens=True)
        given = {"prompts": [row["prompt"] for row in rows], "answer": [row["answer"] for row in rows]}
        scores = torch.zeros(len(rows))
        for function in self.reward_funcs:
            marks = torch.tensor(function(**given, completions=texts, completion_ids=answers))
            self._metrics[mode][f"rewards/{function.__name__}/mean"].append(float(marks.mean()))
            scores += marks
        scores -= self.args.missing_eos_penalty * (~batch["ended"]).float().cpu()
        return scores.to(self.args.device)

    def _generation_config(self) -> GenerationConfig:
        tokenizer = self.processing_class
        declared = self.model.generation_config.eos_token_id
        ends = {tokenizer.eos_token_id, *(declared if isinstance(declared, list) else [declared])} - {None}
        return GenerationConfig(
            max_new_tokens=self.args.max_completion_length,
            do_sample=True,
            temperature=self.args.temperature,
            top_k=0,
            pad_token_id=tokenizer.pad_token_id,
            bos_token_id=tokenizer.bos_token_id,
            eos_token_id=sorted(ends),
            use_cache=True,
        )

    def _look(self, model: Any, batch: Tensors) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """(log-probabilities of the answers' tokens, values of the states before them, entropy), (answers, tokens)."""
        tokens = batch["completion_ids"].shape[1]
        outputs = model(
            input_ids=torch.cat([batch["prompt_ids"], batch["completion_ids"]], 1),
            attention_mask=torch.cat([batch["prompt_mask"], batch["completion_mask"]], 1),
            output_hidden_states=True,
            logits_to_keep=tokens + 1,
            use_cache=False,
        )
        # From the end: prompt tuning puts tokens of its own before the text.
        all_log_probs = (outputs.logits[:, -tokens - 1 : -1].float() / self.args.temperature).log_softmax(-1)
        hidden = outputs.hidden_states[-1][:, -tokens - 1 : -1].float()
        picked = all_log_probs.gather(-1, batch["completion_ids"][..., None])[..., 0]
        entropy = -(all_log_probs.detach().exp() * all_log_probs.detach()).sum(-1)
        return picked, self.value_head(hidden)[..., 0], entropy

    # --- learning

    def compute_loss(
        self, model: Any, inputs: Tensors, return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        arguments, mask = self.args, inputs["completion_mask"]
        log_probs, values, entropy = self._look(model, inputs)
        policy, clipped = ppo_math.policy_loss(
            log_probs, inputs["log_probs"], inputs["advantages"], mask, arguments.cliprange
        )
        value = ppo_math.value_loss(values, inputs["values"], inputs["returns"], mask, arguments.cliprange_value)
        figures = self._metrics["train" if self.model.training else "eval"]
        figures["policy_loss"].append(float(policy.detach()))
        figures["value_loss"].append(float(value.detach()))
        figures["clip_ratio"].append(float(clipped))
        figures["entropy"].append(float(ppo_math.masked_mean(entropy, mask)))
        loss = policy + arguments.vf_coef * value
        return (loss, None) if return_outputs else loss

    def prediction_step(
        self, model: Any, inputs: list[dict[str, Any]], prediction_loss_only: bool, ignore_keys: Any = None
    ) -> tuple[torch.Tensor, None, None]:
        with torch.no_grad(), self.compute_loss_context_manager():
            return self.compute_loss(model, self._prepare_inputs(inputs)).detach(), None, None

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        mode = "train" if self.model.training else "eval"
        prefix = "" if mode == "train" else "eval_"
        means = {prefix + name: sum(values) / len(values) for name, values in self._metrics[mode].items()}
        self._metrics[mode].clear()
        super().log({**logs, **means}, start_time)

    def create_optimizer(self, model: Any = None) -> Any:
        """The policy's, and a group for the value head."""
        fresh = self.optimizer is None
        optimizer = super().create_optimizer(model)
        if fresh:
            optimizer.add_param_group({"params": list(self.value_head.parameters()), "weight_decay": 0.0})
        return optimizer

    def _save_checkpoint(self, model: Any, trial: Any) -> None:
        super()._save_checkpoint(model, trial)
        folder = Path(self._get_output_dir(trial)) / f"checkpoint-{self.state.global_step}"
        save_file(dict(self.value_head.state_dict()), folder / VALUE_HEAD)

    def _load_optimizer_and_scheduler(self, checkpoint: str | None) -> None:
        if checkpoint is not None:
            self.value_head.load_state_dict(load_file(Path(checkpoint) / VALUE_HEAD))
        super()._load_optimizer_and_scheduler(checkpoint)
