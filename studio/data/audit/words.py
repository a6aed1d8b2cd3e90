"""Findings in words: what was found, and what it does to the training."""

from studio.data.audit.contract import Finding

# code → (what was found, why it matters); names in braces are `count` and the finding's figures
WORDS: dict[str, tuple[str, str]] = {
    "refused_by_template": (
        "{count} rows are refused by the model's chat template.",
        "They cannot be trained with this model: drop them, change their roles, or choose the plain template.",
    ),
    "fully_masked": (
        "{count} rows keep no learned token at this max_length: their prompt fills it.",
        "Nothing is learned from them. Raise max_length, or drop them.",
    ),
    "cut": (
        "{count} rows are longer than max_length and lose {tokens_lost} tokens; {ends_lost} answers lose their end.",
        "From answers without an end the model learns not to stop. Raise max_length, or drop them.",
    ),
    "missing_eos": (
        "{count} rows do not close what is learned with an end-of-text token.",
        "The model would not learn to stop. Choose a template that ends its answers.",
    ),
    "empty_answers": ("{count} rows have an empty answer.", "The model would learn to say nothing. Drop them."),
    "placeholders": (
        "{count} rows hold None, null, nan or the like in the place of a text.",
        "An empty cell became a word on the way. The model would learn to say it. Drop them.",
    ),
    "identical_answers": (
        "{count} pairs have the same chosen and rejected answer.",
        "There is nothing to prefer in them. Drop them.",
    ),
    "contradictions": (
        "{count} rows say the opposite of an earlier row.",
        "The same answer is good in one row and bad in another. Drop the wrong ones.",
    ),
    "differing_prompts": (
        "{count} pairs part before the last answer: they do not answer the same prompt.",
        "The model would compare answers to different questions. Drop them, if that is not meant.",
    ),
    "label_balance": (
        "{good} answers are labelled good, {bad} bad.",
        "With one label alone nothing is learned; far from balance, set the weights of the two labels.",
    ),
    "length_bias": (
        "The chosen answer is longer in {chosen_longer:.0%} of the pairs, shorter in {chosen_shorter:.0%}.",
        "The model may learn the length instead of the quality.",
    ),
    "secrets": (
        "{count} rows hold what looks like a key, a token or a password.",
        "A model repeats what it learned. Drop them, and revoke what was real.",
    ),
    "special_tokens": (
        "{count} rows hold special tokens of this tokenizer in their text.",
        "The model takes them for real ends and turns. Trim takes them out.",
    ),
    "template_marks": (
        "{count} rows hold the marks of another chat template in their text.",
        "The text was rendered once before, and the marks would be learned as words. Trim takes them out.",
    ),
    "template_code": (
        "{count} rows hold {{{{ or {{% in their text.",
        "Often a placeholder that nobody filled. Keep them where it is code that is meant.",
    ),
    "leakage": (
        "{count} training rows are in the evaluation as well: {same_example} whole, {same_prompt} with their prompt.",
        "The evaluation would measure memory. Drop them from the training.",
    ),
    "duplicates": (
        "{count} rows repeat an earlier row word for word.",
        "Repeated rows are learned more strongly. Drop them, unless that is meant.",
    ),
    "near_duplicates": (
        "{count} rows are nearly the same as an earlier row ({compared} of {of} rows were compared).",
        "They are learned more strongly than others. Look at some before you drop them.",
    ),
    "repeated_prompts": (
        "{count} rows answer a prompt of an earlier row in another way.",
        "Fine where several answers are right; else the model learns to waver.",
    ),
    "short_answers": (
        "{count} rows have an answer of fewer than {shortest} characters.",
        "The model learns to be as short. Keep them where that is the task.",
    ),
    "language_mix": (
        "{count} rows are answered in another script than most ({main}).",
        "Fine for a model of several languages; else drop them.",
    ),
    "answer_language": (
        "{count} rows are answered in another script than they are asked in.",
        "Fine for translations; else the model learns to change the language.",
    ),
    "surrounding_whitespace": (
        "{count} rows have a text that begins or ends with whitespace.",
        "It is learned like any text. Trim takes it away.",
    ),
}


def describe(finding: Finding) -> tuple[str, str]:
    """(what was found, what to do about it) in words."""
    what, why = WORDS[finding.code]
    return what.format(count=finding.count, **finding.figures), why
