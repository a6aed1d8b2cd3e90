"""What every option model has in common: frozen, no unknown names, library spelling."""

from typing import Any, Literal, get_args, get_origin

from pydantic import BaseModel, ConfigDict
from pydantic.fields import FieldInfo

BOUNDS = (("gt", ">"), ("ge", "≥"), ("lt", "<"), ("le", "≤"))


class Options(BaseModel):
    """The options of one objective or tuner.

    A field is an option: its title is the label, its description the help, its limits the check, its default
    what works. `name` tells which objective or tuner the options belong to; it is not an option itself.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str

    def library_options(self) -> dict[str, Any]:
        """The options by the library's own names."""
        return self.model_dump(exclude={"name"})


def field_limits(field: FieldInfo) -> str:
    """What a value may be, in signs: "≥ 1, ≤ 1024", or the words to choose from; empty when anything goes."""
    if get_origin(field.annotation) is Literal:
        return " | ".join(get_args(field.annotation))
    found = {name: getattr(rule, name) for rule in field.metadata for name, _ in BOUNDS if hasattr(rule, name)}
    return ", ".join(f"{sign} {found[name]}" for name, sign in BOUNDS if name in found)
