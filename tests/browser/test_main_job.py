"""The main job, clicked through: a file becomes an adapter that answers differently from its base."""

import json

import pytest

from tests.browser.conftest import PATIENCE, ROOT, Visit, keep

pytestmark = pytest.mark.browser
ROWS, STEPS = 10, 8  # so few that the second pass over them is plainly easier than the first
TRAINING = 300_000  # milliseconds for a short training of the starter model
CARRIED = "document.querySelector('#form-carried textarea').value"  # what the form was filled with, each time anew


def choose(page, where: str, text: str) -> None:
    """Pick an entry of a Gradio drop-down by what it begins with."""
    page.click(f"#{where} input")
    page.locator(f"#{where} ul[role=listbox] li", has_text=text).first.click()


def advanced(page, preset: str = "") -> None:
    """Open the form with every option, and begin with a preset."""
    page.locator("#form-mode label").nth(1).click()
    page.wait_for_selector("#method", state="visible")
    if preset:
        before = page.evaluate(CARRIED)
        choose(page, "preset", preset)
        page.wait_for_function(f"before => {CARRIED} !== before", arg=before)


def set_option(page, key: str, value: object) -> None:
    """Write a number into one control of the form."""
    field = page.locator(f"#option-{key} input").first
    field.fill(str(value))
    field.press("Tab")


def wait_for_job(page, *statuses: str, timeout: int = TRAINING) -> None:
    page.wait_for_function(
        "wanted => window.Studio.summary && wanted.includes(window.Studio.summary.status)",
        arg=list(statuses),
        timeout=timeout,
    )


def answers(page, pane: str) -> str:
    """The text of the last answer in a pane."""
    return page.locator(f"#{pane} .bot .message, #{pane} .message.bot").last.inner_text()


@pytest.fixture(scope="module")
def keeper_file(tmp_path_factory: pytest.TempPathFactory):
    """The first rows of the instruction sample, as somebody's own file."""
    lines = (ROOT / "samples" / "lighthouse-keeper.jsonl").read_text(encoding="utf-8").splitlines()[:ROWS]
    file = tmp_path_factory.mktemp("mine") / "keeper.json"
    file.write_text(json.dumps([json.loads(line) for line in lines], ensure_ascii=False), encoding="utf-8")
    return file


def test_a_file_becomes_an_adapter_you_can_talk_to(visit: Visit, keeper_file):
    page = visit.open()
    page.set_input_files("#upload input[type=file]", keeper_file)
    page.wait_for_selector(".st-example .st-token.learned")
    assert page.locator("#dataset-summary").inner_text().count(str(ROWS)) >= 1
    assert "Alpaca" in page.locator("#dataset-summary").inner_text()
    page.wait_for_timeout(500)
    keep(page, "data")

    page.click("#use-dataset")
    page.wait_for_selector("#start-card >> text=Ready to start")
    advanced(page)
    page.click("#all-options button")
    for key, value in {
        "max_steps": STEPS,
        "learning_rate": 0.002,
        "max_length": 96,
        "per_device_train_batch_size": 2,
        "eval_steps": STEPS // 2,
    }.items():
        set_option(page, key, value)
    page.wait_for_selector(f"#plan dd >> text={STEPS}")
    page.click("#all-options button")
    page.fill("#job-name input, #job-name textarea", "Lighthouse keeper")
    page.wait_for_timeout(500)
    keep(page, "train")

    page.click("#start")
    page.wait_for_selector("#plot-loss .main-svg", state="attached")
    wait_for_job(page, "completed")
    losses = page.evaluate("Studio.points.filter(([, v]) => v.loss !== undefined).map(([, v]) => v.loss)")
    assert len(losses) == STEPS
    assert sum(losses[-3:]) < 0.9 * sum(losses[:3]), losses
    assert page.evaluate("Studio.points.some(([, v]) => v.eval_loss !== undefined)")
    drawn = page.evaluate("document.getElementById('plot-loss').data.map((line) => line.x.length)")
    assert max(drawn) == STEPS
    page.wait_for_selector("#job-log >> text=finished")
    page.wait_for_timeout(500)
    keep(page, "jobs")

    page.click("#job-chat")
    page.wait_for_selector("#prompt textarea")
    page.locator("#column-count label").nth(1).click()
    page.wait_for_selector("#chat-model-b input")
    page.wait_for_function("document.querySelector('#chat-model-a input').value.includes('Lighthouse keeper')")
    choose(page, "chat-model-b", "base model")
    page.click("#play-settings button")
    for name, value in (("temperature", 0), ("max-tokens", 24)):
        page.locator(f"#{name} input[type=number]").fill(str(value))
        page.locator(f"#{name} input[type=number]").press("Tab")
    page.click("#play-settings button")
    page.fill("#prompt textarea", "What should I pack for a night walk?")
    page.press("#prompt textarea", "Enter")
    page.wait_for_selector("#prompt .stop-button", state="visible")
    page.wait_for_selector("#prompt .submit-button", state="visible", timeout=TRAINING)
    trained, base = answers(page, "chat-a"), answers(page, "chat-b")
    assert len(trained) > 10
    assert len(base) > 10
    assert trained != base
    page.check("#differences input")
    page.wait_for_function("CSS.highlights.get('st-differs')?.size > 0")
    assert page.locator("#chat-b .bot mark").count() == 0  # marked without markup
    keep(page, "playground")


def test_preference_pairs_become_rewards_and_margins(visit: Visit, tiny):
    page = visit.open()
    page.click("#sample-plain")
    page.wait_for_selector(".st-sequence-head .bad")
    page.click("#use-dataset")
    advanced(page)
    page.wait_for_function("document.querySelector('#objective input').value.includes('DPO')")  # what fits the rows
    page.fill("#base-model input", str(tiny))
    page.press("#base-model input", "Enter")
    choose(page, "preset", "DPO")
    page.wait_for_selector("#option-objective-beta", state="visible")
    page.click("#all-options button")
    set_option(page, "max_steps", 4)
    set_option(page, "max_length", 256)
    before = page.evaluate("Studio.job")
    page.click("#start")
    page.wait_for_function("before => Studio.job && Studio.job !== before", arg=before)
    wait_for_job(page, "completed")
    for chart in ("loss", "rewards", "margins", "accuracies", "learning_rate", "grad_norm", "tokens_per_second"):
        page.wait_for_selector(f"#plot-{chart} .main-svg", state="attached", timeout=PATIENCE)
    lines = page.evaluate("document.getElementById('plot-margins').data.map((line) => line.x.length)")
    assert max(lines) == 4
