"""What rewards answers while a model learns by its own: the rules of a job, and the reward model that it names."""

from pathlib import Path
from typing import Any

import torch
from peft import PeftModel
from transformers import AutoModelForSequenceClassification, PreTrainedTokenizerBase

import studio.methods.bottleneck_layers  # noqa: F401 - PEFT learns of the adapter by this
from studio import workspace as names
from studio.data.chat_template import ChatTokenizer
from studio.jobs.earlier_jobs import find_reward_model
from studio.jobs.spec import TrainSpec
from studio.methods.rewards import Rule
from studio.worker import checkpoints
from studio.worker.soft_prompts import score_last_token
from studio.workspace import Workspace

MARK = "\0"  # stands for an answer's text


class RuleReward:
    """A rule as TRL calls a reward function."""

    def __init__(self, rule: Rule) -> None:
        self._rule = rule
        self.__name__ = rule.name

    def __call__(self, *, completions: list[str], answer: list[str], **unused: Any) -> list[float]:
        """Scores of answers, in order."""
        return [self._rule.score(text, wanted) for text, wanted in zip(completions, answer, strict=True)]


class ModelReward:
    """A reward model as TRL calls a reward function.

    It sees what it saw when it was trained: the prompt's tokens, the answer's, and the template's end of an answer.
    """

    __name__ = "reward_model"

    def __init__(self, model: Any, ending: list[int], tokenizer: PreTrainedTokenizerBase) -> None:
        self._model, self._ending = model.eval(), ending
        self._stops = {*tokenizer.all_special_ids}
        self._pad = int(tokenizer.pad_token_id)

    @torch.no_grad()
    def __call__(self, *, prompts: list[list[int]], completion_ids: list[list[int]], **unused: Any) -> list[float]:
        """One number for each prompt with its answer, both token ids."""
        texts = [
            prompt + self._without_end(answer) + self._ending
            for prompt, answer in zip(prompts, completion_ids, strict=True)
        ]
        width = max(len(ids) for ids in texts)
        device = self._model.device
        input_ids = torch.tensor([ids + [self._pad] * (width - len(ids)) for ids in texts], device=device)
        mask = torch.tensor([[1] * len(ids) + [0] * (width - len(ids)) for ids in texts], device=device)
        scores: list[float] = self._model(input_ids=input_ids, attention_mask=mask).logits[:, 0].float().tolist()
        return scores

    def _without_end(self, answer: list[int]) -> list[int]:
        end = next((index for index, token in enumerate(answer) if token in self._stops), len(answer))
        return answer[:end]


def reward_functions(
    spec: TrainSpec, workspace: Workspace, base: Path, tokenizer: PreTrainedTokenizerBase, where: torch.device
) -> list[Any]:
    """The rewards of a job, the reward model's last. Raises UserError when that model does not fit or is damaged."""
    options: Any = spec.objective
    functions: list[Any] = [RuleReward(rule) for rule in options.rules()]
    if options.reward_model:
        folder = find_reward_model(spec, workspace, base)
        checkpoints.verify(folder)
        model = load_reward_model(folder, base, tokenizer).to(where)
        functions.append(ModelReward(model, answer_ending(ChatTokenizer(base, spec.chat_template)), tokenizer))
    return functions


def load_reward_model(folder: Path, base: Path, tokenizer: PreTrainedTokenizerBase) -> Any:
    """The model in a folder that `find_reward_model` has found, float32; an adapter is put on `base`."""
    whole = folder.name == names.MODEL
    model = AutoModelForSequenceClassification.from_pretrained(
        folder if whole else base,
        num_labels=1,
        dtype=torch.float32,
        trust_remote_code=False,
        use_safetensors=True,
    )
    model.config.get_text_config().pad_token_id = tokenizer.pad_token_id  # it scores at the last token before padding
    if not whole:
        model = PeftModel.from_pretrained(model, folder)
        score_last_token(model)
    return model.eval()


def answer_ending(chat: ChatTokenizer) -> list[int]:
    """The tokens that the template puts after an answer's text."""
    rendered = chat.render([{"role": "user", "content": "?"}, {"role": "assistant", "content": MARK}])
    return list(chat.tokenizer.encode(rendered.rpartition(MARK)[2], add_special_tokens=False).ids)
