"""The files that say a job again: script, preset, Axolotl's YAML, and its rows; one by one or as a zip."""

import json
import shlex
import shutil
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from studio.base_models import model_folder, read_config
from studio.data.dataset import verified_examples
from studio.errors import UserError
from studio.jobs.code.axolotl import EVAL, TRAIN, axolotl_yaml
from studio.jobs.code.axolotl_rows import axolotl_rows
from studio.jobs.code.own_code import HELD, JUDGE, Judge
from studio.jobs.code.script import START, WEIGHTS, script_of
from studio.jobs.earlier_jobs import find_reward_model, starting_adapter, starting_model
from studio.jobs.spec import TrainSpec
from studio.jobs.store import JobView
from studio.jobs.training_data import TrainingData, ewc_examples, gather
from studio.starter_model import HUB_ID
from studio.workspace import MODEL, ORIGIN, Workspace, read_json

SCRIPT, PRESET, AXOLOTL = "train.py", "job.yaml", "axolotl.yaml"
KINDS = {"script": SCRIPT, "yaml": PRESET, "axolotl": AXOLOTL}
ROWS = {  # what each of them reads
    "script": ("train.jsonl", "eval.jsonl", HELD),
    "yaml": ("data.jsonl", "eval-data.jsonl", "mix.jsonl"),
    "axolotl": (TRAIN, EVAL),
}
README = "README.txt"
# A preset has no data, and names no job: the command line does.
NOT_IN_PRESET = ("kind", "dataset", "eval_dataset", "general_dataset", "start_from")


@dataclass(frozen=True)
class JobCode:
    """One job's code."""

    workspace: Workspace
    view: JobView

    def text(self, kind: str) -> str:
        """The file of a kind: script, yaml or axolotl. Raises UserError with the reason where it cannot be said."""
        makers = {"script": self.script, "yaml": self.preset, "axolotl": self.axolotl}
        if kind not in makers:
            raise UserError(f"There is no code of the kind {kind[:20]!r}.", f"Choose one of {', '.join(makers)}.")
        return makers[kind]()

    def script(self) -> str:
        """The stand-alone Python script."""
        base = starting_model(self.spec, self.workspace)
        return script_of(
            self.spec,
            base_model=str(base) if base else self._public_name(),
            config=self._config(),
            started=self.view.state.started,
            continues=starting_adapter(self.spec, self.workspace) is not None,
            judge=self._judge(),
        )

    def preset(self) -> str:
        """The whole spec but for its data and the job it continues from, as a preset; on top the command for these."""
        spec = {key: value for key, value in self.spec.model_dump().items() if key not in NOT_IN_PRESET}
        title = self.view.name
        words = {
            "title": title,
            "title_zh": title,
            "summary": f"As the job {self.view.id}.",
            "summary_zh": self.view.id,
        }
        head = "".join(f"# {line}\n" for line in (self._command(), *self._earlier_jobs()))
        return head + yaml.safe_dump({**words, "spec": spec}, sort_keys=False, allow_unicode=True)

    def axolotl(self) -> str:
        """Axolotl's configuration; its rows are axolotl-train.jsonl (and -eval) beside it."""
        evaluates = bool(self.spec.eval_dataset or self.spec.eval_share)
        name, config = self._public_name(), self._config()
        return axolotl_yaml(self.spec, base_model=name, config=config, evaluates=evaluates)

    @property
    def spec(self) -> TrainSpec:
        return self.view.training

    def write(self, folder: Path) -> list[str]:
        """Write all files there are for this job into a folder; what is left out is told in README.txt. Their names.

        Raises UserError when a data set is gone.
        """
        folder.mkdir(parents=True, exist_ok=True)
        data = gather(self.spec, self.workspace)
        written: list[str] = []
        told = [f"{PRESET}: {sentence}" for sentence in self._earlier_jobs()]
        for kind, name in KINDS.items():
            try:
                files = {name: iter([self.text(kind)]), **self._rows(kind, data)}
                for file, lines in files.items():
                    with (folder / file).open("w", encoding="utf-8") as stream:
                        stream.writelines(lines)
            except UserError as error:
                for file in (name, *ROWS.get(kind, ())):
                    (folder / file).unlink(missing_ok=True)
                told.append(f"{name} is left out. {error}")
                continue
            written += files
            if kind == "script":
                written += [*self._copy_start(folder), *self._copy_judge(folder)]
        if told:
            (folder / README).write_text("\n".join(told) + "\n", encoding="utf-8")
            written.append(README)
        return written

    def zip(self, file: Path, staging: Path) -> None:
        """The same as one zip file; `staging` is an empty folder."""
        names = self.write(staging)
        with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
            for name in names:
                archive.write(staging / name, name)

    def _copy_start(self, folder: Path) -> list[str]:
        """Put what the script begins with beside it; the name of the file, if there is one."""
        adapter = starting_adapter(self.spec, self.workspace)
        if adapter is None:
            return []
        (folder / START).mkdir()
        shutil.copyfile(adapter / WEIGHTS, folder / START / WEIGHTS)
        return [f"{START}/{WEIGHTS}"]

    def _judge(self) -> Judge | None:
        """The reward model that the job names. Raises UserError when it is gone or does not fit."""
        if not getattr(self.spec.objective, "reward_model", ""):
            return None
        folder = find_reward_model(self.spec, self.workspace, self._folder())
        tuner = read_json(folder / ORIGIN)["tuner"]
        whole = str(folder) if folder.name == MODEL else ""
        return Judge(tuner=tuner, base_model=self._public_name(), whole=whole)

    def _copy_judge(self, folder: Path) -> list[str]:
        """Put the adapter that rewards beside the script; its files' names. A whole model stays where it is."""
        judge = self._judge()
        if judge is None or judge.whole:
            return []
        found = find_reward_model(self.spec, self.workspace, self._folder())
        (folder / JUDGE).mkdir()
        for name in (WEIGHTS, "adapter_config.json"):
            shutil.copyfile(found / name, folder / JUDGE / name)
        return [f"{JUDGE}/{name}" for name in (WEIGHTS, "adapter_config.json")]

    def _earlier_jobs(self) -> list[str]:
        """A sentence for each job or adapter of the workspace that the preset needs."""
        start, marks = _line(self.spec.start_from), _line(getattr(self.spec.objective, "reward_model", ""))
        return [
            *([f"It continues from {start}, which must be in the workspace."] if start else []),
            *([f"The reward model is the job {marks}, whose result must be in the workspace."] if marks else []),
        ]

    def _rows(self, kind: str, data: TrainingData) -> dict[str, Iterator[str]]:
        """{file name: its lines} of the rows that the file of a kind reads."""
        if kind == "yaml":
            references = (self.spec.dataset, self.spec.eval_dataset, self.spec.general_dataset)
            return {
                name: _lines(verified_examples(self.workspace.dataset(one.id), one.sha256))
                for name, one in zip(ROWS["yaml"], references, strict=True)
                if one
            }
        parts = {name: part for name, part in zip(ROWS[kind][:2], (data.train, data.evaluation), strict=True) if part}
        if kind == "axolotl":
            base = self._folder()
            return {name: _lines(axolotl_rows(part, self.spec, base)) for name, part in parts.items()}
        held = {HELD: _lines(ewc_examples(self.spec, self.workspace))} if self.spec.ewc_lambda else {}
        return {name: _lines(part) for name, part in parts.items()} | held

    def _command(self) -> str:
        spec = self.spec
        more = (" --eval-data eval-data.jsonl" if spec.eval_dataset else "") + (
            " --mix-data mix.jsonl" if spec.general_dataset else ""
        )
        model = "" if spec.base_model == "starter" else f" --model {shlex.quote(_line(spec.base_model))}"
        start = f" --set {shlex.quote('start_from=' + _line(spec.start_from))}" if spec.start_from else ""
        return f"python -m studio train --preset {PRESET} --data data.jsonl{more}{model}{start}"

    def _public_name(self) -> str:
        return HUB_ID if self.spec.base_model == "starter" else self.spec.base_model

    def _folder(self) -> Path:
        folder = model_folder(self.spec.base_model, self.workspace.models)
        if folder is None:
            raise UserError(f"{self.spec.base_model} is not on this machine.", "Run the job once; it fetches it.")
        return folder

    def _config(self) -> dict[str, Any]:
        """The base model's config.json; empty while it is not fetched, as a job that waits may name it."""
        folder = model_folder(self.spec.base_model, self.workspace.models)
        return read_config(folder) if folder else {}


def _lines(rows: Any) -> Iterator[str]:
    return (json.dumps(row, ensure_ascii=False) + "\n" for row in rows)


def _line(text: str) -> str:
    """What the user wrote, for a comment: no line end can lead out of it."""
    return " ".join(text.split())
