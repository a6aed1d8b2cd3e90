"""The merge form's questions and answers, and how a merge looks to the page; without a browser."""

import pytest

from studio import workspace as names
from studio.jobs.events import EventWriter, Finished, Progress
from studio.methods.merging import MERGE_METHODS
from studio.ui.live import list_entry, selected_job
from studio.ui.tabs.playground import speakers
from tests.jobs.adapter_files import finished_job, matrices
from tests.ui.conftest import visitor


@pytest.fixture(scope="module")
def asked(site):
    """(a visitor of the page, two jobs with adapters)"""
    store = site.studio.store
    return visitor(site.app), finished_job(store, "keeper", matrices(1)), finished_job(store, "gulls", matrices(2, r=6))


def wish(*jobs, method="cat", **more):
    return {"sources": [{"adapter": job, "weight": 1} for job in jobs], "method": {"name": method}, **more}


def test_the_form_offers_adapters_and_methods(asked):
    who, keeper, _ = asked
    menus = who.get("/api/merging").json()
    assert [one["name"] for one in menus["methods"]] == list(MERGE_METHODS)
    offered = {one["name"]: one for one in menus["adapters"]}
    assert (offered[keeper]["title"], offered[keeper]["tuner"], offered[keeper]["rank"]) == ("keeper", "lora", 4)
    ties = next(one for one in menus["methods"] if one["name"] == "ties")
    assert {option["name"] for option in ties["options"]} == {"density", "majority_sign_method"}


def test_the_figures_follow_the_sliders_and_say_why_it_cannot_be(asked):
    who, keeper, gulls = asked
    found = who.post("/api/merging/figures", json=wish(keeper, gulls)).json()
    assert found["merged"] > 0
    assert "problem" not in found
    alone = who.post("/api/merging/figures", json=wish(keeper)).json()
    assert (len(alone["adapters"]), "alone" in alone["problem"]) == (1, True)
    ranks = who.post("/api/merging/figures", json=wish(keeper, gulls, method="ties")).json()
    assert "equal ranks" in ranks["problem"]
    assert len(ranks["adapters"]) == 2


def test_what_cannot_be_is_refused_and_starts_nothing(asked, site):
    who, keeper, _ = asked
    before = site.studio.store.ids()
    for wrong in (wish(keeper), wish("../../etc", keeper), wish(keeper, keeper), {"sources": "all"}, {},
                  {**wish(keeper), "shell": "ls"}, wish(keeper, "nobody-00000000")):  # fmt: skip
        for path in ("/api/merging", "/api/merging/figures"):
            answer = who.post(path, json=wrong)
            told = answer.json().get("error", {}).get("message") or answer.json().get("problem")
            assert told, (path, wrong, answer.text)
    assert site.studio.store.ids() == before


def test_a_merge_started_on_the_page_is_listed_with_its_lineage(asked, site):
    who, keeper, gulls = asked
    job = who.post("/api/merging", json=wish(keeper, gulls, name="both")).json()["job"]
    studio = site.studio
    assert studio.catalog.waiting() == [job]
    studio.catalog.dequeue(job)
    assert list_entry(studio.store.view(job))["kind"] == "merge"
    told = selected_job(studio, job, 0, "")["job"]
    assert [source["adapter"] for source in told["merge"]["sources"]] == [keeper, gulls]
    assert selected_job(studio, keeper, 0, "")["job"]["merge"] is None
    assert who.get(f"/api/live?job={job}").json()["job"]["merge"]["method"] == "cat"
    assert "is a merge" in who.get(f"/api/jobs/{job}/code").json()["reason"]
    assert who.get(f"/api/memory/jobs/{job}").status_code == 200
    folder = studio.workspace.job(job)
    (folder / names.ADAPTER).mkdir()
    EventWriter(folder / names.EVENTS).write(Progress(phase="merging: 13 of 210 layers", share=13 / 210))
    assert list_entry(studio.store.view(job))["share"] == 0.062
    assert selected_job(studio, job, 0, "")["job"]["share"] == 0.062
    assert "share" not in list_entry(studio.store.view(keeper)), "it has steps"
    EventWriter(folder / names.EVENTS).write(
        Finished(step=0, seconds=1, result="adapter", result_bytes=1, peak_memory_bytes=0)
    )
    assert ("both · merge · cat", job) in speakers(studio, None)
    studio.store.delete(job)
