"""The Memory tab as a person uses it: what fits, why, what to change."""

import pytest

from tests.browser.conftest import PATIENCE

pytestmark = pytest.mark.browser


@pytest.fixture
def memory(shared):
    """The page with the tab in front."""
    shared.tab("memory")
    return shared.page


def test_a_person_with_a_24_gb_card_learns_what_fits_why_and_what_to_change(memory):
    memory.wait_for_selector("#memory-verdict h2", timeout=PATIENCE)
    assert "fits on RTX 4090" in memory.inner_text("#memory-verdict h2")
    memory.wait_for_selector("#memory-plot .bars", timeout=PATIENCE)

    memory.uncheck("#memory-checkpointing")
    memory.wait_for_selector("#memory-verdict [data-fits=false]")
    assert "peak is in" in memory.inner_text("#memory-verdict")
    memory.click("#memory-verdict .st-verdict button >> nth=0")
    memory.wait_for_selector("#memory-verdict [data-fits=true]")

    memory.select_option("#memory-quantization", "nf4")
    memory.click("[data-knob=checkpointing_off], [data-knob=checkpointing_on] >> nth=0")
    memory.wait_for_selector("#memory-knobs tbody tr")


def test_the_answer_follows_the_typing(memory):
    memory.wait_for_selector("#memory-verdict h2", timeout=PATIENCE)
    for length in range(600, 2600, 100):
        memory.fill("#memory-length", str(length))
    memory.fill("#memory-length", "100000")
    memory.wait_for_function("document.querySelector('#memory-verdict').textContent.includes('does not fit')")
    answers = memory.evaluate("Studio.memory.answer.phases.loss")
    assert answers > 20 * 1024**3


def test_a_figure_of_the_document_is_loaded_into_the_form(memory):
    memory.wait_for_selector("#memory-verdict h2", timeout=PATIENCE)
    memory.click("#memory-document summary")
    memory.click("[data-figure=qlora_65b] .st-link")
    memory.wait_for_function("document.querySelector('#memory-model').value === 'huggyllama/llama-65b'")
    assert memory.input_value("#memory-r") == "64"
    memory.wait_for_function(
        "Math.abs(Studio.memory.answer.allocated / 1e9"
        " / Studio.memory.menus.document.find((one) => one.id === 'qlora_65b').estimate - 1) < 0.001"
    )
    assert "does not fit" in memory.inner_text("#memory-verdict")


def test_a_simulation_that_is_believed_takes_the_formulas_place(memory):
    memory.wait_for_selector("#memory-verdict h2", timeout=PATIENCE)
    memory.evaluate(
        """() => { const fetched = window.fetch;
        window.fetch = (url, ...rest) => !String(url).endsWith("/simulate") ? fetched(url, ...rest)
        : Promise.resolve(new Response(JSON.stringify({ allocated: 4e10, difference: -0.5, believed: "simulation",
          shown: {
          allocated: 4e10, needed: 4.1e10, nvidia_smi: 4.2e10, fits: false, margin: -1.5e10, max_batch: null,
          max_length: null, phase: "clipping", phases: { clipping: 4e10 },
          stacks: { clipping: { weights: 4e10 } } } }))); }"""
    )
    memory.click("#memory-simulate")
    memory.wait_for_selector("#memory-from-simulation")
    assert "does not fit" in memory.inner_text("#memory-verdict h2")
    assert "gradient clipping" in memory.inner_text("#memory-verdict")
    assert memory.locator("#memory-verdict .st-verdict button").count() == 0
    memory.fill("#memory-length", "512")
    memory.wait_for_selector("#memory-from-simulation", state="detached")


def test_an_error_leaves_no_answer_and_a_wrong_number_dims_it(memory):
    memory.wait_for_selector("#memory-knobs tbody tr", timeout=PATIENCE)
    memory.fill("#memory-length", "0")
    memory.wait_for_selector(".st-memory-answer.stale")
    memory.fill("#memory-length", "512")
    memory.wait_for_selector(".st-memory-answer:not(.stale)")
    memory.fill("#memory-model", "no such model")
    memory.press("#memory-model", "Tab")
    memory.wait_for_selector("#memory-verdict [role=alert]")
    assert memory.locator("[data-knob]").count() == 0
    assert memory.locator("#memory-plot .bars").count() == 0


def test_the_address_holds_the_settings_and_where_nothing_helps_something_else_is_named(visit):
    wish = '{"model":"meta-llama/Llama-3.1-70B-Instruct","length":4096,"options":{"r":32}}'
    page = visit.open(f"?tab=memory&memory={wish}")
    page.wait_for_selector("#memory-rescue li", timeout=PATIENCE)
    assert page.input_value("#memory-r") == "32"
    assert "RTX A6000" in page.inner_text("#memory-rescue")
    page.click("#memory-rescue button >> nth=0")
    page.wait_for_selector("#memory-verdict [data-fits=true]")
    assert "Llama-3.1-70B" not in page.url
