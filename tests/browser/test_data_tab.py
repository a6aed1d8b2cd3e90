"""The Data tab, clicked through: imports, the audit and its remedies, rows, mapping, downloads; in both languages."""

import json
import secrets

import pytest

from tests.browser.conftest import Visit, keep, visiting
from tests.conftest import instruction_rows, write_rows

pytestmark = pytest.mark.browser
FILE = "#upload input[type=file]"
SIDEWAYS = "document.documentElement.scrollWidth <= innerWidth + 1"
NASTY = "<img src=x onerror=\"document.title='broken in'\"><script>document.title='broken in'</script>"


def messy_rows() -> list[dict]:
    """40 rows: 5 and 6 repeat row 4, row 9 is padded, row 12 says None, row 20 asks at length."""
    rows = instruction_rows(40)
    rows[4] = rows[5] = dict(rows[3])
    rows[8] = {**rows[8], "output": "  the lamp is lit  "}
    rows[11] = {**rows[11], "output": "None"}
    rows[19] = {**rows[19], "instruction": "tea " * 700}
    return rows


@pytest.fixture
def messy(tmp_path):
    return write_rows(tmp_path / f"messy-{secrets.token_hex(2)}.jsonl", messy_rows())


@pytest.fixture
def desk(shared: Visit) -> Visit:
    """The file's page with this tab in front, and the examples in front of it."""
    shared.page.keyboard.press("Escape")  # a row's dialog may be open
    shared.tab("data")
    examples = shared.page.get_by_role("tab", name="What the model learns", exact=True)
    if examples.is_visible():
        examples.click()
    return shared


def upload(page, file) -> None:
    """Import a file and wait until its examples are there."""
    page.set_input_files(FILE, file)
    page.wait_for_selector(f"#dataset-summary h2 >> text={file.stem}")
    page.wait_for_selector(".st-example .st-token.learned")


def finding(code: str) -> str:
    return f"#findings [data-finding={code}]"


def view(page, name: str) -> None:
    page.get_by_role("tab", name=name, exact=True).click()


def figures(page) -> str:
    return page.locator("#dataset-summary .st-kpis").inner_text()


def test_findings_are_remedied_and_every_remedy_is_taken_back(desk: Visit, messy):
    page = desk.page
    upload(page, messy)
    page.click(f"{finding('duplicates')} [data-remedy=drop]")
    page.wait_for_selector("#steps >> text=2 rows left out")
    page.wait_for_selector(finding("duplicates"), state="detached")
    assert "38" in figures(page)
    page.click(f"{finding('surrounding_whitespace')} [data-remedy=trim]")
    page.wait_for_selector(finding("surrounding_whitespace"), state="detached")
    page.click(f"{finding('placeholders')} [data-remedy=keep]")
    page.wait_for_selector(f"{finding('placeholders')}.accepted")
    keep(page, "data-findings")
    page.reload()
    page.wait_for_selector("#steps li >> nth=2")
    page.locator("#steps button").first.click()
    page.wait_for_function("document.querySelectorAll('#steps li').length === 2")
    page.wait_for_selector(finding("duplicates"))
    assert "40" in figures(page)


def test_a_row_that_is_named_is_shown_with_what_is_cut(desk: Visit, messy):
    page = desk.page
    upload(page, messy)
    page.wait_for_selector("#plot-lengths .main-svg", state="attached")
    page.click(f"{finding('cut')} .st-link.row")
    page.wait_for_selector(".st-example[data-row='20'] .st-token.lost")
    badges = page.locator(".st-example[data-row='20']").inner_text()
    assert "cut off" in badges
    assert "nothing learned" in badges
    keep(page, "data-cut")
    page.fill("#goto-row", "3")
    page.press("#goto-row", "Enter")
    page.wait_for_selector(".st-example[data-row='3'] .st-token.learned")
    page.click("#examples-next")
    page.wait_for_selector(".st-example[data-row='4']")
    page.click("#examples-previous")
    page.wait_for_selector(".st-example[data-row='3']")
    page.fill("#look-length", "1000")
    page.press("#look-length", "Tab")
    page.wait_for_selector(finding("cut"), state="detached")
    assert page.evaluate("document.getElementById('plot-lengths').layout.annotations[0].text") == "max_length 1,000"
    page.click("#use-suggested")
    page.wait_for_selector(".st-suggest >> text=in use")
    suggested = page.locator("#look-length").input_value()
    page.click("#use-dataset")  # what the user looked at goes along to the form
    page.wait_for_function("Studio.tab() === 'train'")
    page.wait_for_function(
        "wanted => document.querySelector('#option-max_length input')?.value === wanted", arg=suggested
    )


def test_rows_are_searched_sorted_filtered_and_opened(desk: Visit, messy):
    page = desk.page
    upload(page, messy)
    view(page, "Rows")
    page.wait_for_function("document.querySelectorAll('#rows tbody tr').length === 40")
    page.fill("#rows-search", "question 37")
    page.wait_for_function("document.querySelectorAll('#rows tbody tr').length === 1")
    page.click("#rows tbody tr")
    page.wait_for_selector("#row-dialog .st-token.learned")
    shown = page.locator("#row-dialog").inner_text()
    assert "Row 38" in shown
    assert "what is question 37" in page.locator("#row-dialog .st-bubble.user").inner_text()
    keep(page, "data-row")
    page.click("#row-dialog button[aria-label=Next]")
    page.wait_for_selector("#row-dialog h2 >> text=Row 39")
    page.keyboard.press("Escape")
    page.wait_for_selector("#row-dialog", state="detached")
    page.fill("#rows-search", "")
    page.wait_for_function("document.querySelectorAll('#rows tbody tr').length === 40")
    page.click("#sort-length")
    page.wait_for_function("document.querySelector('#rows tbody tr').dataset.row === '20'")
    view(page, "What the model learns")
    page.click(f"{finding('duplicates')} .st-finding-rows .st-link >> nth=-1")
    page.wait_for_function("document.querySelectorAll('#rows tbody tr').length === 2")
    keep(page, "data-rows")
    page.fill("#rows-search", "nowhere to be found")
    page.wait_for_selector("#rows >> text=No row fits")


def test_bad_rows_are_left_out_by_a_button(desk: Visit, tmp_path):
    rows = instruction_rows(12)
    rows[2] = {"instruction": "x", "output": 5}
    page = desk.page
    page.set_input_files(FILE, write_rows(tmp_path / "some-bad.jsonl", rows))
    page.wait_for_selector("#dataset-summary >> text=cannot be used")
    told = page.locator("#dataset-summary").inner_text()
    assert "row 3" in told
    assert "column output" in told
    assert not page.locator("#use-dataset").is_visible(), "it would mean another data set"
    page.click("#drop-bad")
    page.wait_for_selector("#dataset-summary h2 >> text=some-bad")
    page.wait_for_selector("#dataset-summary >> text=1 rows of the file were left out")


def test_an_encoding_is_chosen_by_reading_it(desk: Visit, tmp_path):
    file = tmp_path / "gb.csv"
    file.write_text("instruction,output\n什么是灯塔？,灯塔是海上的灯。\n谁看守它？,守护人。\n", encoding="gb18030")
    page = desk.page
    page.set_input_files(FILE, file)
    assert "什么是灯塔" in page.locator("[data-encoding=gb18030]").inner_text()
    keep(page, "data-encoding")
    page.click("[data-encoding=gb18030]")
    page.wait_for_selector("#examples >> text=守护人")


def test_unknown_columns_are_mapped_with_a_live_example_and_the_format_can_be_changed(desk: Visit, tmp_path):
    file = tmp_path / "unknown.csv"
    file.write_text("ask,reply,when\nWhat is tea?,A drink.,1\nWho keeps the lamp?,The keeper.,2\n")
    page = desk.page
    page.set_input_files(FILE, file)
    page.wait_for_selector("#mapping .st-live >> text=The keeper.")
    page.select_option("[data-part=completion]", "when")
    page.wait_for_selector("#mapping .st-live >> text=The keeper.", state="detached")
    page.select_option("[data-part=completion]", "")
    page.wait_for_selector("#mapping >> text=Still to be chosen: completion")
    assert page.locator("#mapping-use").is_disabled()
    page.select_option("[data-part=completion]", "reply")
    page.wait_for_selector("#mapping .st-live >> text=A drink.")
    keep(page, "data-mapping")
    page.click("#mapping-use")
    page.wait_for_selector("#dataset-summary .st-kpis >> text=mapped by hand")
    page.wait_for_selector(".st-example .st-token.learned")
    page.click("#change-format")
    page.select_option("#mapping-format", "text")
    page.select_option("[data-part=text]", "reply")
    page.wait_for_selector("#mapping .st-text.raw >> text=The keeper.")
    page.click("#mapping-use")
    page.wait_for_selector("#dataset-summary .st-kpis >> text=Raw text")


def test_rows_are_pasted(desk: Visit):
    page = desk.page
    page.click("[data-source=paste]")
    page.fill("#paste-text", "question,answer\nWhat is tea?,A hot drink.\n")
    page.click("#paste-read")
    page.wait_for_selector("#dataset-summary h2 >> text=paste")
    page.wait_for_selector("#examples >> text=drink")
    page.fill("#paste-text", "[{broken")
    page.click("#paste-read")
    page.wait_for_selector("#dataset-summary >> text=cannot be used")


def test_who_looks_at_something_else_is_told_when_an_import_is_done(desk: Visit, tmp_path):
    file = write_rows(tmp_path / "large.jsonl", instruction_rows(150_000))
    page = desk.page
    page.click("#sample-keeper")
    page.wait_for_selector("#dataset-summary h2 >> text=lighthouse-keeper")
    page.set_input_files(FILE, file)
    page.wait_for_selector("#import-cancel")
    page.click("#sample-plain")
    page.wait_for_selector("#dataset-summary h2 >> text=plain-answers")
    page.wait_for_selector(".st-toast >> text=large is ready")
    assert "plain-answers" in page.locator("#dataset-summary h2").inner_text()
    page.click("#dataset input")
    page.wait_for_selector("#dataset li >> text=large")


def test_tool_calls_and_pairs_are_read_as_conversations(desk: Visit, tmp_path):
    call = {"id": "c1", "type": "function", "function": {"name": "get_weather", "arguments": '{"city": "Oslo"}'}}
    messages = [
        {"role": "user", "content": "Weather in Oslo?"},
        {"role": "assistant", "content": "", "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "c1", "content": '{"degrees": 3}'},
        {"role": "assistant", "content": "It is 3 degrees."},
    ]
    page = desk.page
    page.set_input_files(FILE, write_rows(tmp_path / "tools.jsonl", [{"messages": messages}]))
    page.wait_for_selector(finding("refused_by_template"))
    page.click("#use-plain")  # this model's template has no place for tool calls
    page.wait_for_selector(".st-example .st-token.learned")
    view(page, "Rows")
    page.click("#rows tbody tr")
    page.wait_for_selector("#row-dialog .st-call >> text=get_weather()")
    page.wait_for_selector("#row-dialog .st-bubble.tool >> text=degrees")
    keep(page, "data-tools")
    page.keyboard.press("Escape")
    page.click("#sample-plain")
    page.wait_for_selector(".st-sequence-head .bad")
    view(page, "Rows")
    page.click("#rows tbody tr >> nth=1")
    page.wait_for_selector("#row-dialog .st-pair-of .st-badge.bad")


def test_what_rows_hold_is_never_markup_wherever_they_are_shown(desk: Visit, tmp_path):
    page = desk.page
    upload(page, write_rows(tmp_path / "nasty.jsonl", [{"instruction": NASTY, "output": NASTY, NASTY: NASTY}] * 3))
    view(page, "Rows")
    page.wait_for_selector("#rows td >> text=onerror")
    page.click("#rows tbody tr >> nth=1")
    page.wait_for_selector("#row-dialog .st-token.learned")
    page.keyboard.press("Escape")
    page.click("#change-format")
    page.wait_for_selector("#mapping .st-live")
    (tmp_path / "unknown.csv").write_text(f'"{NASTY.replace(chr(34), chr(34) * 2)}",b\n1,2\n')
    page.set_input_files(FILE, tmp_path / "unknown.csv")
    page.wait_for_selector("#dataset-summary >> text=cannot be used")
    assert page.locator("#dataset-summary img, #dataset-summary script, .gradio-container dialog img").count() == 0
    assert page.title() == "Fine-tuning Studio"


def test_what_is_left_is_downloaded_and_a_data_set_deleted(desk: Visit, messy):
    page = desk.page
    upload(page, messy)
    page.click(f"{finding('duplicates')} [data-remedy=drop]")
    page.wait_for_selector("#steps li")
    view(page, "Download")
    with page.expect_download() as download:
        page.click("#download-jsonl")
    lines = download.value.path().read_text(encoding="utf-8").splitlines()
    assert len(lines) == 38
    assert json.loads(lines[0])["completion"][0]["role"] == "assistant"
    assert download.value.suggested_filename == messy.name
    gone = page.evaluate("Studio.data.id")
    page.once("dialog", lambda dialog: dialog.accept())
    page.click("#delete-dataset")
    page.wait_for_function("gone => Studio.data.id !== gone", arg=gone)
    assert page.request.get(f"{desk.studio.url}api/datasets/{gone}").status == 400


def test_the_address_keeps_the_data_set(visit: Visit, messy):
    page = visit.open()
    upload(page, messy)
    chosen = page.evaluate("Studio.data.id")
    page.wait_for_function("id => location.search.includes(id)", arg=chosen)
    page.click("#sample-keeper")
    page.wait_for_selector("#dataset-summary h2 >> text=lighthouse-keeper")
    page = visit.open(f"?dataset={chosen}")
    page.wait_for_selector(f"#dataset-summary h2 >> text={messy.stem}")
    page.wait_for_selector("#dataset-summary .st-example")


def test_the_audit_fits_a_phone_and_speaks_chinese(browser, served, messy):
    phone = {"viewport": {"width": 390, "height": 844}, "is_mobile": True, "has_touch": True}
    for visit in visiting(browser, served, locale="zh-CN", **phone):
        page = visit.open()
        page.wait_for_selector(".sidebar:not(.open)", state="attached")
        upload(page, messy)
        page.wait_for_selector(f"{finding('duplicates')} >> text=逐字相同")
        assert page.evaluate(SIDEWAYS)
        view(page, "数据行")
        page.wait_for_selector("#rows tbody tr")
        assert page.evaluate(SIDEWAYS)
        page.click("#rows tbody tr >> nth=0")
        page.wait_for_selector("#row-dialog .st-token.learned")
        assert page.evaluate(SIDEWAYS)
        keep(page, "phone-row")
        page.click("#row-close")
        keep(page, "phone-rows")
