"""Choosing, clicked through: five answers, the advice, what is grey, the guide, a sweep, the code, the next stage."""

import json

import pytest

from studio.methods.parameters import trainable_parameters
from studio.methods.tuners.lora import LoraOptions
from tests.browser.conftest import PATIENCE, Visit, keep, visiting
from tests.browser.test_main_job import TRAINING, advanced, choose, set_option, wait_for_job
from tests.conftest import instruction_rows, preference_rows, write_rows

pytestmark = pytest.mark.browser
FILE = "#upload input[type=file]"
# The lowest contrast of text against what lies behind it, opacities counted in (WCAG asks for 4.5).
CONTRASTS = """
(selector) => {
  const channels = (colour) => {
    const canvas = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
    canvas.fillStyle = colour;
    canvas.fillRect(0, 0, 1, 1);
    return [...canvas.getImageData(0, 0, 1, 1).data];
  };
  const light = (rgb) => rgb.slice(0, 3).map((one) => one / 255)
    .map((one) => (one <= 0.03928 ? one / 12.92 : ((one + 0.055) / 1.055) ** 2.4))
    .reduce((sum, one, index) => sum + one * [0.2126, 0.7152, 0.0722][index], 0);
  const behind = (element) => {
    const own = channels(getComputedStyle(element).backgroundColor);
    return own[3] === 255 || !element.parentElement ? own : behind(element.parentElement);
  };
  return Math.min(...[...document.querySelectorAll(selector)].flatMap((element) => ["", "::after"].map((part) => {
    const back = behind(element), share = Number(getComputedStyle(element).opacity);
    const front = channels(getComputedStyle(element, part).color).map((one, i) => share * one + (1 - share) * back[i]);
    const [high, low] = [light(front), light(back)].sort((a, b) => b - a);
    return (high + 0.05) / (low + 0.05);
  })));
}
"""
# Of each table of the guide: the right edge of its frame, whether all of it can be reached, its narrowest column.
TABLES = """
[...document.querySelectorAll("#advanced .st-guide[open] .st-guide-table")].map((frame) => {
  const table = frame.firstChild, box = frame.getBoundingClientRect();
  frame.scrollLeft = 1e6;
  const inside = table.getBoundingClientRect().right <= box.right + 1;
  frame.scrollLeft = 0;
  return [box.right, inside, Math.min(...[...table.querySelectorAll("td")].map((cell) => cell.offsetWidth))];
})
"""
SIDEWAYS = "document.documentElement.scrollWidth <= innerWidth + 1"


def bring(page, file, tiny) -> None:
    """Import a file, choose it on the Train tab, and the tiny model."""
    page.set_input_files(FILE, file)
    page.wait_for_selector(f"#dataset-summary h2 >> text={file.stem}")
    page.click("#use-dataset")
    page.wait_for_function("Studio.tab() === 'train'")
    page.fill("#base-model input", str(tiny))
    page.press("#base-model input", "Enter")


def advised(page, key: str) -> str:
    return page.locator(f"#advice [data-key='{key}'] b").inner_text()


@pytest.fixture
def rows(tmp_path):
    return write_rows(tmp_path / "few.jsonl", instruction_rows(24))


@pytest.fixture
def form(shared: Visit, tiny, rows):
    """The file's page with the advanced form for some instructions and the tiny model, as LoRA begins."""
    page = shared.page
    if not page.locator("#method").is_visible():
        shared.tab("data")
        bring(page, rows, tiny)
        advanced(page, "LoRA")
        page.wait_for_function("Object.keys(Studio.impossible.objective || {}).length > 0")
    return page


@pytest.fixture
def pairs(tmp_path):
    return write_rows(tmp_path / "pairs.jsonl", preference_rows())


def test_the_advice_fills_the_form_by_one_click(shared: Visit, tiny, pairs):
    page = shared.page
    assert not page.locator("#method").is_visible()
    bring(page, pairs, tiny)
    page.wait_for_function(
        "document.querySelector(\"#advice [data-key='objective.name'] b\")?.textContent.includes('DPO')"
    )
    page.click("#use-advice")
    page.wait_for_function("document.querySelector('#objective input').value.includes('DPO')")
    page.wait_for_function("document.querySelector('#option-learning_rate input').value === '0.00002'")
    page.wait_for_selector("#option-objective-beta", state="visible")
    page.wait_for_selector("#start-card >> text=Ready to start")


def test_five_answers_are_enough_for_a_job(shared: Visit, tiny, rows):
    page = shared.page
    shared.tab("data")
    bring(page, rows, tiny)
    page.locator("#form-mode label").first.click()
    page.wait_for_selector("#method", state="hidden")
    page.wait_for_selector("#advice [data-key='objective.name'] b >> text=Supervised")  # no longer for the pairs
    assert advised(page, "tuner.r") == "8"
    choose(page, "task", "To classify")
    page.wait_for_function("document.querySelector(\"#advice [data-key='tuner.r'] b\").textContent === '4'")
    page.get_by_label("Hurry", exact=True).click()
    page.wait_for_selector("#plan #trained-weights")
    page.click("#advice details summary")
    assert "Q1" in page.locator("#advice").inner_text()
    keep(page, "choosing-simple")
    before = page.evaluate("Studio.job")
    page.click("#start")
    page.wait_for_function("before => Studio.job && Studio.job !== before", arg=before)
    wait_for_job(page, "completed")
    spec = shared.studio.workspace / "jobs" / page.evaluate("Studio.job") / "spec.yaml"
    assert "r: 4" in spec.read_text()


def test_what_is_not_possible_is_grey_with_the_reason_and_cannot_be_chosen(form):
    page = form
    page.click("#objective input")
    grey = page.locator("#objective li.st-impossible", has_text="DPO").first
    assert "pairs of a chosen and a rejected answer" in grey.get_attribute("data-reason")
    keep(page, "choosing-grey")
    grey.click(force=True)
    page.keyboard.press("Escape")
    assert page.locator("#objective input").input_value() == "Supervised fine-tuning"
    choose(page, "tuner", "Full fine-tuning")
    page.wait_for_function("Object.keys(Studio.impossible['option-quantization'] || {}).length > 0")
    page.click("#option-quantization input")
    assert page.locator("#option-quantization li.st-impossible").count() == 2
    page.keyboard.press("Escape")


def test_a_grey_choice_cannot_be_chosen_with_the_keyboard_either(form):
    page = form
    menu = page.locator("#objective input")
    menu.click()
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Enter")
    page.wait_for_selector(".st-toast.bad >> text=pairs of a chosen and a rejected answer")
    menu.press("Control+a")
    menu.press_sequentially("ORPO")
    page.wait_for_selector("#objective li.active.st-impossible >> text=ORPO")
    page.keyboard.press("Enter")
    page.wait_for_selector(".st-toast.bad >> text=Answers and preferences at once")
    page.keyboard.press("Escape")
    page.keyboard.press("Enter")
    page.wait_for_timeout(500)
    menu.press("Tab")
    page.wait_for_function("document.querySelector('#objective input').value === 'Supervised fine-tuning'")
    page.wait_for_timeout(1500)
    assert page.locator("#plan >> text=Supervised fine-tuning").count() == 1
    tuner = page.locator("#tuner input")
    tuner.click()
    tuner.press("Control+a")
    tuner.press_sequentially("(IA")
    tuner.press("Enter")
    page.wait_for_selector("#plan dd >> text=(IA)³")


def test_the_reason_of_a_grey_choice_is_easy_to_read(form):
    page = form
    for scheme in ("light", "dark"):
        page.click("#objective input")
        page.hover("#objective li.st-impossible >> nth=0", force=True)
        page.wait_for_timeout(300)
        assert page.evaluate("document.body.classList.contains('dark')") == (scheme == "dark")
        assert page.evaluate(CONTRASTS, "#objective li.st-impossible") >= 4.5
        keep(page, f"choosing-grey-{scheme}")
        page.keyboard.press("Escape")
        page.click("#theme-toggle")


def test_the_count_of_weights_follows_the_form(form, tiny):
    page = form
    choose(page, "tuner", "LoRA")
    config = json.loads((tiny / "config.json").read_text())
    for rank in (4, 8):
        set_option(page, "tuner-r", rank)
        count = trainable_parameters(LoraOptions(r=rank), config)
        page.wait_for_selector(f"#trained-weights >> text={count:,}")
    choose(page, "tuner", "(IA)³")
    page.wait_for_selector("#plan dd >> text=(IA)³")
    page.wait_for_selector("#option-tuner-r", state="hidden")


def test_what_is_typed_before_a_presets_answer_is_kept(form):
    page, held = form, []
    choose(page, "preset", "LoRA")
    page.route("**/gradio_api/queue/join*", lambda route: held.append(route))  # a studio that is slow to answer
    choose(page, "preset", "Full fine-tuning")
    set_option(page, "learning_rate", 0.0125)
    assert held, "the page asked for the preset"
    page.unroute("**/gradio_api/queue/join*")  # and so what was held goes on
    page.wait_for_function("document.querySelector('#tuner input').value === 'Full fine-tuning'")
    page.wait_for_selector("#plan dd >> text=Full fine-tuning")
    assert page.locator("#option-learning_rate input").input_value() == "0.0125"
    choose(page, "preset", "LoRA")
    page.wait_for_function("document.querySelector('#option-learning_rate input').value === '0.0003'")


def test_the_guide_and_the_form_speak_both_languages(form, browser, served):
    form.click("#guide-options summary >> text=Which rank?")
    form.wait_for_selector("[data-topic=ranks] table >> text=16–32")
    keep(form, "choosing-guide-en")
    for visit in visiting(browser, served, locale="zh-CN"):
        page = visit.open("?tab=train")
        page.wait_for_selector("#tab-train-button >> text=训练")
        advanced(page)
        page.wait_for_selector("#option-learning_rate >> text=学习率")
        page.click("#guide-options summary >> text=秩选多大？")
        page.wait_for_selector("[data-topic=ranks] table >> text=16–32")
        keep(page, "choosing-guide-zh")
        page.click(".st-language")
        page.wait_for_selector("#tab-train-button >> text=Train")


def test_a_sweep_is_compared_and_its_code_and_next_stage_are_offered(form, tiny):
    page = form
    choose(page, "preset", "LoRA")
    page.wait_for_selector("#option-tuner-r", state="visible")
    page.click("#all-options button")
    for key, value in {"max_steps": 3, "max_length": 96, "eval_steps": 1}.items():
        set_option(page, key, value)
    page.click("#sweep-form button")
    page.fill("#sweep-grid textarea", "tuner.r = 2, 4")
    page.press("#sweep-grid textarea", "Tab")
    before = page.evaluate("Studio.job")
    page.click("#start-sweep")
    page.wait_for_function("before => Studio.job && Studio.job !== before", arg=before)
    page.wait_for_selector("#sweep-table tr.best", timeout=TRAINING)
    page.wait_for_selector("#sweep .st-pill.completed", timeout=TRAINING)
    assert page.locator("#sweep-table tbody tr").count() == 2
    assert page.locator("#sweep-table tr.best").count() == 1
    lines = page.evaluate("document.getElementById('plot-sweep').data.map((line) => line.x.length)")
    assert lines == [3, 3]
    wait_for_job(page, "completed")
    page.click("#code summary")
    page.wait_for_selector("#code-text >> text=from trl import SFTConfig")
    page.click("#code [data-kind=axolotl]")
    page.wait_for_selector("#code-text >> text=lora_r: 2")
    with page.expect_download() as download:
        page.click("#code-file")
    assert download.value.suggested_filename == "axolotl.yaml"
    keep(page, "choosing-sweep")
    page.select_option("#job-next", "dpo")
    page.wait_for_function("Studio.tab() === 'train'")
    page.wait_for_function("document.querySelector('#objective input').value.includes('DPO')")
    page.wait_for_function("document.querySelector('#option-start_from input').value.includes('few')")
    page.wait_for_function("document.querySelector('#option-tuner-r input').value === '2'")
    assert page.locator("#base-model input").input_value() == str(tiny)


def test_a_hand_made_address_chooses_nothing(visit: Visit):
    page = visit.open("?tab=train&from=../../etc&next=dpo")
    page.wait_for_selector(".toast-body >> text=not the id of a job", timeout=PATIENCE)
    assert not page.locator("#method").is_visible()  # the simple form still stands


def test_the_advanced_form_fits_a_phone(browser, served):
    phone = {"viewport": {"width": 390, "height": 844}, "is_mobile": True, "has_touch": True, "color_scheme": "dark"}
    for visit in visiting(browser, served, **phone):
        page = visit.open("?tab=train")
        advanced(page)
        for summary in page.locator("#advanced .st-guide summary").all():
            summary.click()
        page.wait_for_timeout(500)
        assert page.evaluate(SIDEWAYS)
        tables = page.evaluate(TABLES)
        assert len(tables) >= 8
        for right, inside, wide in tables:
            assert right <= 390, "the frame of a table ends on the page"
            assert inside, "what a table lacks in room scrolls in its frame"
            assert wide >= 92, "a column stays wide enough to read"
        keep(page, "phone-advanced-dark")


# A job that the page is told about, without one that runs.
A_JOB = """
(changes) => {
  const entry = { id: "shown-1", name: "a-data-set-with-a-long-name-of-its-own · Reward model (RLHF, stage 2)",
    status: "completed", step: 2, max_steps: 2, loss: 0.693, created: "2999-01-01" };
  Studio.jobs.set(entry.id, entry);
  Studio.job = entry.id;
  Studio.points = [[1, { "loss": 0.7, "accuracy": 0.5, "grad_norm": 1.011 }]];
  Studio.summary = { ...entry, message: "", phase: "", objective: "reward", base_model: "tiny", tuner: "lora",
    quantization: "none", next: [], left: null, eval_loss: null, learning_rate: 1e-4, tokens_per_second: 9,
    warnings: ["The first warning.", "The second warning."], unresponsive: false, revision: 0, sweep: "", ...changes };
  for (const event of ["job", "jobs", "summary"]) Studio.emit(event, Studio.summary);
}
"""


@pytest.fixture
def told_job(shared: Visit):
    """The Jobs tab with the job above."""
    page = shared.page
    shared.tab("jobs")
    page.wait_for_function("Studio.tab() === 'jobs'")
    page.evaluate(A_JOB, {})
    page.wait_for_selector("#plot-loss .main-svg")
    return page


def edges(page, *selectors: str) -> list[tuple[float, float]]:
    """The upper and the lower edge of each."""
    boxes = [page.locator(selector).first.bounding_box() for selector in selectors]
    return [(box["y"], box["y"] + box["height"]) for box in boxes]


def test_a_long_name_is_cut_in_the_list_of_jobs(told_job):
    names = told_job.locator(".st-job-name")
    assert names.first.evaluate("(name) => name.scrollWidth > name.clientWidth")
    assert names.first.evaluate("(name) => getComputedStyle(name).textOverflow") == "ellipsis"
    assert told_job.locator(".st-jobs").evaluate("(list) => list.scrollWidth <= list.clientWidth")
    side = told_job.locator(".st-jobs").bounding_box()
    item = told_job.locator(".st-job").first.bounding_box()
    assert item["x"] + item["width"] <= side["x"] + side["width"] + 1


def test_warnings_and_figures_of_a_job_stand_apart_and_no_band_is_empty(told_job):
    first, second, figures = edges(
        told_job, "#job-head .st-card >> nth=0", "#job-head .st-card >> nth=1", "#job-head .st-kpis"
    )
    assert second[0] - first[1] >= 10
    assert figures[0] - second[1] >= 10
    actions, charts = edges(told_job, "#job-head .st-actions", ".st-charts")
    assert charts[0] - actions[1] <= 36
    keep(told_job, "choosing-job")


def test_a_reward_model_offers_no_chat(told_job):
    assert told_job.locator("#job-delete").count() == 1
    assert told_job.locator("#job-chat").count() == 0
    told_job.evaluate(A_JOB, {"objective": "sft"})
    told_job.wait_for_selector("#job-chat")


def test_one_point_is_a_mark_and_becomes_a_line(told_job):
    marks = "document.querySelectorAll('#plot-ranking .scatterlayer .points path').length"
    told_job.wait_for_function(f"{marks} === 1")
    for step in (2, 3):
        told_job.evaluate(
            "(step) => { const point = [step, { accuracy: 0.75, grad_norm: 1.011 }];"
            " Studio.points.push(point); Studio.emit('points', [point]); }",
            step,
        )
    told_job.wait_for_function(f"{marks} === 0")
    lines = told_job.evaluate("document.getElementById('plot-ranking').data.map((line) => line.x)")
    assert [1, 2, 3] in lines
    ticks = told_job.evaluate(
        "[...document.querySelectorAll('#plot-grad_norm .ytick text')]"
        ".filter((tick) => tick.getBoundingClientRect().width).map((tick) => [tick.textContent,"
        " tick.getBoundingClientRect().left >= document.getElementById('plot-grad_norm').getBoundingClientRect().left])"
    )
    assert ticks
    assert all(len(text) <= 9 and whole for text, whole in ticks), ticks
