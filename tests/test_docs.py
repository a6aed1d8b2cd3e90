"""The docs say what the code does: trees, commands, settings, links, pictures, and examples that run."""

import json
import re
import shlex
import sys
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

import pytest
import typer

from scripts.write_docs import PAGES, commands, is_option
from studio.cli.main import app
from studio.data.chat_template import Sequence
from studio.data.examples import RowError
from studio.data.formats import FORMATS
from studio.data.recognition import recognise
from studio.data.sources import READERS
from studio.errors import UserError
from studio.jobs.presets import read_presets
from studio.methods.objectives import OBJECTIVES
from studio.methods.parameters import trainable_parameters
from studio.methods.tuners import TUNERS
from studio.settings import SETTINGS

ROOT = Path(__file__).parent.parent
TOP_PAGES = ("README.md", "CONTRIBUTING.md", "AGENTS.md", "CHANGELOG.md")
DOCUMENTS = [ROOT / name for name in TOP_PAGES] + sorted((ROOT / "docs").glob("*.md"))
# What is made by running things, and git's own folder.
MADE = {".git", ".venv", "workspace", ".mypy_cache", ".ruff_cache", ".pytest_cache", ".import_linter_cache",
        ".hypothesis", "__pycache__", "build", ".DS_Store"}  # fmt: skip
IMAGES = ("data.png", "train.png", "memory.png", "jobs.png", "playground.png")


def name_of(path):
    return str(path.relative_to(ROOT))


def blocks(text, language):
    """The code blocks of one language."""
    return re.findall(rf"^```{language}\n(.*?)^```", text, re.DOTALL | re.MULTILINE)


def headings(text):
    return [line.lstrip("# ") for line in text.splitlines() if line.startswith("#")]


def sections(text):
    """{first word of a third-level heading, without a colon: the text below it}."""
    parts = re.split(r"^### (.+)$", text, flags=re.MULTILINE)
    return {name.split()[0].rstrip(":"): body for name, body in zip(parts[1::2], parts[2::2], strict=True)}


def page(name):
    return (ROOT / name).read_text(encoding="utf-8")


# --- The README's tree -----------------------------------------------------------------------------------------


def readme_tree():
    """(top names, names below studio/) of the tree in the README."""
    tree = next(block for block in blocks(page("README.md"), "text") if "app.py" in block)
    lines = [line for line in tree.splitlines() if line.strip()]
    top = {line.split()[0] for line in lines if not line.startswith(" ")}
    rooms = {line.split()[0] for line in lines if line.startswith("  ") and not line.startswith("   ")}
    assert all(len(line.split(maxsplit=1)) == 2 for line in lines if line != "studio/"), "every entry needs a phrase"
    return top, rooms


def names_in(folder):
    entries = [entry for entry in folder.iterdir() if entry.name not in MADE and not entry.name.endswith(".pyc")]
    return {entry.name + ("/" if entry.is_dir() else "") for entry in entries}


def test_the_tree_in_the_readme_is_the_tree_of_the_repository():
    top, rooms = readme_tree()
    assert top == names_in(ROOT)
    assert rooms == names_in(ROOT / "studio")


# --- Pages made of the code ------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", PAGES)
def test_a_page_made_of_the_code_is_up_to_date(name):
    assert page(name) == PAGES[name](), "Run: .venv/bin/python scripts/write_docs.py"


def test_every_setting_has_its_heading():
    assert headings(page("docs/settings.md"))[1:] == [name for name, _, _ in SETTINGS]


def test_every_objective_tuner_and_preset_has_its_heading():
    names = [heading.split(":")[0] for heading in headings(page("docs/methods.md"))]
    assert {*OBJECTIVES, *TUNERS, *read_presets()} <= set(names)


def test_every_option_of_the_command_line_is_in_its_page():
    text = page("docs/command-line.md")
    for path, command in commands(typer.main.get_command(app)):
        assert f"## {path}\n" in text
        for param in command.params:
            assert not is_option(param) or all(f"`{name}`" in text for name in param.opts)


# --- Data formats ----------------------------------------------------------------------------------------------


def test_every_format_has_a_section_in_the_order_in_which_formats_are_asked():
    text = page("docs/data-formats.md").partition("## Formats")[2]
    assert [name for name in sections(text) if name in FORMATS] == list(FORMATS)


@pytest.mark.parametrize("name", FORMATS)
def test_the_rows_shown_for_a_format_are_recognised_as_it_and_converted(name):
    rows = [json.loads(line) for block in blocks(sections(page("docs/data-formats.md"))[name], "json")
            for line in block.splitlines()]  # fmt: skip
    assert rows, "show a row"
    for row in rows:
        found, _ = recognise([row])
        assert found.name == name
        assert found.to_example(row)


def test_every_kind_of_file_that_can_be_read_is_named():
    rows = [line for line in page("docs/data-formats.md").splitlines() if line.startswith("| `.")]
    named = {ending for line in rows for ending in re.findall(r"`(\.\w+)`", line.split("|")[1])}
    assert named == set(READERS)


# --- Commands --------------------------------------------------------------------------------------------------


def shell_lines():
    """(page, command line) of every line in a shell block, comments left out."""
    for path in DOCUMENTS:
        for block in blocks(path.read_text(encoding="utf-8"), "sh"):
            for line in block.splitlines():
                words = shlex.split(line, comments=True)
                if words:
                    yield name_of(path), words


def inline_commands():
    """(page, words) of every command in code type within a sentence or table."""
    for path in DOCUMENTS:
        prose = re.sub(r"^```.*?^```", "", path.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE)
        for text in re.findall(r"`((?:\.venv/bin/)?(?:make|python -m studio|python scripts/)[^`]*)`", prose):
            yield name_of(path), shlex.split(text)


LINES = [*shell_lines(), *inline_commands()]


def make_targets():
    return set(re.findall(r"^([a-z][a-z-]*):", page("Makefile"), re.MULTILINE))


def make_variables():
    return set(re.findall(r"^([A-Z_]+) \?=", page("Makefile"), re.MULTILINE)) | {"ARGS"}


@pytest.mark.parametrize(("where", "words"), [line for line in LINES if "make" in line[1]], ids=str)
def test_every_make_target_in_the_docs_exists(where, words):
    start = words.index("make")
    for assignment in words[:start]:
        assert assignment.partition("=")[0] in {name for name, _, _ in SETTINGS}, where
    for word in words[start + 1 :]:
        name, mark, value = word.partition("=")
        assert name in (make_variables() if mark else make_targets()), f"{where}: {word}"
        for path in re.findall(r"tests/[\w/.]+", value):
            assert (ROOT / path).exists(), f"{where}: {path}"


@pytest.mark.parametrize(("where", "words"), [line for line in LINES if "studio" in line[1]], ids=str)
def test_every_studio_command_in_the_docs_exists(where, words):
    if "-m" not in words:
        return  # a folder or an image of that name
    rest = words[words.index("studio") + 1 :]
    known = dict(commands(typer.main.get_command(app)))
    if not rest or rest == ["…"]:
        return
    path = next((name for name in (" ".join(rest[:2]), rest[0]) if name in known), None)
    assert path, f"{where}: {' '.join(words)}"
    options = {name for param in known[path].params if is_option(param) for name in param.opts}
    given = [word.partition("=")[0] for word in rest if word.startswith("--")]
    assert set(given) <= options | {"--help"}, where
    for word in rest:
        if word.startswith(("samples/", "presets/")):
            assert (ROOT / word).is_file(), f"{where}: {word}"


@pytest.mark.parametrize(("where", "words"), [line for line in LINES if "scripts/" in " ".join(line[1])], ids=str)
def test_every_script_in_the_docs_exists(where, words):
    for word in words:
        if word.startswith("scripts/"):
            assert (ROOT / word).is_file(), where


def test_the_checks_of_commands_have_something_to_check():
    studio = [words for _, words in LINES if "studio" in words and "-m" in words]
    assert len([words for _, words in LINES if "make" in words]) > 15
    assert len(studio) > 20


# --- Links and pictures ----------------------------------------------------------------------------------------


def anchor(heading):
    """The anchor that GitHub makes of a heading."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


@pytest.mark.parametrize("path", DOCUMENTS, ids=name_of)
def test_every_relative_link_resolves(path):
    for target in re.findall(r"(?<!!)\[[^\]]*\]\(([^)]+)\)", path.read_text(encoding="utf-8")):
        if target.startswith(("http://", "https://")):
            continue
        file, _, fragment = target.partition("#")
        linked = (path.parent / file).resolve() if file else path
        assert linked.exists(), f"{target} in {name_of(path)}"
        if fragment:
            assert fragment in map(anchor, headings(linked.read_text(encoding="utf-8"))), target


def test_the_readme_shows_the_five_tabs():
    shown = re.findall(r"!\[([^\]]+)\]\(([^)]+)\)", page("README.md"))
    assert [Path(target).name for _, target in shown] == list(IMAGES)
    assert all(len(words) > 20 for words, _ in shown), "a picture needs words for those who do not see it"


@pytest.mark.parametrize("name", IMAGES)
def test_a_picture_of_the_readme_is_a_real_picture(name):
    file = ROOT / "docs/images" / name
    assert file.is_file(), f"take the screenshot docs/images/{name}"
    head = file.read_bytes()[:24]
    assert head.startswith(b"\x89PNG\r\n\x1a\n")
    width, height = int.from_bytes(head[16:20]), int.from_bytes(head[20:24])
    assert width >= 800
    assert height >= 450


@pytest.mark.parametrize("path", DOCUMENTS, ids=name_of)
def test_every_file_that_is_named_in_code_type_exists(path):
    pattern = r"`((?:studio|tests|presets|samples|scripts|docs)/[\w./-]+?\.(?:py|yaml|md|jsonl))[`:]"
    examples = {"turns.py", "last_answer.py", "ln_tuning.py"}  # what the recipes tell you to make
    for name in re.findall(pattern, path.read_text(encoding="utf-8")):
        assert (ROOT / name).is_file() or Path(name).name in examples, f"{name} in {name_of(path)}"


def test_the_changelog_has_a_place_for_what_comes():
    text = page("CHANGELOG.md")
    assert "keepachangelog.com" in text
    assert re.search(r"^## \[Unreleased\]\n\n### (Added|Changed|Fixed|Removed|Deprecated|Security)\n\n- ", text, re.M)


# --- The recipes -----------------------------------------------------------------------------------------------


def load_example(name, folder):
    """The Python block of a recipe, written to a file and imported; 60 lines at most."""
    (code,) = blocks(page(f"docs/adding-a-{name}.md"), "python")
    assert code.count("\n") <= 60
    file = folder / f"example_{name}.py"
    file.write_text(code, encoding="utf-8")
    spec = spec_from_file_location(file.stem, file)
    module = module_from_spec(spec)
    sys.modules[file.stem] = module  # pydantic looks names up there
    spec.loader.exec_module(module)
    return module


def with_entry(registry, entry):
    """A copy of a registry with one more entry, which must not be there already."""
    assert entry.name not in registry
    return {**registry, entry.name: entry}


def test_the_example_of_a_format_recognises_and_converts_its_rows(tmp_path, monkeypatch):
    example = load_example("format", tmp_path).TURNS
    monkeypatch.setattr("studio.data.recognition.FORMATS", with_entry(FORMATS, example))
    found, _ = recognise([example.sample_row])
    assert found is example
    assert example.to_example({"turns": ["Hm?", " Yes. "]}) == {
        "messages": [{"role": "user", "content": "Hm?"}, {"role": "assistant", "content": " Yes. "}]
    }
    for bad in (3.5, ["alone"], ["Hm?", ""], ["Hm?", None]):
        with pytest.raises(RowError) as caught:
            example.to_example({"turns": bad})
        assert caught.value.column == "turns"


def test_the_example_of_an_objective_builds_its_rows_and_its_trainer_class(tmp_path):
    from studio.worker.trainer import StudioTrainer, trainer_class

    example = load_example("objective", tmp_path).LAST_ANSWER
    registry = with_entry(OBJECTIVES, example)
    entry = registry["last_answer"]
    talk = Sequence([1, 2, 3, 4, 5, 6], [-100, 2, -100, -100, 5, 6])
    assert entry.columns([talk], 64) == [{"input_ids": talk.input_ids, "labels": [-100, -100, -100, -100, 5, 6]}]
    assert entry.columns([talk], 4) == [], "nothing of the last answer is left"
    assert entry.options().library_options() == {"loss_type": "nll"}
    trainer, config = entry.trainer()
    assert issubclass(trainer_class(trainer), StudioTrainer)
    assert config(output_dir=str(tmp_path), use_cpu=True, **entry.options().library_options()).loss_type == "nll"


def test_the_example_of_a_tuner_builds_a_peft_config_that_trains_what_it_says(tmp_path, tiny_model):
    from peft import get_peft_model
    from transformers import AutoModelForCausalLM

    example = load_example("tuner", tmp_path).LN_TUNING
    entry = with_entry(TUNERS, example)["ln_tuning"]
    config = {"model_type": "llama"}
    entry.check(entry.options(), config)
    with pytest.raises(UserError, match="names"):
        entry.check(entry.options(), {"model_type": "gpt2"})
    made = entry.peft_config(entry.options(), config, "CAUSAL_LM")
    assert type(made).__name__ == entry.library_class
    model = AutoModelForCausalLM.from_pretrained(tiny_model, trust_remote_code=False)
    trained = [name for name, weight in get_peft_model(model, made).named_parameters() if weight.requires_grad]
    assert trained
    assert all("norm" in name for name in trained)
    assert entry.peft_config(entry.options(norms="blocks"), config, "CAUSAL_LM").target_modules < made.target_modules
    assert trainable_parameters(entry.options(), config) is None, "not counted yet"


# --- The image -------------------------------------------------------------------------------------------------


def instructions():
    """[(instruction, rest)] of the Dockerfile, continued lines joined."""
    text = re.sub(r"^#.*\n", "", page("Dockerfile"), flags=re.MULTILINE).replace("\\\n", " ")
    return [tuple(line.split(maxsplit=1)) for line in text.splitlines() if line.strip()]


def test_the_image_runs_as_a_user_with_a_health_check_and_a_volume():
    steps = instructions()
    last = dict(steps)  # the last of each kind
    assert re.fullmatch(r"python:3\.11-slim", last["FROM"])
    assert last["USER"] not in ("root", "0")
    assert [name for name, _ in steps].index("USER") < [name for name, _ in steps].index("CMD")
    assert last["VOLUME"] == "/workspace"
    assert last["EXPOSE"] == "7860"
    assert "/healthz" in last["HEALTHCHECK"]
    assert json.loads(last["CMD"]) == ["python", "-m", "studio", "serve"]
    probe = json.loads(last["HEALTHCHECK"].partition("CMD")[2])
    assert probe[:2] == ["python", "-c"]
    compile(probe[2], "HEALTHCHECK", "exec")


def test_the_image_sets_only_variables_that_are_read_and_no_password():
    text = next(rest for name, rest in instructions() if name == "ENV")
    values = dict(word.split("=", 1) for word in text.split())
    ours = {name: value for name, value in values.items() if name.startswith("STUDIO_")}
    assert set(ours) <= {name for name, _, _ in SETTINGS}
    assert ours["STUDIO_HOST"] == "0.0.0.0"
    assert not [rest for name, rest in instructions() if name in ("ENV", "ARG") and "PASSWORD" in rest]


def test_the_image_refuses_to_start_without_a_password():
    from studio.errors import UserError
    from studio.settings import read_settings

    with pytest.raises(UserError, match="let everybody on the network in"):
        read_settings({"STUDIO_HOST": "0.0.0.0"})


def test_what_the_image_copies_exists_and_is_let_through():
    allowed = {line[1:] for line in page(".dockerignore").splitlines() if line.startswith("!")}
    copied = {name for step, rest in instructions() if step == "COPY" for name in rest.split()[:-1]}
    assert copied == allowed
    assert all((ROOT / name).exists() for name in copied)
    assert "*" in page(".dockerignore").splitlines(), "everything else stays outside"
    assert not allowed & {"workspace", ".venv", ".git", "tests"}


def test_the_image_installs_torch_before_the_rest():
    install = next(rest for name, rest in instructions() if name == "RUN" and "pip install" in rest)
    assert install.index("^torch==") < install.index("--requirement requirements.txt")
    assert len(re.findall(r"^torch==", page("requirements.txt"), re.MULTILINE)) == 1
