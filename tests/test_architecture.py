"""The design as tests: sizes, imports, the two places that catch everything, no shell, no pickle."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
SOURCES = sorted((ROOT / "studio").rglob("*.py")) + [ROOT / "app.py"]
MOST_LINES, MOST_FUNCTION_LINES = 300, 50


def name_of(path: Path) -> str:
    return str(path.relative_to(ROOT))


@pytest.mark.parametrize("path", SOURCES, ids=name_of)
def test_files_and_functions_stay_small(path):
    text = path.read_text()
    assert text.count("\n") <= MOST_LINES, f"{name_of(path)} has {text.count(chr(10))} lines"
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            length = node.end_lineno - node.lineno + 1
            assert length <= MOST_FUNCTION_LINES, f"{name_of(path)}: {node.name} has {length} lines"


@pytest.mark.parametrize("path", sorted((ROOT / "studio/ui/assets").glob("*.js")), ids=name_of)
def test_scripts_stay_small(path):
    assert path.read_text().count("\n") <= MOST_LINES


def test_only_two_places_catch_everything():
    found = []
    for path in SOURCES:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ExceptHandler):
                caught = ast.unparse(node.type) if node.type else "everything"
                if caught in ("everything", "Exception", "BaseException"):
                    found.append(name_of(path))
    assert sorted(found) == ["studio/ui/feedback.py", "studio/worker/__main__.py"]


@pytest.mark.parametrize("path", SOURCES, ids=name_of)
def test_no_shell_no_pickle_no_foreign_code(path):
    text = path.read_text()
    for word in ("shell=True", "os.system", "os.popen", "yaml.load(", "trust_remote_code=True"):
        assert word not in text, f"{word} in {name_of(path)}"
    calls = [ast.unparse(node.func) for node in ast.walk(ast.parse(text)) if isinstance(node, ast.Call)]
    assert not [call for call in calls if call in ("eval", "exec") or call.startswith("pickle.")]


def test_only_settings_reads_the_environment():
    readers = [name_of(path) for path in SOURCES if "os.environ" in path.read_text()]
    assert readers == ["studio/settings.py"]


def test_only_one_place_listens():
    """Any other would let answers wait for nothing: see studio/listening.py."""
    listeners = [name_of(path) for path in SOURCES if "create_server" in path.read_text()]
    assert listeners == ["studio/listening.py"]


def test_from_pretrained_always_refuses_foreign_code():
    calls = 0
    for path in SOURCES:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and ast.unparse(node.func).startswith("Auto"):
                calls += 1
                given = {keyword.arg: ast.unparse(keyword.value) for keyword in node.keywords}
                assert given.get("trust_remote_code") == "False", f"{name_of(path)}:{node.lineno}"
    assert calls >= 4


def modules_loaded_by(statement: str) -> set[str]:
    code = f"import sys; {statement}; print(' '.join(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True)
    return set(done.stdout.split())


def test_the_core_needs_neither_gradio_nor_torch():
    loaded = modules_loaded_by("import studio.cli.main, studio.jobs.studio")
    assert not loaded & {"gradio", "torch", "transformers", "trl", "peft", "datasets", "pandas", "plotly"}


def test_the_studio_process_never_imports_torch(tmp_path):
    """Builds the whole application, as `make run` does, and looks at what was imported."""
    statement = (
        "from pathlib import Path; from studio.settings import Settings; from studio.jobs.studio import open_studio; "
        f"from studio.ui.server import build_app; build_app(open_studio(Settings(workspace=Path({str(tmp_path)!r}))))"
    )
    loaded = modules_loaded_by(statement)
    assert "gradio" in loaded
    assert not loaded & {"torch", "trl", "peft", "datasets", "transformers", "accelerate", "bitsandbytes"}
