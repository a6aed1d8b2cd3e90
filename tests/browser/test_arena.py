"""A round of the arena as it is shown; what the studio says of it is made up."""

import json

import pytest

from tests.browser.conftest import Visit

pytestmark = pytest.mark.browser
MENUS = {
    "contenders": [{"choice": one, "name": one, "base_model": "tiny"} for one in ("keeper", "plain")],
    "datasets": [],
}
ROUND = {
    "round": "r1",
    "state": "ready",
    "prompt": [{"role": "user", "content": "Who keeps the lamp?"}],
    "left": "<think>\nThe <b>lamp</b> …\n</think>\n\nThe keeper.",
    "right": "Fog over the",
    "finish": {"left": "stop", "right": "length"},
}
TOLD = {
    "menus": MENUS,
    "rounds": ROUND,
    "table": {"contenders": [], "filters": {"contenders": []}, "retracted": 0, "unreadable": 0},
    "vote": {"revealed": {"left": {"choice": "keeper", "name": "Keeper"}, "right": {"choice": "plain", "name": "P"}}},
}


def answer(route):
    """In the studio's place."""
    action = route.request.url.partition("?")[0].rpartition("/")[2]
    route.fulfill(content_type="application/json", body=json.dumps(TOLD.get(action, {})))


def test_a_round_folds_thoughts_marks_what_was_cut_and_rates_only_what_was_written(visit: Visit):
    visit.page.route("**/api/arena/**", answer)
    page = visit.open("?tab=arena")
    page.fill("#arena-prompts", "Who keeps the lamp?")
    page.click("#arena-start")
    left, right = (page.locator(f'#arena-round [data-side="{side}"]') for side in ("left", "right"))
    left.locator("details summary").wait_for()
    assert not left.locator("details > div").is_visible()
    assert left.locator(".st-arena-text").inner_text().split("\n")[-1] == "The keeper."
    left.locator("summary").click()
    assert left.locator("details > div").inner_text() == "The <b>lamp</b> …"
    assert (left.locator(".st-finish").count(), right.locator(".st-finish.length").count()) == (0, 1)
    assert right.locator("details").count() == 0
    page.click('[data-outcome="left"]')
    left.locator("h3 >> text=Keeper").wait_for()
    assert left.locator("details > div").is_visible()  # as it was left
    assert (left.locator(".st-thumb").count(), right.locator(".st-thumb").count()) == (2, 2)
    right.locator("button.st-link").click()
    right.locator("textarea").fill("Fog over the bay.")
    right.locator("button.primary").click()
    right.locator("text=Fog over the bay.").wait_for()
    assert (left.locator(".st-thumb").count(), right.locator(".st-thumb").count()) == (2, 0)
    assert right.locator(".st-finish").count() == 0
