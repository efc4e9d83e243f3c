"""The JSON that the page sends and receives."""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

Key = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_-]{16}$")]
ClientKey = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9-]{16,64}$")]
Position = Annotated[int, Field(ge=0, le=8)]


class Strict(BaseModel):
    """A body without unknown fields."""

    model_config = ConfigDict(extra="forbid")


class AnswerBody(Strict):
    """An answer to an item."""

    key: Key = Field(description="Of the item, as it was served.")
    client_key: ClientKey = Field(description="Made by the page for this answer; sent twice, it counts once.")
    ranking: list[Annotated[list[Position], Field(min_length=1, max_length=9)]] = Field(
        min_length=1, max_length=9, description="Positions from left to right, best first; ties in one group."
    )
    seconds: float = Field(ge=0, le=86_400, allow_inf_nan=False, description="From all pictures shown to the answer.")


class ReportBody(Strict):
    """A picture that does not load."""

    key: Key
    position: Position


class IntroducedBody(Strict):
    """The block whose instructions were read."""

    criterion: Literal["realism", "alignment"]


class ProgressReply(BaseModel):
    """The annotator's progress in a block."""

    done: int
    total: int
    block: int
    blocks: int


class TaskReply(BaseModel):
    """An item to rank."""

    key: str
    practice: bool
    caption: str | None
    pictures: list[str]


class StepReply(BaseModel):
    """What the page shows next."""

    screen: Literal["welcome", "instructions", "task", "wait", "finished"]
    criterion: str | None = None
    criterion_name: str | None = None
    question: str | None = None
    task: TaskReply | None = None
    progress: ProgressReply | None = None
    can_undo: bool = False


class Problem(BaseModel):
    """Why a request was refused."""

    detail: str
