"""What a browser may ask /api/adapters to do: the bodies of its POST requests."""

from pydantic import BaseModel, ConfigDict, Field

from studio.adapters.inspection import MOST

Body = ConfigDict(extra="forbid")


class ImportWish(BaseModel):
    """`base`: the base model, "" for the one that the adapter names; `name`: what it is called, "" by its source."""

    model_config = Body
    base: str = Field(default="", max_length=400)
    name: str = Field(default="", max_length=80)


class UploadWish(ImportWish):
    """Files that were uploaded, as Gradio's upload named them."""

    paths: list[str] = Field(min_length=1, max_length=50)


class FolderWish(ImportWish):
    """A folder or a zip below one of the operator's folders."""

    root: int
    path: str = Field(max_length=4000)


class HubWish(ImportWish):
    """An adapter of the Hub."""

    id: str = Field(max_length=200)


class NameWish(BaseModel):
    """A new name."""

    model_config = Body
    name: str = Field(max_length=200)


class InspectWish(BaseModel):
    """Adapters to look into."""

    model_config = Body
    names: list[str] = Field(min_length=1, max_length=MOST)
