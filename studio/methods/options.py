"""What every option model has in common: frozen, no unknown names, library spelling."""

from typing import Any

from pydantic import BaseModel, ConfigDict


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
