"""What came from what, in layers: data set → job → checkpoint → continued job or merge; imported adapter → merge."""

from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from statistics import mean
from typing import Any, Literal

from studio import workspace as names
from studio.adapters.record import ImportedAdapters
from studio.data.dataset import read_record
from studio.errors import UserError
from studio.jobs.adapter_shelf import Values, job_specs, named
from studio.workspace import Workspace

Kind = Literal["dataset", "job", "merge", "checkpoint", "imported", "gone"]
SWEEPS = 4  # times that each layer is sorted by its neighbours, forward and back


@dataclass
class Node:
    """`id`: the name of a job, checkpoint, adapter or data set. `x`: its layer; `y`: its place in it, centred on 0."""

    id: str
    kind: Kind
    title: str
    detail: str = ""
    job: str = ""
    x: int = 0
    y: float = 0.0


@dataclass
class Graph:
    """Nodes by id, and edges (from, to, what for)."""

    nodes: dict[str, Node] = field(default_factory=dict)
    edges: list[tuple[str, str, str]] = field(default_factory=list)
    _behind: dict[str, list[str]] = field(default_factory=dict)

    def connect(self, source: str, target: str, use: str) -> None:
        """Add an edge once, and none that would make something come from itself, whatever a damaged spec says."""
        if (source, target, use) not in self.edges and not self._leads(target, source):
            self.edges.append((source, target, use))
            self._behind.setdefault(source, []).append(target)

    def _leads(self, start: str, end: str) -> bool:
        seen, waiting = set(), [start]
        while waiting:
            name = waiting.pop()
            if name == end:
                return True
            if name not in seen:
                seen.add(name)
                waiting += self._behind.get(name, [])
        return False

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return {"nodes": [asdict(node) for node in self.nodes.values()], "edges": [list(edge) for edge in self.edges]}


def lineage(workspace: Workspace) -> Graph:
    """The graph of a workspace, laid out. A data set or checkpoint that nothing came from is left out."""
    graph, specs = Graph(), job_specs(workspace)
    for job_id, values in specs.items():
        merge = isinstance(values.get("sources"), list)
        detail = " · ".join(filter(None, (named(values.get("tuner")), named(values.get("objective")))))
        title = str(values.get("name") or job_id)
        graph.nodes[job_id] = Node(job_id, "merge" if merge else "job", title, detail, job_id)
    for record in ImportedAdapters(workspace).records():
        graph.nodes[record.id] = Node(record.id, "imported", record.name, record.tuner)
    for job_id, values in specs.items():
        for source, use in sources_of(values):
            node = graph.nodes.get(source) or _other(workspace, source, specs)
            graph.nodes[node.id] = node
            if node.kind == "checkpoint":
                graph.connect(node.job, node.id, "checkpoint")
            graph.connect(node.id, job_id, use)
    lay_out(graph)
    return graph


def sources_of(values: Values) -> Iterator[tuple[str, str]]:
    """(id, what for) of all that a spec names, of whatever kind the spec is."""
    for key, value in values.items():
        if key.endswith("dataset") and isinstance(value, dict) and value.get("id"):
            yield f"dataset:{value['id']}", {"dataset": "data", "eval_dataset": "eval"}.get(key, "mixed")
    if values.get("start_from"):
        yield str(values["start_from"]), "continues"
    objective = values.get("objective")
    if isinstance(objective, dict) and objective.get("reward_model"):
        yield str(objective["reward_model"]), "rewards"
    for source in values.get("sources") or []:
        name = source.get("adapter") or source.get("name") if isinstance(source, dict) else source
        if name:
            yield str(name), "merge"


def lay_out(graph: Graph) -> None:
    """A layer for each node, behind all that it came from; within a layer, near what it is connected with."""
    before: dict[str, list[str]] = {name: [] for name in graph.nodes}
    behind: dict[str, list[str]] = {name: [] for name in graph.nodes}
    for source, target, _ in graph.edges:
        before[target].append(source)
        behind[source].append(target)
    depth: dict[str, int] = {}
    for name in _in_order(before):
        depth[name] = 1 + max((depth[one] for one in before[name]), default=-1)
    for name, targets in behind.items():  # what was brought in stands right before what it is used for
        if not before[name] and targets:
            depth[name] = min(depth[one] for one in targets) - 1
    layers: dict[int, list[str]] = {}
    for name in graph.nodes:
        layers.setdefault(depth[name], []).append(name)
    _sort_layers(layers, before, behind)
    for x, members in layers.items():
        for place, name in enumerate(members):
            graph.nodes[name].x, graph.nodes[name].y = x, place - (len(members) - 1) / 2


def _sort_layers(layers: dict[int, list[str]], before: dict[str, list[str]], behind: dict[str, list[str]]) -> None:
    """Sort each layer by the mean place of its neighbours (the barycentre method of Sugiyama and others, 1981)."""
    for sweep in range(SWEEPS):
        neighbours = behind if sweep % 2 else before
        for x in sorted(layers, reverse=bool(sweep % 2)):
            place = {name: i - len(members) / 2 for members in layers.values() for i, name in enumerate(members)}
            layers[x].sort(key=lambda name: mean([place[one] for one in neighbours[name]] or [place[name]]))


def _in_order(before: dict[str, list[str]]) -> list[str]:
    """The nodes, each after all that it came from; there is no cycle."""
    waiting = {name: len(sources) for name, sources in before.items()}
    behind: dict[str, list[str]] = {name: [] for name in before}
    for name, sources in before.items():
        for source in sources:
            behind[source].append(name)
    ready = [name for name, count in waiting.items() if not count]
    for name in ready:  # grows while it is gone through
        for target in behind[name]:
            waiting[target] -= 1
            if not waiting[target]:
                ready.append(target)
    return ready


def _other(workspace: Workspace, source: str, specs: dict[str, Values]) -> Node:
    """A data set, a checkpoint, or something that was deleted since."""
    if source.startswith("dataset:"):
        dataset_id = source.removeprefix("dataset:")
        try:
            record = read_record(workspace.dataset(dataset_id))
        except UserError:
            return Node(source, "gone", dataset_id)
        return Node(source, "dataset", record.name, f"{record.rows:,}")
    job_id, at, step = source.partition("@")
    if at and job_id in specs:
        title = str(specs[job_id].get("name") or job_id)
        there = (workspace.job(job_id) / names.CHECKPOINTS / f"checkpoint-{step}").is_dir() if step.isdigit() else False
        return Node(source, "checkpoint", f"{title} @ {step}", "" if there else "gone", job_id)
    return Node(source, "gone", source)
