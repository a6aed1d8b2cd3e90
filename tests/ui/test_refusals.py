"""Refusals in Chinese: every sentence of the checks before a start has its own, with the values in it."""

import ast
import asyncio
import json
import re
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
from gradio.context import LocalContext

from studio.errors import UserError
from studio.jobs import preflight
from studio.methods.objectives import OBJECTIVES
from studio.ui.feedback import show_error, user_error_response
from studio.ui.i18n import words
from studio.ui.refusals import VALUE, refusals, told_refusal, told_view

STUDIO = Path(preflight.__file__).parents[1]
METHODS = STUDIO / "methods"
# What somebody reads who chats, votes, merges, or brings in data and adapters.
TOLD = (
    STUDIO / "hub.py",
    STUDIO / "workspace.py",
    STUDIO / "base_models.py",
    *sorted((STUDIO / "playground").glob("*.py")),
    *sorted((STUDIO / "adapters").glob("*.py")),
    *sorted((STUDIO / "data").glob("*.py")),
    *(STUDIO / "jobs" / f"{name}.py" for name in ("adapter_shelf", "merge_sources", "merging", "servers", "store")),
    *(STUDIO / "worker" / f"{name}.py" for name in ("adapter_files", "adapters", "serve", "template_limits")),
    *(file for kind in ("adapter", "arena", "data", "play") for file in sorted((STUDIO / "ui").glob(f"{kind}_*.py"))),
)
# A sentence made of parts would be taken for nearly any other: what it comes to is in the table, each by its words.
IN_PARTS = {
    "{} has no {}.": ["{} has no adapter_config.json.", "{} has no adapter_model.safetensors."],
    "{} Ties and “both bad” make none.": ["Give some answers a thumb. Ties and “both bad” make none."],
    "{} beside the job {}.": ["{} needs about {} of {}'s memory, and {} are free beside the job {}."],
    "Choose the base it was trained on.{}": [
        "Choose the base it was trained on.",
        "Choose the base it was trained on. Its file says that it was trained on {}.",
    ],
    "{} {}.": ["{} changes biases as well."],
    "{}: {}": [],  # what the library for data sets says
}
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


def test_what_is_told_on_the_page_has_its_chinese():
    all_said = set().union(*(said(file) for file in TOLD))
    assert len(all_said) > 300
    assert all_said - set(refusals()) - set(IN_PARTS) == set()
    assert {sentence for sentences in IN_PARTS.values() for sentence in sentences} <= set(refusals())


def test_toasts_routes_and_tasks_tell_in_the_readers_language(monkeypatch):
    shown = []
    monkeypatch.setattr("gradio.Warning", lambda text, **unused: shown.append(text))
    error = UserError("The message is empty.", "Write something first.")
    told = {"en": "The message is empty.<br>Write something first.", "zh": "消息是空的。<br>请先写点什么。"}
    for language, text in told.items():
        asked = SimpleNamespace(headers={"accept-language": f"{language}-XX,en;q=0.5"})
        LocalContext.request.set(asked)
        show_error(error)
        assert shown.pop() == text
        answer = json.loads(bytes(asyncio.run(user_error_response(asked, error)).body))
        assert "<br>".join(answer["error"].values()) == text
        view = {"state": "failed", "error": {"message": error.message, "hint": error.hint}}
        assert "<br>".join(told_view(view, language)["error"].values()) == text
    LocalContext.request.set(None)
    show_error(error)
    assert shown == [told["en"]]


def test_words_from_a_file_do_not_hold_the_page_up():
    def took(words):
        began = time.process_time()
        told_refusal(" of a is b and c is d: " * words, "zh")
        return time.process_time() - began

    # Ten times the text: ten times as long, and a hundred times if it were looked through again at every word.
    assert min(took(4000) for _ in range(3)) < 40 * max(min(took(400) for _ in range(3)), 1e-4)


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
        ("adapter_model.bin is a pickle, which can run code when it is read, and is not accepted.",
         "adapter_model.bin 是 pickle，读取时可能运行代码，因此不接受。"),
        ("'../x' is not the id of an adapter.", "'../x' 不是适配器的 ID。"),
        ("What was chosen has no adapter_config.json.", "所选内容 里没有 adapter_config.json。"),
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
