"""The page itself: it remembers, survives, fits a phone, speaks Chinese, and says what is wrong."""

import json

import pytest

from tests.browser.conftest import PATIENCE, Visit, keep, visiting
from tests.browser.test_main_job import advanced, choose, set_option, wait_for_job
from tests.conftest import instruction_rows, write_rows

pytestmark = pytest.mark.browser
FILE = "#upload input[type=file]"
TABS = ("data", "train", "memory", "jobs", "adapters", "playground", "arena")
SIDEWAYS = "document.documentElement.scrollWidth <= innerWidth + 1"


def start_tiny_job(page, tiny, file, *, steps: int, batch: int = 4) -> str:
    """Train the tiny model through the form; the job's id."""
    page.set_input_files(FILE, file)
    page.wait_for_selector("#use-dataset", state="visible")
    page.click("#use-dataset")
    advanced(page, "LoRA")
    page.fill("#base-model input", str(tiny))
    page.press("#base-model input", "Enter")
    page.click("#all-options button")
    values = {"max_steps": steps, "max_length": 96, "save_steps": 5, "per_device_train_batch_size": batch}
    for key, value in values.items():
        set_option(page, key, value)
    before = page.evaluate("Studio.job")
    page.click("#start")
    page.wait_for_function("before => Studio.job && Studio.job !== before", arg=before)
    return page.evaluate("Studio.job")


@pytest.fixture
def rows(tmp_path):
    return write_rows(tmp_path / "rows.jsonl", instruction_rows())


def test_a_broken_file_is_told_by_line_and_the_page_goes_on(shared: Visit, tmp_path):
    lines = [json.dumps(row) for row in instruction_rows(12)]
    lines[6] = '{"instruction": "half a row'
    broken = tmp_path / "broken.jsonl"
    broken.write_text("\n".join(lines))
    page = shared.page
    page.set_input_files(FILE, broken)
    page.wait_for_selector("#dataset-summary >> text=cannot be used")
    assert "line 7" in page.locator("#dataset-summary").inner_text().lower()
    keep(page, "refused")
    (tmp_path / "empty.jsonl").write_text("")
    page.set_input_files(FILE, tmp_path / "empty.jsonl")
    page.wait_for_selector("#dataset-summary >> text=empty")
    page.wait_for_timeout(500)  # the field for files is emptied; nobody drops the next one as fast


def test_a_page_that_rests_draws_nothing(shared: Visit):
    """Else each page in sight takes some of a core, and of a battery: see studio/ui/assets/frames.js."""
    page, asked = shared.page, [0]
    for _ in range(10):  # a mark that was on the page moves to the end of its turn
        page.wait_for_timeout(1000)
        asked.append(page.evaluate("FRAMES"))
        if asked[-1] - asked[-2] < 10:
            break
    assert asked[-1] - asked[-2] < 10, f"60 a second while anything draws: {asked}"


def test_what_a_file_says_is_never_markup(shared: Visit, tmp_path):
    nasty = "<img src=x onerror=\"document.title='broken in'\"><script>document.title='broken in'</script>"
    file = write_rows(tmp_path / "nasty.jsonl", [{"instruction": nasty, "output": nasty}] * 3)
    page = shared.page
    page.set_input_files(FILE, file)
    page.wait_for_selector(".st-example")
    page.get_by_role("tab", name="Rows", exact=True).click()
    page.wait_for_selector("#rows >> text=onerror", state="attached")
    assert page.title() == "Fine-tuning Studio"
    assert page.locator("#examples img").count() == 0


def test_a_bad_value_is_named_and_nothing_starts(shared: Visit, rows):
    page = shared.page
    page.set_input_files(FILE, rows)
    page.wait_for_selector("#use-dataset", state="visible")
    page.click("#use-dataset")
    before = page.evaluate("Studio.list().length")
    advanced(page)
    set_option(page, "learning_rate", -1)
    page.click("#start")
    page.wait_for_selector(".toast-body >> text=Learning rate")
    assert page.evaluate("Studio.list().length") == before
    assert page.locator("#option-learning_rate input").input_value() == "-1"


def test_a_chart_is_kept_as_it_was_set_and_a_stopped_job_goes_on(visit: Visit, tiny, rows):
    page = visit.open()
    start_tiny_job(page, tiny, rows, steps=100_000)
    page.wait_for_function("Studio.points.length > 4", timeout=PATIENCE * 2)
    zoom_smoothing_and_hidden_lines_survive_new_points(page)
    stop_saves_and_resume_goes_on(page)


def zoom_smoothing_and_hidden_lines_survive_new_points(page) -> None:
    page.wait_for_selector("#plot-loss .main-svg", state="attached")
    page.evaluate("Plotly.relayout('plot-loss', {'xaxis.range': [1, 3]})")
    page.evaluate("Plotly.restyle('plot-loss', {visible: 'legendonly'}, [2])")
    page.locator(".st-chart.loss input[type=range]").fill("0.9")
    seen = page.evaluate("Studio.points.length")
    node = page.evaluate_handle("document.querySelector('#plot-loss .main-svg')")
    page.wait_for_function("seen => Studio.points.length > seen + 3", arg=seen)
    page.wait_for_timeout(500)
    plot = "document.getElementById('plot-loss')"
    assert page.evaluate(f"{plot}.layout.xaxis.range") == [1, 3]
    assert page.evaluate(f"{plot}.data[2].visible") == "legendonly"
    assert page.evaluate(f"{plot}.data[0].x.length === Studio.points.filter(([, v]) => 'loss' in v).length")
    assert page.evaluate("node => node.isConnected", node), "the chart was drawn anew"


def stop_saves_and_resume_goes_on(page) -> None:
    page.click("#job-stop")
    wait_for_job(page, "stopped")
    step = page.evaluate("Studio.summary.step")
    page.wait_for_selector("#job-chat", state="visible")
    page.click("#job-resume")
    page.wait_for_function("at => Studio.summary.status === 'running' && Studio.summary.step > at", arg=step)
    page.click("#job-stop")
    wait_for_job(page, "stopped")
    steps = page.evaluate("Studio.points.filter(([, v]) => v.loss !== undefined).map(([s]) => s)")
    assert steps == sorted(set(steps)), "one value a step"
    assert steps[0] == 1


def test_a_killed_studio_comes_back_with_its_job_and_the_whole_chart(browser, own_studio, tiny, rows):
    for visit in visiting(browser, own_studio):
        page = visit.open()
        job = start_tiny_job(page, tiny, rows, steps=100_000)
        page.wait_for_function("Studio.summary && Studio.summary.step > 2", timeout=PATIENCE * 2)
        own_studio.kill()
        page.wait_for_selector("body.st-offline")
        before = page.evaluate("Studio.summary.step")
        own_studio.start()
        page.wait_for_function("at => Studio.summary.step > at + 2", arg=before)
        assert page.locator("body.st-offline").count() == 0
        page.reload()
        page.wait_for_function("id => window.Studio && Studio.summary && Studio.summary.id === id", arg=job)
        steps = page.evaluate("Studio.points.filter(([, v]) => v.loss !== undefined).map(([s]) => s)")
        assert steps == list(range(1, len(steps) + 1))
        page.wait_for_function("Studio.tab() === 'jobs'")
        page.click("#job-stop")
        wait_for_job(page, "stopped")
        page.goto(own_studio.url + "?job=no-such-job")
        page.wait_for_selector(".st-toast >> text=no-such-job")
        page.wait_for_function("id => Studio.summary && Studio.summary.id === id", arg=job)


def test_the_address_keeps_what_is_shown(visit: Visit):
    page = visit.open("?tab=train")
    page.wait_for_function("Studio.tab() === 'train'")
    visit.tab("playground")
    page.wait_for_function("location.search.includes('tab=playground')")
    page.reload()
    page.wait_for_function("window.Studio && Studio.tab() === 'playground'")
    the_starter_can_be_asked_without_any_job(page)
    page = visit.open("?tab=<script>&job=../../etc")
    page.wait_for_function("Studio.tab() === 'data'")


def the_starter_can_be_asked_without_any_job(page) -> None:
    page.wait_for_selector("#prompt textarea")
    choose(page, "chat-model-a", "SmolLM2-135M-Instruct")
    page.click("#play-settings button")
    page.locator("#temperature input[type=number]").fill("0")
    page.locator("#temperature input[type=number]").press("Tab")
    page.fill("#prompt textarea", "What is the capital of France?")
    page.press("#prompt textarea", "Enter")
    page.wait_for_selector("#chat-a >> text=Paris", timeout=PATIENCE * 3)


def test_seven_tabs_of_one_browser_all_open(browser, served):
    context = browser.contexts[0]
    pages = [context.new_page() for _ in range(7)]  # a browser opens six connections to a host
    for page in pages:
        page.goto(served.url)
    for page in pages:
        page.wait_for_selector("#tab-data-button", timeout=PATIENCE)
        page.wait_for_function("fetch('/healthz').then((answer) => answer.ok)", timeout=PATIENCE)
    for page in pages:
        page.close()


def test_everything_fits_a_phone_and_dark_is_kept(browser, served):
    phone = {"viewport": {"width": 390, "height": 844}, "is_mobile": True, "has_touch": True}
    for visit in visiting(browser, served, **phone):
        page = visit.open()
        for scheme in ("light", "dark"):
            page.wait_for_timeout(1000)
            for tab in TABS:
                page.evaluate("name => Studio.openTab(name)", tab)
                page.wait_for_function("name => Studio.tab() === name", arg=tab)
                page.wait_for_timeout(400)
                assert page.evaluate(SIDEWAYS), f"{tab} scrolls sideways"
                keep(page, f"phone-{tab}-{scheme}")
            page.evaluate("Studio.toggleTheme()")
        page.evaluate("Studio.toggleTheme()")
        page.reload()
        page.wait_for_selector("body.dark #tabs")
