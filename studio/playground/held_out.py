"""Prompts of a data set that none of the contenders has learned from."""

from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from studio.data.audit.reading import digest_of, prompt_and_answers
from studio.data.dataset import read_record, verified_examples
from studio.data.examples import Message
from studio.data.snapshots import read_current
from studio.errors import UserError
from studio.jobs.spec import TrainSpec
from studio.jobs.studio import Studio
from studio.jobs.training_data import gather
from studio.playground.client import BASE
from studio.playground.votes import Contender

SPOKEN = ("system", "user", "assistant")


@dataclass(frozen=True)
class HeldOut:
    """Prompts that no contender was trained on; `of` is how many the data set has.

    `unknown` names the contenders of which nobody knows any more what they learned from.
    """

    prompts: list[list[Message]]
    of: int
    unknown: list[str]


def held_out_prompts(studio: Studio, dataset_id: str, contenders: list[Contender]) -> HeldOut:
    """The prompts of a data set, as its steps leave it, without those that a contender learned from.

    What is compared are prompts, whichever data set a contender's job, or a job before it, had them from. Raises
    UserError when the data set has no prompts.
    """
    folder = studio.workspace.dataset(dataset_id)
    record = read_record(folder)
    found = {}
    for example in verified_examples(folder, read_current(folder)["sha256"]):
        prompt = prompt_and_answers(example)[0]
        if prompt and prompt[-1]["role"] == "user" and all(_is_plain(message) for message in prompt):
            found[digest_of(prompt)] = prompt
    if not found:
        raise UserError(f"{record.name} has no prompts that can be asked.", "Choose another one, or type prompts.")
    learned, unknown = set[int](), []
    for contender in contenders:
        prompts, whole = _learned_by(studio, contender)
        learned |= prompts
        if not whole:  # a job or a data set was deleted, or the adapter came from elsewhere: said in the page
            unknown.append(contender.name)
    return HeldOut([prompt for digest, prompt in found.items() if digest not in learned], len(found), unknown)


def parts_of(prompt: list[Message]) -> tuple[str, list[Message], str]:
    """(system prompt, turns before, the question) of a prompt."""
    system = prompt[0]["content"] if prompt[0]["role"] == "system" else ""
    return system, prompt[bool(system) : -1], prompt[-1]["content"]


def least_shown(prompts: list[list[Message]], shown: Counter[int]) -> list[list[Message]]:
    """Those of the prompts that were shown least often; `shown` counts by `digest_of`."""
    fewest = min(shown[digest_of(prompt)] for prompt in prompts)
    return [prompt for prompt in prompts if shown[digest_of(prompt)] == fewest]


def _is_plain(message: Message) -> bool:
    return message["role"] in SPOKEN and bool(message["content"].strip()) and "tool_calls" not in message


def _learned_by(studio: Studio, contender: Contender) -> tuple[set[int], bool]:
    """(digests of the prompts that a contender's job, and the jobs before it, were trained on, whether these are all).

    What the makers of a base model trained it on nobody knows; it counts as nothing.
    """
    own, name = contender.choice.startswith(f"{BASE}:"), contender.choice.removeprefix(f"{BASE}:")
    learned, whole, seen = set[int](), True, set[str]()
    waiting = [_maker(studio, name) if own else name]
    while waiting:
        job = waiting.pop().partition("@")[0]
        if not job or job in seen:
            continue
        seen.add(job)
        try:
            spec = studio.store.view(job).spec
            waiting.append(_maker(studio, spec.base_model))
            if isinstance(spec, TrainSpec):
                waiting.append(spec.start_from)
                learned |= _trained_on(studio, spec)
            else:
                waiting += [source.adapter for source in spec.sources]
        except UserError:  # an imported adapter does not say what it was trained on
            whole = False
    return learned, whole


def _maker(studio: Studio, base_model: str) -> str:
    """The job that made a base model; empty for one that came from elsewhere."""
    folder = Path(base_model)
    return folder.parent.name if folder.parent.parent.absolute() == studio.workspace.jobs.absolute() else ""


def _trained_on(studio: Studio, spec: TrainSpec) -> set[int]:
    return {digest_of(prompt_and_answers(example)[0]) for example in gather(spec, studio.workspace).train}
