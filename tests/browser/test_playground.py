"""The Playground in a browser: what stands under an answer, and what becomes of a question that is refused."""

import pytest

from studio.workspace import write_json
from tests.browser.conftest import PATIENCE, Visit

FACTS = {
    "choice": "base:starter", "finish": "stopped", "tokens": None, "prompt_tokens": None, "context": None,
    "seconds": None, "first_token_seconds": None, "cached_tokens": None, "shared_batch": None, "scores": {},
    "notes": [],
}  # fmt: skip
SHOW = """facts => {
  const asked = { parent: -1, role: "user", content: "Who?", facts: null };
  const turns = [asked, { parent: 0, role: "assistant", content: "Me.", facts }];
  const drawn = { system: "", temperature: 0, top_p: 1, max_tokens: 16 };
  const column = { choice: "base:starter", drawn, conversation: { turns, leaf: 1 } };
  Studio.play.value = { comparison: { id: "", shown: 1, columns: [column] } };
  Studio.emit("comparison");
  return [...document.querySelectorAll("#facts-a .st-facts-line span")].map((part) => part.innerText).filter(Boolean);
}"""


@pytest.fixture
def chat(shared: Visit):
    """The Playground's page."""
    shared.tab("playground")
    shared.page.wait_for_selector("#prompt textarea")
    return shared.page


def test_what_is_not_known_of_an_answer_is_left_out(chat):
    assert chat.evaluate(SHOW, FACTS) == ["stopped"]
    whole = {**FACTS, "finish": "stop", "tokens": 10, "prompt_tokens": 5, "context": 100, "seconds": 2}
    assert chat.evaluate(SHOW, whole) == ["5.0 tokens/s", "10 tokens", "ended by itself"]
    assert chat.locator("#facts-a .st-context b").inner_text() == "15 of 100 tokens"


def test_notes_stand_in_sight_as_text(chat):
    chat.evaluate(SHOW, {**FACTS, "notes": ["It takes <b>turns</b>.", "Alone."]})
    assert chat.locator("#facts-a .st-pane-note").inner_text() == "It takes <b>turns</b>. Alone."
    assert chat.locator("#facts-a .st-pane-note").is_visible()


def test_prices_are_text_and_maths_is_set(chat, shared):
    turns = [
        {"parent": -1, "role": "user", "content": "How much?"},
        {"parent": 0, "role": "assistant", "content": "It costs $5 in the shop and $10 at the pier, so $x^2 < 26$."},
    ]
    kept = {"name": "Prices", "columns": [{"conversation": {"turns": turns, "leaf": 1}}]}
    write_json(shared.studio.workspace / "conversations" / "prices-00000000.json", kept)
    page = shared.open("?tab=playground&comparison=prices-00000000")
    page.wait_for_selector("#chat-a .bot .katex")
    assert page.locator("#chat-a .bot .katex").count() == 1
    assert "$5 in the shop and $10 at the pier" in page.locator("#chat-a .bot").first.inner_text()


def test_a_question_that_is_too_long_comes_back_and_the_next_is_answered(visit: Visit):
    page = visit.open("?tab=playground")
    page.wait_for_selector("#prompt textarea")
    long = "lamp " * 9000
    page.fill("#prompt textarea", long)
    page.press("#prompt textarea", "Enter")
    page.wait_for_selector(".toast-body >> text=this model reads at most", timeout=PATIENCE * 3)
    page.wait_for_selector("#prompt .submit-button", state="visible")
    page.wait_for_function("long => document.querySelector('#prompt textarea').value === long", arg=long)
    assert page.locator("#chat-a .user").count() == 0
    page.fill("#prompt textarea", "What is the capital of France?")
    page.press("#prompt textarea", "Enter")
    page.wait_for_selector("#chat-a .bot >> text=/\\w+/", timeout=PATIENCE * 3)
    page.wait_for_selector("#prompt .submit-button", state="visible", timeout=PATIENCE * 3)
    assert "ended by itself" in page.locator("#facts-a").inner_text() or "cut" in page.locator("#facts-a").inner_text()


ARROW = """letter => {
  const menu = document.querySelector(`#chat-model-${letter}`), input = menu.querySelector("input");
  const arrow = menu.querySelector(".icon-wrap").getBoundingClientRect(), box = input.getBoundingClientRect();
  const style = getComputedStyle(input), edge = parseFloat(style.paddingRight) + parseFloat(style.borderRightWidth);
  return { overflow: style.textOverflow, text: box.right - edge, arrow: arrow.left };
}"""


def test_the_arrow_of_a_menu_does_not_lie_on_its_text(chat):
    for letters, width in (("a", 390), ("abcde", 1440)):
        chat.set_viewport_size({"width": width, "height": 900})
        if len(letters) > 1:
            chat.locator("#column-count label").nth(len(letters) - 1).click()
        for letter in letters:
            chat.wait_for_selector(f"#chat-model-{letter} input")
            found = chat.evaluate(ARROW, letter)
            assert found["overflow"] == "ellipsis"
            assert found["text"] <= found["arrow"], found
