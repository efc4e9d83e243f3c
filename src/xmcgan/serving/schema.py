"""The bodies of requests, which FastAPI checks and the OpenAPI description shows."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from xmcgan.inference.noise import MAX_SEED
from xmcgan.serving.settings import MAX_CAPTION

Prompt = Annotated[str, Field(max_length=MAX_CAPTION)]
Seed = Annotated[int, Field(ge=0, le=MAX_SEED)]
Truncation = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]
Include = Literal["attention"]


class Body(BaseModel):
    """A body. Values are not converted to other types, and an unknown field is an error."""

    model_config = ConfigDict(extra="forbid", strict=True)

    model: str | None = Field(None, max_length=200, description="a name from GET /v1/models; by default the first")

    @field_validator("prompt", "second_prompt", check_fields=False)
    @classmethod
    def printable(cls, value: str | None) -> str | None:
        """Refuses NUL, where many programs end a text."""
        if value is not None and "\0" in value:
            raise ValueError("it holds the character NUL; a prompt is plain text")
        return value


class ImageBody(Body):
    """The fields that all requests for images have."""

    prompt: Prompt = Field(description="the caption")
    truncation: Truncation = Field(1.0, description="factor of the noise; smaller gives more typical images")
    size: str = Field("auto", max_length=20, description="auto is the model's size, which larger squares enlarge")
    output_format: Literal["png", "jpeg", "webp"] = "png"
    output_compression: Annotated[int, Field(ge=0, le=100)] | None = Field(None, description="quality, jpeg and webp")

    # Clients of other image services send these.
    user: Any = Field(None, description="accepted and ignored")
    quality: Any = Field(None, description="accepted and ignored")
    style: Any = Field(None, description="accepted and ignored")
    moderation: Any = Field(None, description="accepted and ignored")

    @field_validator("prompt", "second_prompt", check_fields=False)
    @classmethod
    def some_words(cls, value: str | None) -> str | None:
        """Refuses an empty caption, which is nearly always a mistake."""
        if value is not None and not value.strip():
            raise ValueError("it is empty; describe an image in a few words")
        return value

    @model_validator(mode="after")
    def compression(self) -> "ImageBody":
        """Refuses a quality for PNG, which is lossless."""
        if self.output_compression is not None and self.output_format == "png":
            raise ValueError("output_compression is for output_format jpeg or webp")
        return self


class GenerationBody(ImageBody):
    """POST /v1/images/generations."""

    n: Annotated[int, Field(ge=1)] | None = Field(None, description="images; 1 by default")
    seed: Seed | None = Field(None, description="of the first image, the next has seed + 1; random by default")
    response_format: Literal["b64_json", "url"] | None = Field(None, description="b64_json by default")
    stream: bool | None = Field(None, description="one server-sent event for each image as it is drawn")
    include: list[Include] = Field([], max_length=1, description="attention adds each word's attention map")
    background: Literal["auto", "opaque"] | None = Field(None, description="images are never transparent")
    partial_images: Literal[0] | None = Field(None, description="an image is drawn in one pass: none is partial")

    @model_validator(mode="after")
    def streamed(self) -> "GenerationBody":
        """Refuses urls in a stream."""
        if self.stream and self.response_format == "url":
            raise ValueError("response_format should be b64_json where stream is true")
        return self


class InterpolationBody(ImageBody):
    """POST /v1/images/interpolations: from prompt and seed to second_prompt and second_seed."""

    seed: Seed
    second_prompt: Prompt | None = Field(None, description="prompt by default")
    second_seed: Seed | None = Field(None, description="seed by default")
    steps: Annotated[int, Field(ge=2)] = Field(9, description="images, both ends included")


class CaptionBody(Body):
    """POST /v1/captions: the words of a caption that a model reads and has learnt."""

    prompt: Prompt


ERRORS: dict[int | str, dict[str, Any]] = {
    status: {
        "description": description,
        "content": {"application/json": {"schema": {"$ref": "#/components/schemas/Error"}}},
    }
    for status, description in {
        400: "a field is missing, unknown or out of range: error.param names it",
        401: "the token is missing or wrong",
        404: "there is no such model",
        408: "the body did not arrive in time",
        413: "the body is too large",
        429: "the queue is full, or the client is over its rate; Retry-After says when to try again",
        499: "the client closed the connection",
        503: "the server is stopping",
        504: "the images were not drawn in time",
    }.items()
}

ERROR_SCHEMA = {
    "type": "object",
    "required": ["error"],
    "properties": {
        "error": {
            "type": "object",
            "required": ["message", "type", "param", "code"],
            "properties": {
                "message": {"type": "string"},
                "type": {"type": "string"},
                "param": {"type": ["string", "null"]},
                "code": {"type": ["string", "null"]},
            },
        }
    },
}
