"""What plain TRL and PEFT lack, as source for a script: the studio's own files word for word, and a few functions."""

import re
from dataclasses import dataclass
from pathlib import Path

from studio.errors import UserError
from studio.jobs.code import INSTEAD
from studio.jobs.spec import TrainSpec
from studio.methods.tuners import TUNERS

METHODS = Path(__file__).parents[2] / "methods"
BOTTLENECK = ("bottleneck_layers",)
PPO = ("ppo_math", "ppo_trainer")
# In place of the import of errors.py; a script has nobody to tell it to but Python.
USER_ERROR = """class UserError(ValueError):
    pass"""
HELD = "general.jsonl"  # the rows that say which weights matter
JUDGE = "reward_model"  # the folder beside the script of an adapter that rewards
SOFT = ("prompt_tuning", "p_tuning", "prefix_tuning", "p_tuning_v2")


@dataclass(frozen=True, kw_only=True)
class Judge:
    """A reward model: the tuner that trained it, its base, and the folder of a whole model (else it lies beside)."""

    tuner: str
    base_model: str
    whole: str = ""


def source_of(files: tuple[str, ...]) -> str:
    """Files of studio/methods without their docstring, what they import of the studio, and the checker's marks."""
    texts = [_bare((METHODS / f"{name}.py").read_text(encoding="utf-8"), files) for name in files]
    needs_error = any("UserError" in text for text in texts)
    return "\n\n\n".join([*([USER_ERROR] if needs_error else []), *texts])


def _bare(text: str, files: tuple[str, ...]) -> str:
    text = re.sub(r'\A""".*?"""\n+', "", text, flags=re.DOTALL)
    text = re.sub(r"^from studio\b.*\n", "", text, flags=re.MULTILINE)
    text = re.sub(r"  # (?:type: ignore\[.*?\]|noqa.*)$", "", text, flags=re.MULTILINE)
    for name in files:
        text = text.replace(f"{name}.", "")
    return text.strip("\n")


JUDGING = """# The reward model's number for a prompt with its answer: it sees the tokens that it learned from
def load_judge():
    judge = AutoModelForSequenceClassification.from_pretrained(
        {weights!r}, num_labels=1, dtype=torch.float32, use_safetensors=True, trust_remote_code=False
    )
    judge.config.get_text_config().pad_token_id = tokenizer.pad_token_id
{adapter}    return judge.eval().to(model.device)


def reward_model(prompts, completion_ids, **unused):
    mark = "\\0"  # stands for the answer's text
    text = render([{{"role": "user", "content": "?"}}, {{"role": "assistant", "content": mark}}])
    ending = tokenizer(text.rpartition(mark)[2], add_special_tokens=False)["input_ids"]
    stops, pad = {{*tokenizer.all_special_ids}}, tokenizer.pad_token_id
    texts = []
    for prompt, written in zip(prompts, completion_ids, strict=True):
        end = next((index for index, token in enumerate(written) if token in stops), len(written))
        texts.append([*prompt, *written[:end], *ending])
    width = max(len(ids) for ids in texts)
    input_ids = torch.tensor([ids + [pad] * (width - len(ids)) for ids in texts], device=judge.device)
    mask = torch.tensor([[1] * len(ids) + [0] * (width - len(ids)) for ids in texts], device=judge.device)
    with torch.no_grad():
        return judge(input_ids=input_ids, attention_mask=mask).logits[:, 0].float().tolist()"""


def judging(judge: Judge) -> str:
    """Functions that load a reward model and reward by it. Raises UserError where its tuner needs the studio."""
    if judge.tuner in SOFT:
        raise UserError(
            f"The reward model was trained by {TUNERS[judge.tuner].title}, whose scores the studio places itself.",
            INSTEAD,
        )
    adapter = "" if judge.whole else f'    judge = PeftModel.from_pretrained(judge, str(HERE / "{JUDGE}"))\n'
    return JUDGING.format(weights=judge.whole or judge.base_model, adapter=adapter)


HOLDING = """
    def training_step(self, *args, **kwargs):
        loss = super().training_step(*args, **kwargs)
        penalty = consolidation.penalty() / self.current_gradient_accumulation_steps
        self.accelerator.backward(penalty)
        return loss + penalty.detach()
"""


def holding(spec: TrainSpec) -> str:
    """The line that measures what must not be forgotten, once there is a trainer."""
    return f'consolidation = Consolidation(trainer.model, read_held("{HELD}"), {spec.ewc_lambda!r})\n'
