"""A merge in words, for the shell."""

from studio.cli.output import facts
from studio.jobs.events import Finished
from studio.jobs.spec import MergeSpec
from studio.jobs.store import JobView


def merge_words(view: JobView, spec: MergeSpec) -> str:
    """What was merged, how, and what came of it, one fact a line."""
    figures = view.state.end.values if isinstance(view.state.end, Finished) else {}
    options = ", ".join(f"{name} {value}" for name, value in spec.method.library_options().items())
    method = f"{spec.method.name} ({options})" if options else spec.method.name
    return facts(
        [
            ("id", view.id),
            ("status", view.status),
            ("base model", spec.base_model),
            ("merge", f"{method}, into the base" if spec.into_base else method),
            *(("adapter", f"{source.weight:g} × {source.adapter}") for source in spec.sources),
            ("norm", f"{figures['norm_merged']:.4g}" if "norm_merged" in figures else None),
            ("off the sum by", f"{figures['deviation']:.1%}" if "deviation" in figures else None),
            *(("note", warning) for warning in view.state.warnings),
            ("message", view.message),
        ]
    )
