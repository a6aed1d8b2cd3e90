"""A conversation → the tokens of a prompt, by a chat template, which may raise and may never end."""

from collections.abc import Sequence

import jinja2
from transformers import PreTrainedTokenizerBase

from studio.data.chat_template import RAISED
from studio.data.template_time import SECONDS, template_time
from studio.errors import UserError


def prompt_tokens(
    tokenizer: PreTrainedTokenizerBase, template: str, messages: Sequence[dict[str, str]], seconds: float = SECONDS
) -> list[int]:
    """The tokens of a conversation up to where the answer begins. Raises UserError when the template fails."""
    try:
        with template_time(seconds):
            text = tokenizer.apply_chat_template(
                list(messages), chat_template=template, add_generation_prompt=True, tokenize=False
            )
    except (jinja2.TemplateError, *RAISED) as error:
        raise UserError(
            f"The chat template does not take this conversation: {str(error) or type(error).__name__}",
            "Many templates want user and assistant to take turns, or know no system message.",
        ) from None
    return list(tokenizer(text, add_special_tokens=False)["input_ids"])
