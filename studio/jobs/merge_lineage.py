"""What a merge was made of and what came of it, for lists and pages."""

from typing import Any

from studio import workspace as names
from studio.jobs.events import Finished
from studio.jobs.spec import MergeSpec
from studio.jobs.store import JobView
from studio.workspace import Workspace, read_json


def lineage(view: JobView, workspace: Workspace) -> dict[str, Any] | None:
    """{"method", "options", "into_base", "sources", "dtype", figures …} of a merge; None for other jobs.

    `dtype`: of a whole model that is there, else "". `values`: the norms of the merged update and of the weighted sum
    of all updates, how far the one is from the other (a share of the sum's norm), and the rank.
    """
    spec = view.spec
    if not isinstance(spec, MergeSpec):
        return None
    origin = read_json(workspace.job(view.id) / names.MODEL / names.ORIGIN) or {}
    return {
        "method": spec.method.name,
        "options": spec.method.library_options(),
        "into_base": spec.into_base,
        "sources": [source.model_dump() for source in spec.sources],
        "dtype": str(origin.get("dtype", "")),
        "values": dict(view.state.end.values) if isinstance(view.state.end, Finished) else {},
    }
