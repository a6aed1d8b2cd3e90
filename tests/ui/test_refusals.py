"""Refusals in Chinese: every sentence of the checks before a start has its own, with the values in it."""

import ast
import re
from pathlib import Path

import pytest

from studio.jobs import preflight
from studio.methods.objectives import OBJECTIVES
from studio.ui.i18n import words
from studio.ui.refusals import VALUE, refusals, told_refusal

STUDIO = Path(preflight.__file__).parents[1]
METHODS = STUDIO / "methods"
CHECKS = (
    STUDIO / "jobs" / "preflight.py",
    STUDIO / "jobs" / "earlier_jobs.py",
    METHODS / "rewards.py",
    METHODS / "targets.py",
    *sorted((METHODS / "tuners").glob("*.py")),
    *sorted((METHODS / "objectives").glob("*.py")),
)


def sentences(node: ast.expr) -> list[str]:
    """The texts that an expression may be, {} for values; none when it is a name."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return [node.value] if node.value else []
    if isinstance(node, ast.JoinedStr):
        return ["".join(part.value if isinstance(part, ast.Constant) else VALUE for part in node.values)]
    return sentences(node.body) + sentences(node.orelse) if isinstance(node, ast.IfExp) else []


def said(file: Path) -> set[str]:
    """What a file refuses with."""
    tree = ast.parse(file.read_text(encoding="utf-8"))
    calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call)]
    found = {text for call in calls if getattr(call.func, "id", "") == "UserError"
             for argument in call.args for text in sentences(argument)}  # fmt: skip
    for function in ast.walk(tree):
        if isinstance(function, ast.FunctionDef) and function.name == "refuses":
            returned = [node.value for node in ast.walk(function) if isinstance(node, ast.Return) and node.value]
            found |= {text for value in returned for text in sentences(value)}
    return found


def test_every_refusal_of_the_checks_has_its_chinese():
    all_said = set().union(*(said(file) for file in CHECKS))
    assert len(all_said) > 70
    assert all_said - set(refusals()) == set()


def test_a_translation_has_the_values_of_the_sentence():
    for english, chinese in refusals().items():
        places = sorted(int(place) for place in re.findall(r"\{(\d)\}", chinese))
        assert places == list(range(english.count(VALUE))), english


@pytest.mark.parametrize(
    ("english", "chinese"),
    [
        ("Choose LoRA.", "请选择 LoRA。"),
        ("Set max length to 512 or less.", "请把最大长度设为 512 或更小。"),
        ("rows {0} holds conversations or text, b prompts with answers: it cannot be mixed in.",
         "rows {0} 里是对话或文本，b 里是带回答的提示：不能用来混入。"),
        ("Learning rate: Input should be greater than 0.", "Learning rate: Input should be greater than 0."),
        ("", ""),
    ],
)  # fmt: skip
def test_a_refusal_is_told_with_its_values(english, chinese):
    assert told_refusal(english, "zh") == chinese
    assert told_refusal(english, "en") == english


def test_methods_and_kinds_of_data_are_told_by_their_chinese_names():
    title = OBJECTIVES["dpo"].title
    sentence = f"{title} learns from pairs of a chosen and a rejected answer; x holds prompts with answers."
    assert (
        told_refusal(sentence, "zh")
        == f"{words('zh')['objective.dpo']}学习的是选中与拒绝的回答对；x 里是带回答的提示。"
    )
