"""A thumb for a single answer of the chat, kept beside the arena's."""

import hashlib
import json
from dataclasses import asdict

from studio.data.examples import Message
from studio.jobs.studio import Studio
from studio.playground.client import Settings
from studio.playground.contenders import contender_of
from studio.playground.votes import Shown, Thumb, VoteStore, voter_name


def rate_answer(
    studio: Studio,
    *,
    choice: str,
    name: str,
    prompt: list[Message],
    answer: str,
    settings: Settings,
    voter: str,
    good: bool | None,
    finish: str = "",
) -> None:
    """Keep a thumb for `answer`, which `choice` (called `name` in the menu) gave to the messages `prompt`; `finish`
    says how it ended.

    A second thumb of the same voter for the same answer takes the place of the first; None takes it back. Raises
    UserError when the choice cannot answer, or the voter has no name.
    """
    told = json.dumps([choice, prompt, answer], ensure_ascii=False).encode()
    VoteStore(studio.workspace.votes).rate(
        Thumb(
            round=f"chat-{hashlib.sha256(told).hexdigest()[:24]}",
            voter=voter_name(voter),
            prompt=[dict(message) for message in prompt],
            settings=asdict(settings),
            shown=Shown(contender=contender_of(studio, choice, name), answer=answer, finish=finish),
            good=good,
        )
    )
