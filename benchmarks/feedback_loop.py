"""The whole loop in the browser: two adapters, a comparison, ten votes, pairs of them, DPO, and who wins then."""

import json
import os
import re
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from benchmarks.browser import chromium
from benchmarks.contract import Benchmark, Figure, Options
from benchmarks.page import served_page
from benchmarks.scratch import scratch_studio
from studio.jobs.studio import SAMPLES

KEEPER, PLAIN = "Lamp keeper", "Plain talker"  # the two adapters
LEARNED = "Voted keeper"  # what DPO makes of the votes
VOTES = 10
PATIENCE = 600_000  # milliseconds for a training, or for what a busy machine does meanwhile
SAID = re.compile(r"\b(lamp|lantern|light|fog|tide|sea|ship|harbour|lighthouse|keeper|watch|beam)s?\b", re.IGNORECASE)
SFT = {"max_length": 128, "per_device_train_batch_size": 4, "gradient_accumulation_steps": 1, "learning_rate": 5e-4}
DPO = {"max_length": 256, "per_device_train_batch_size": 2, "gradient_accumulation_steps": 1, "learning_rate": 5e-5}


def sea_words(text: str) -> int:
    """What the voter of this session likes: different words of the sea and its lights."""
    return len({found.lower() for found in SAID.findall(text)})


def measure(options: Options) -> list[Figure]:
    """One session. The voter is a rule, told beforehand: of two answers, the one that says more of the sea.

    Pictures go into the folder that STUDIO_PICTURES names, if it does. Raises RuntimeError without a browser.
    """
    program = chromium()
    if program is None:
        raise RuntimeError("no Chromium, or no Playwright to drive it: python scripts/bootstrap.py --dev --browser")
    with (
        scratch_studio(options.models) as studio,
        served_page(studio.workspace.root) as page,
        _session(program, page.url) as session,
    ):
        return session.run(studio.workspace.root.parent, options.steps)


class Session:
    """One person's clicks in one tab."""

    def __init__(self, tab: Any) -> None:
        self.tab = tab
        self.told: list[str] = []

    def run(self, folder: Path, steps: int) -> list[Figure]:
        """The steps of the loop, in their order."""
        keeper, plain, questions = lessons(folder)
        self.train(keeper, KEEPER, SFT, 4 * steps)
        self.train(plain, PLAIN, SFT, 4 * steps)
        alike = self.compare(questions[0])
        before = self.vote([KEEPER, PLAIN], questions, "votes")
        pairs = self.make_pairs()
        self.fill_and_start(LEARNED, DPO, steps)
        against_plain = self.vote([LEARNED, PLAIN], questions, "wins")
        against_keeper = self.vote([LEARNED, KEEPER], questions, "ranking")
        return [
            Figure(name="columns that answer alike", value=alike, unit="of 3", goal=0),
            Figure(name=f"{KEEPER} against {PLAIN}", value=_share(before, KEEPER), unit="share of votes won",
                   note=_told(before)),
            Figure(name="pairs made of ten votes", value=pairs, unit="rows", goal=1, more_is_better=True),
            Figure(name=f"{LEARNED} (DPO) against {PLAIN}, the same prompts", value=_share(against_plain, LEARNED),
                   unit="share of votes won", goal=0.5, more_is_better=True, note=_told(against_plain)),
            Figure(name=f"{LEARNED} (DPO) against {KEEPER}, the same prompts", value=_share(against_keeper, LEARNED),
                   unit="share of votes won", goal=0.5, more_is_better=True, note=_told(against_keeper)),
        ]  # fmt: skip

    def train(self, file: Path, name: str, values: dict[str, Any], steps: int) -> None:
        """A file → the Data tab → the Train tab → a finished job."""
        self.tab.click("#tab-data-button")
        self.tab.set_input_files("#upload input[type=file]", file)
        self.tab.wait_for_function(
            "name => document.querySelector('#dataset input').value.includes(name)", arg=file.stem, timeout=60_000
        )
        self.tab.click("#use-dataset")
        self.tab.wait_for_selector("#start-card >> text=Ready to start")
        self.tab.locator("#form-mode label").nth(1).click()
        self.fill_and_start(name, values, steps)

    def fill_and_start(self, name: str, values: dict[str, Any], steps: int) -> None:
        """The Train tab as it stands, with these values → a finished job."""
        self.tab.wait_for_selector("#all-options button")
        if not self.tab.locator("#option-max_steps input").first.is_visible():
            self.tab.click("#all-options button")
        for key, value in {**values, "max_steps": steps}.items():
            control = self.tab.locator(f"#option-{key} input").first
            control.fill(str(value))
            control.press("Tab")
        self.tab.wait_for_selector(f"#plan dd >> text={steps}")
        self.tab.fill("#job-name input, #job-name textarea", name)
        before = self.tab.evaluate("Studio.job")
        self.tab.click("#start")
        self.tab.wait_for_function("before => Studio.job && Studio.job !== before", arg=before)
        self.tab.wait_for_function(
            "Studio.summary && ['completed', 'failed', 'interrupted'].includes(Studio.summary.status)", timeout=PATIENCE
        )
        status = self.tab.evaluate("Studio.summary.status")
        if status != "completed":
            raise RuntimeError(f"{name}: the job ended as {status}")
        self.picture(f"job-{name}")

    def compare(self, question: str) -> int:
        """Base and both adapters in three columns, one prompt: how many pairs of columns answer alike."""
        self.tab.click("#tab-playground-button")
        self.tab.locator("#column-count label").nth(2).click()
        for pane, name in zip("abc", ("base model", KEEPER, PLAIN), strict=True):
            self.tab.click(f"#chat-model-{pane} input")
            self.tab.locator(f"#chat-model-{pane} ul[role=listbox] li", has_text=name).first.click()
        self.tab.fill("#prompt textarea", question)
        self.tab.press("#prompt textarea", "Enter")
        self.tab.wait_for_selector("#prompt .stop-button", state="visible")
        self.tab.wait_for_selector("#prompt .submit-button", state="visible", timeout=PATIENCE)
        answers = [self.tab.locator(f"#chat-{pane} .message.bot").last.inner_text() for pane in "abc"]
        self.picture("compare")
        return len(answers) - len(set(answers))

    def vote(self, contenders: list[str], questions: list[str], picture: str) -> Counter[str]:
        """Ten blind rounds by the rule: who was preferred how often ("tie" for neither)."""
        self.tab.click("#tab-arena-button")
        everybody = self.tab.locator("#arena-contenders label")
        for name in contenders:  # the list is read anew as the tab opens; who was just trained comes with it
            everybody.filter(has_text=name).wait_for()
        for name in everybody.all_inner_texts():
            wanted = any(one in name for one in contenders)
            everybody.filter(has_text=name).locator("input").set_checked(wanted)
        self.tab.fill("#arena-prompts", "\n".join(questions))
        self.tab.evaluate("window.Studio.arena.cycle = 0")
        if not self.tab.locator("#arena-temperature").is_visible():
            self.tab.locator("#arena-setup details summary").click()
        for name, value in {"temperature": 0, "max_tokens": 160}.items():
            self.tab.fill(f"#arena-{name}", str(value))
            self.tab.press(f"#arena-{name}", "Tab")
        self.tab.click("#arena-start")
        won: Counter[str] = Counter()
        for number in range(len(questions)):
            won[self.one_vote()] += 1
            if number + 1 < len(questions):
                self.tab.click("#arena-next")
        self.picture(picture)
        return won

    def one_vote(self) -> str:
        """Read both answers, press a key, and read who it was."""
        self.tab.wait_for_selector("#arena-round[data-state=ready]", timeout=PATIENCE)
        sides = ("left", "right")
        answers = [self.tab.locator(f".st-arena-answer[data-side={side}]") for side in sides]
        left, right = (sea_words(answer.locator(".st-arena-text").inner_text()) for answer in answers)
        self.tab.locator("#arena-round").press("3" if left == right else "1" if left > right else "2")
        self.tab.wait_for_selector("#arena-round[data-state=voted]")
        names = [str(answer.locator("h3").inner_text()).split(" · ")[0] for answer in answers]
        return "tie" if left == right else names[0] if left > right else names[1]

    def make_pairs(self) -> int:
        """The votes → a preference data set → the Train tab, filled for DPO from the adapter that was preferred."""
        self.tab.click("#arena-make-preference")
        start = self.tab.locator("#arena-start-from-preference")
        start.wait_for()
        if KEEPER not in start.locator("option").first.inner_text():
            raise RuntimeError("the adapter that was preferred is not the first to start from")
        rows = self.tab.evaluate("fetch('api/arena/data/preference').then((told) => told.json())")["rows"]
        self.picture("pairs")
        self.tab.click("#arena-train-preference")
        self.tab.wait_for_function("document.querySelector('#objective input').value.includes('DPO')")
        self.tab.wait_for_selector("#start-card >> text=Ready to start")
        return int(rows)

    def picture(self, name: str) -> None:
        """Keep what is on the screen, if somebody wants pictures."""
        if folder := os.environ.get("STUDIO_PICTURES"):
            self.tab.wait_for_timeout(700)
            self.tab.screenshot(path=Path(folder) / f"{name.lower().replace(' ', '-')}.png", full_page=True)


def lessons(folder: Path) -> tuple[Path, Path, list[str]]:
    """Two files of instructions in different voices, and ten questions that are in neither."""
    keeper = [json.loads(line) for line in (SAMPLES / "lighthouse-keeper.jsonl").read_text("utf-8").splitlines()]
    pairs = [json.loads(line) for line in (SAMPLES / "plain-answers.jsonl").read_text("utf-8").splitlines()]
    plain = [{"instruction": row["prompt"], "input": "", "output": row["chosen"]} for row in pairs]
    files = {"keeper-voice": keeper[:-VOTES], "plain-voice": plain}
    for name, rows in files.items():
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    found = [folder / f"{name}.jsonl" for name in files]
    return found[0], found[1], [row["instruction"] for row in keeper[-VOTES:]]


@contextmanager
def _session(program: str, url: str) -> Iterator[Session]:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=["--no-sandbox", "--disable-gpu"])
        try:
            tab = browser.new_page(viewport={"width": 1440, "height": 900}, locale="en-US")
            tab.set_default_timeout(60_000)
            tab.goto(url)
            tab.wait_for_selector(".st-machine .st-meter", state="attached")
            yield Session(tab)
        finally:
            browser.close()


def _share(won: Counter[str], name: str) -> float:
    """A tie counts half for each."""
    return (won[name] + won["tie"] / 2) / won.total()


def _told(won: Counter[str]) -> str:
    return ", ".join(f"{name} {times}" for name, times in sorted(won.items()))


FEEDBACK_LOOP = Benchmark(
    name="feedback_loop", title="Votes that train the next adapter", measure=measure, on_demand=True
)
