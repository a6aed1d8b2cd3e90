"""The Adapters tab: a folder is brought in by choosing or dropping it, and a phone reaches every action."""

import shutil

import pytest

from studio.adapters.bundle import CONFIG
from tests.adapters.conftest import lora_files
from tests.browser.conftest import Visit, keep, visiting

pytestmark = pytest.mark.browser

# What a browser gives for a dropped folder: entries in batches, the last of them empty.
DROP_FOLDER = """([names, content]) => {
  const file = (name) => ({ isFile: true, isDirectory: false, name, file: (take) => take(new File([content], name)) });
  const folder = (name, inside) => ({ isFile: false, isDirectory: true, name, createReader: () => {
    const batches = [inside.slice(0, 1), inside.slice(1), []];
    return { readEntries: (take) => take(batches.shift() || []) };
  } });
  const root = folder("lamp", [...names.map(file), folder("checkpoint-5", names.map(file))]);
  return Studio.adapters.dropped({ items: [{ webkitGetAsEntry: () => root }], files: [] })
    .then((found) => [found.map((one) => one.path), Studio.adapters.oneAdapter(found)])
    .then(([paths, { files, name }]) => ({ paths, name, files: files.map((one) => one.name) }));
}"""


def open_adapters(visit: Visit):
    visit.open("?tab=adapters")
    visit.page.wait_for_selector("#import-choose-folder")
    return visit.page


def test_a_folder_is_chosen_or_dropped_whole(visit: Visit, tmp_path, tiny):
    folder = lora_files(tmp_path / "keeper")
    (folder / "optimizer.pt").write_bytes(b"large, and nobody's business")
    shutil.copytree(folder, folder / "checkpoint-5")
    page = open_adapters(visit)
    page.fill("#import-base", str(tiny))
    with page.expect_request("**/gradio_api/upload") as sent:
        page.set_input_files("#import-directory", folder)
    page.wait_for_selector("#import-done")
    assert page.locator("#import-done b").inner_text().startswith("keeper is here")
    assert "optimizer.pt" not in (sent.value.post_data_buffer or b"").decode("latin-1")
    names = [CONFIG, "adapter_model.safetensors", "optimizer.pt"]
    dropped = page.evaluate(DROP_FOLDER, [names, "{}"])
    assert dropped == {"paths": [f"lamp/{name}" for name in names], "name": "lamp", "files": names[:2]}


def test_a_folder_without_one_adapter_is_told_so(visit: Visit, tmp_path):
    page = open_adapters(visit)
    for name in ("one", "two"):
        lora_files(tmp_path / "both" / name)
    page.set_input_files("#import-directory", tmp_path / "both")
    page.wait_for_selector("#import-state >> text=2 adapters in this folder: both/one, both/two")
    shutil.rmtree(tmp_path / "both" / "one")
    (tmp_path / "both" / "two" / CONFIG).unlink()
    page.set_input_files("#import-directory", tmp_path / "both")
    page.wait_for_selector("#import-state >> text=no adapter_config.json in this folder")


def test_two_of_one_name_are_told_apart_and_a_phone_reaches_every_action(browser, own_studio, tmp_path, tiny):
    for phone in visiting(browser, own_studio, viewport={"width": 390, "height": 844}):
        page = open_adapters(phone)
        page.fill("#import-base", str(tiny))
        for seed in (1, 2):
            page.set_input_files("#import-directory", lora_files(tmp_path / str(seed) / "keeper", seed=seed))
            page.wait_for_function("n => document.querySelectorAll('#adapter-table tbody tr').length === n", arg=seed)
        ids = page.eval_on_selector_all(
            "#adapter-table tr[data-adapter]", "rows => rows.map((row) => row.dataset.adapter)"
        )
        chips = page.eval_on_selector_all(
            "#inspect-choice .st-pick", "all => all.map((one) => one.firstChild.textContent)"
        )
        assert chips == [f"keeper · {one[-4:]}" for one in ids]
        page = open_adapters(phone)  # the form of merges reads what there is when the tab opens
        page.wait_for_selector("[data-row='0'] option[value]:not([value=''])", state="attached")
        labels = page.eval_on_selector_all("[data-row='0'] option", "all => all.map((one) => one.textContent).slice(1)")
        assert len(set(labels)) == 2, labels
        page.locator("#adapter-table").scroll_into_view_if_needed()
        keep(page, "adapters-phone")
        for action in page.locator("#adapter-table button[data-do]").all():
            box = action.bounding_box()
            assert box["x"] >= 0
            assert box["x"] + box["width"] <= 390, action.get_attribute("data-do")
        box, text = (page.locator(f".st-merge .st-check {part}").bounding_box() for part in ("input", "span"))
        left = page.locator("#merge-method").bounding_box()["x"]
        assert abs(box["x"] - left) < 20, "the check box stands where the fields begin"
        assert text["x"] > box["x"]
