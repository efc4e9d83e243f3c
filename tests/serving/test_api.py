"""The HTTP API: images with the bits of a pipeline, in the shapes of image clients, and errors that name fields."""

import base64
import io
import json
import os
import re
import time
from concurrent.futures import ThreadPoolExecutor

import httpx
import numpy as np
import pytest
from PIL import Image

from servers import running
from xmcgan import __version__
from xmcgan.inference.interpolation import Drawing, draw
from xmcgan.serving.encoding import read_settings
from xmcgan.serving.settings import ServeSettings

GENERATIONS, INTERPOLATIONS = "/v1/images/generations", "/v1/images/interpolations"
CAPTIONS = ["a red car left of the bus", "the blue sky", "a bus under the sky", "a red", "an olive"]


@pytest.fixture(scope="module")
def client(api):
    with httpx.Client(base_url=api, timeout=60) as client:
        yield client


def content(entry: dict) -> bytes:
    return base64.b64decode(entry["b64_json"])


def pixels(entry: dict) -> bytes:
    return Image.open(io.BytesIO(content(entry))).tobytes()


# ------------------------------------------------------------------------------------------------------- images


def test_images_have_the_bits_of_a_pipeline(client, tiny_model):
    answer = client.post(GENERATIONS, json={"prompt": CAPTIONS[0], "seed": 7, "n": 3, "truncation": 0.5}).json()
    expected = tiny_model.pipe(CAPTIONS[0], seed=7, num_images=3, truncation=0.5).images
    assert [pixels(entry) for entry in answer["data"]] == [image.tobytes() for image in expected]
    assert [entry["seed"] for entry in answer["data"]] == [7, 8, 9]
    assert (answer["model"], answer["size"], answer["output_format"]) == ("tiny", "64x64", "png")
    assert isinstance(answer["created"], int)


def test_requests_of_many_users_share_batches_and_no_bit_changes(client, tiny_model):
    """Thirty requests at once: each image is what it is alone, and there are fewer batches than requests."""
    requests = [(CAPTIONS[k % 5], 100 + k, 1 + k % 3) for k in range(30)]
    alone = [tiny_model.pipe(caption, seed=seed, num_images=n).images for caption, seed, n in requests]
    before = figures(client)

    def post(request):
        caption, seed, n = request
        answer = client.post(GENERATIONS, json={"prompt": caption, "seed": seed, "n": n})
        assert answer.status_code == 200, answer.text
        return answer.json()["data"]

    with ThreadPoolExecutor(30) as threads:
        answers = list(threads.map(post, requests))
    for data, expected in zip(answers, alone, strict=True):
        assert [pixels(entry) for entry in data] == [image.tobytes() for image in expected]
    after = figures(client)
    images, batches = 'xmcgan_images_total{model="tiny"}', 'xmcgan_batch_seconds_count{model="tiny"}'
    assert after[images] - before[images] == sum(n for _, _, n in requests)
    assert after[batches] - before[batches] < 30


def figures(client) -> dict[str, float]:
    lines = client.get("/metrics").text.splitlines()
    return {name: float(value) for name, value in (line.rsplit(" ", 1) for line in lines if not line.startswith("#"))}


def test_a_random_seed_is_in_the_answer(client):
    first, second = (client.post(GENERATIONS, json={"prompt": "a car"}).json()["data"][0] for _ in range(2))
    assert first["seed"] != second["seed"]
    again = client.post(GENERATIONS, json={"prompt": "a car", "seed": first["seed"]}).json()["data"][0]
    assert content(again) == content(first)  # the whole file, settings and all


@pytest.mark.parametrize("format", ["png", "jpeg", "webp"])
def test_files_say_how_they_were_made(client, format):
    caption = "a red car é 🚗"
    request = {"prompt": caption, "seed": 3, "output_format": format, "size": "128x128"}
    (entry,) = client.post(GENERATIONS, json=request).json()["data"]
    image = Image.open(io.BytesIO(content(entry)))
    assert (image.format, image.size) == (format.upper(), (128, 128))
    found = read_settings(content(entry))
    assert found.pop("step") == 6
    assert found == {
        "prompt": caption, "seed": 3, "truncation": 1.0, "noise": "philox", "model": "tiny", "version": __version__,
    }  # fmt: skip


@pytest.mark.parametrize("format", ["PNG", "JPEG", "WebP"])
def test_an_image_of_another_program_holds_no_settings(format):
    file = io.BytesIO()
    Image.new("RGB", (8, 8)).save(file, format)
    with pytest.raises(ValueError, match="the image holds no settings of xmcgan"):
        read_settings(file.getvalue())


def test_a_file_that_is_no_image_holds_no_settings():
    with pytest.raises(ValueError, match="the file is not an image"):
        read_settings(b"caption,image")


def test_quality_of_a_jpeg(client):
    sizes = [
        len(content(client.post(GENERATIONS, json={"prompt": "a car", "seed": 1, "output_format": "jpeg",
                                                   "output_compression": quality}).json()["data"][0]))
        for quality in (10, 95)
    ]  # fmt: skip
    assert sizes[0] < sizes[1]


def test_attention_by_words(client, tiny_model):
    request = {"prompt": "a red xylophone, on 🚗", "seed": 2, "include": ["attention"]}
    (entry,) = client.post(GENERATIONS, json=request).json()["data"]
    words = entry["words"]
    assert [word["text"] for word in words] == ["a", "red", "xylophone", "on", "🚗"]
    assert [request["prompt"][word["start"] : word["end"]] for word in words] == [word["text"] for word in words]
    assert all(word["known"] is None and word["read"] for word in words)  # no vocabulary
    drawn = draw(tiny_model.pipe.fused, tiny_model.pipe.encoder, [Drawing(request["prompt"], 2)])
    maps = drawn.attention_BRT[0].numpy().T
    tokens = tiny_model.pipe.encoder.tokens(request["prompt"])
    piece = tokens.index("red")
    red = np.frombuffer(base64.b64decode(words[1]["attention"]), dtype=np.uint8)
    np.testing.assert_allclose(red, 255 * maps[piece], atol=0.51)
    start, end = tokens.index("x"), tokens.index(",")  # the letters of the unknown word are its pieces
    together = np.frombuffer(base64.b64decode(words[2]["attention"]), dtype=np.uint8)
    np.testing.assert_allclose(together, 255 * maps[start:end].sum(0), atol=0.51)


def test_words_behind_the_limit_are_not_read(client):
    caption = " ".join(["car"] * 20)
    words = client.post("/v1/captions", json={"prompt": caption}).json()["words"]
    assert [word["read"] for word in words] == [True] * 15 + [False] * 5


def test_interpolation_ends_in_the_images_of_its_captions(client, tiny_model):
    request = {"prompt": CAPTIONS[0], "seed": 3, "second_prompt": CAPTIONS[1], "second_seed": 9, "steps": 5}
    answer = client.post(INTERPOLATIONS, json=request).json()
    expected = tiny_model.pipe.interpolate((CAPTIONS[0], CAPTIONS[1]), seeds=(3, 9), steps=5)
    assert [pixels(entry) for entry in answer["data"]] == [image.tobytes() for image in expected]
    assert [entry["share"] for entry in answer["data"]] == [0, 0.25, 0.5, 0.75, 1]
    whole = Image.open(io.BytesIO(content(answer["strip"])))
    assert whole.size == (5 * 66 - 2, 64)
    assert read_settings(content(answer["strip"]))["second_prompt"] == CAPTIONS[1]
    assert whole.crop((66, 0, 130, 64)).tobytes() == expected[1].tobytes()


def test_the_second_caption_and_seed_are_the_first_unless_given(client, tiny_model):
    request = {"prompt": CAPTIONS[0], "seed": 3, "second_prompt": None, "second_seed": None, "steps": 3}
    answer = client.post(INTERPOLATIONS, json=request).json()
    (image,) = tiny_model.pipe(CAPTIONS[0], seed=3).images
    assert {pixels(entry) for entry in answer["data"]} == {image.tobytes()}


def test_a_stream_sends_each_image(client):
    request = {"prompt": "a car", "seed": 4, "n": 11}
    expected = client.post(GENERATIONS, json=request).json()["data"]
    with client.stream("POST", GENERATIONS, json=request | {"stream": True}) as answer:
        assert answer.headers["content-type"].startswith("text/event-stream")
        blocks = answer.read().decode().strip().split("\n\n")
    found = [json.loads(block.split("data: ", 1)[1]) for block in blocks]
    assert [each["type"] for each in found] == ["image_generation.completed"] * 11
    assert [(each["index"], each["seed"], each["b64_json"]) for each in found] == [
        (k, entry["seed"], entry["b64_json"]) for k, entry in enumerate(expected)
    ]


def test_a_url_until_its_time_is_over(tiny_model, tmp_path):
    with running({"tiny": tiny_model}, ServeSettings(url_folder=tmp_path, url_lifetime=60)) as url:
        request = {"prompt": "a car", "seed": 1, "response_format": "url", "output_format": "webp"}
        entry = httpx.post(url + GENERATIONS, json=request).json()["data"][0]
        assert entry["url"].startswith(f"{url}/images/")
        found = httpx.get(entry["url"])
        assert found.headers["content-type"] == "image/webp"
        assert read_settings(found.content)["seed"] == 1
        old = time.time() - 61
        os.utime(tmp_path / entry["url"].rpartition("/")[2], (old, old))
        assert httpx.get(entry["url"]).status_code == 404
        assert httpx.get(f"{url}/images/..%2Fsecret.png").status_code == 404


def test_the_official_client_of_openai(api):
    import openai  # takes a second

    client = openai.OpenAI(base_url=f"{api}/v1", api_key="none", max_retries=0)
    answer = client.images.generate(
        prompt="a red car", model="tiny", n=2, size="64x64", response_format="b64_json", quality="standard",
        user="somebody", extra_body={"seed": 5},
    )  # fmt: skip
    assert [entry.seed for entry in answer.data] == [5, 6]  # type: ignore[attr-defined]
    assert Image.open(io.BytesIO(base64.b64decode(answer.data[0].b64_json))).size == (64, 64)
    assert client.images.generate(prompt="a red car", response_format="url").data[0].url.startswith(api)
    assert [model.id for model in client.models.list()] == ["tiny"]
    assert client.models.retrieve("tiny").owned_by == "xmcgan"
    stream = client.images.generate(prompt="a red car", n=2, stream=True)
    assert [event.type for event in stream] == ["image_generation.completed"] * 2
    with pytest.raises(openai.BadRequestError, match="size is '65x65'") as caught:
        client.images.generate(prompt="a red car", size="65x65")  # type: ignore[call-overload]
    assert (caught.value.param, caught.value.type) == ("size", "invalid_request_error")
    with pytest.raises(openai.NotFoundError, match="there is no model 'dall-e-3'"):
        client.images.generate(prompt="a red car", model="dall-e-3")


# ------------------------------------------------------------------------------------------------------- errors

MISTAKES = [
    ({}, "prompt", "prompt is missing"),
    ({"prompt": "a", "output_compression": 5}, None, "output_compression is for output_format jpeg or webp"),
    (
        {"prompt": "a", "stream": True, "response_format": "url"},
        None,
        "response_format should be b64_json where stream",
    ),
    ({"prompt": None}, "prompt", "string"),
    ({"prompt": 5}, "prompt", "string"),
    ({"prompt": ["a"]}, "prompt", "string"),
    ({"prompt": "a" * 100_000}, "prompt", "at most 4000 characters"),
    ({"prompt": "a\0b"}, "prompt", "NUL"),
    ({"prompt": " "}, "prompt", "it is empty"),
    ({"prompt": "a", "n": 10**9}, "n", "at most 16"),
    ({"prompt": "a", "n": 10**30}, "n", "at most 16"),
    ({"prompt": "a", "n": 0}, "n", "greater than or equal to 1"),
    ({"prompt": "a", "n": "4"}, "n", "integer"),
    ({"prompt": "a", "n": 1.5}, "n", "integer"),
    ({"prompt": "a", "n": True}, "n", "integer"),
    ({"prompt": "a", "seed": -1}, "seed", "greater than or equal to 0"),
    ({"prompt": "a", "seed": 2**53}, "seed", "9007199254740991"),
    ({"prompt": "a", "seed": 2**53 - 1, "n": 2}, "seed", "more than 9007199254740991"),
    ({"prompt": "a", "truncation": 1.1}, "truncation", "less than or equal to 1"),
    ({"prompt": "a", "size": "1024"}, "size", "draws 64x64"),
    ({"prompt": "a", "size": "64x128"}, "size", "draws 64x64"),
    ({"prompt": "a", "size": 64}, "size", "string"),
    ({"prompt": "a", "response_format": "png"}, "response_format", "'b64_json' or 'url'"),
    ({"prompt": "a", "output_format": "gif"}, "output_format", "'png', 'jpeg' or 'webp'"),
    ({"prompt": "a", "background": "transparent"}, "background", "'auto' or 'opaque'"),
    ({"prompt": "a", "partial_images": 2}, "partial_images", "0"),
    ({"prompt": "a", "include": ["everything"]}, "include.0", "'attention'"),
    ({"prompt": "a", "sead": 1}, "sead", "unknown field sead"),
    ({"prompt": "a", "model": "b"}, "model", "this server has tiny"),
]


@pytest.mark.parametrize(("body", "param", "message"), MISTAKES)
def test_a_mistake_names_its_field(client, body, param, message):
    answer = client.post(GENERATIONS, json=body)
    error = answer.json()["error"]
    assert answer.status_code == (404 if param == "model" else 400)
    assert error.keys() == {"message", "type", "param", "code"}
    assert error["param"] == param
    assert message in error["message"]


@pytest.mark.parametrize(
    ("body", "param", "message"),
    [
        ({"prompt": "a", "seed": 1, "steps": 1}, "steps", "2"),
        ({"prompt": "a", "seed": 1, "steps": 10**9}, "steps", "at most 16"),
        ({"prompt": "a"}, "seed", "seed is missing"),
        ({"prompt": "a", "seed": 1, "second_prompt": "\0"}, "second_prompt", "NUL"),
        ({"prompt": "a", "seed": 1, "n": 2}, "n", "unknown field n"),
    ],
)
def test_a_mistake_of_an_interpolation(client, body, param, message):
    answer = client.post(INTERPOLATIONS, json=body)
    assert answer.status_code == 400
    assert answer.json()["error"]["param"] == param
    assert message in answer.json()["error"]["message"]


@pytest.mark.parametrize("prompt", ["🚗🪁", "سيارة حمراء", "一辆红色的汽车", "\u202eright to left", "<script>", "%s{}"])
def test_any_text_is_a_caption(client, prompt):
    assert client.post(GENERATIONS, json={"prompt": prompt}).status_code == 200


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        (b"{", "not valid JSON"),
        (b"", "should be a JSON object"),
        (b"[1]", "should be a JSON object"),
        (b'"a"', "should be a JSON object"),
        (b'{"prompt": "\\ud800"}', "prompt"),
        (b'{"prompt": "a", "\\ud800": 1}', "should be a JSON object"),
        (b"\xff\xfe", ""),
        (b'{"prompt": "a", "truncation": NaN}', "truncation"),
        (b"[" * 100_000, ""),
        (b'{"n": ' + b"9" * 10_000 + b"}", ""),
    ],
)
def test_a_body_that_is_no_request(client, raw, message):
    answer = client.post(GENERATIONS, content=raw, headers={"Content-Type": "application/json"})
    assert answer.status_code == 400
    assert message in answer.json()["error"]["message"]


def test_a_large_body_is_not_read_on(client):
    answer = client.post(GENERATIONS, content=b" " * (2**20 + 1), headers={"Content-Type": "application/json"})
    assert answer.status_code == 413
    assert answer.json()["error"]["code"] == "body_too_large"


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [("GET", "/nothing", 404), ("PUT", "/v1/models", 405), ("GET", GENERATIONS, 405), ("GET", "/v1/models/none", 404),
     ("GET", "/images/0.png", 404), ("GET", "/static/none.js", 404), ("GET", "/static/../app.py", 404)],
)  # fmt: skip
def test_every_error_has_one_shape(client, method, path, status):
    answer = client.request(method, path)
    assert answer.status_code == status
    assert answer.json()["error"].keys() == {"message", "type", "param", "code"}
    if status == 405:
        assert answer.headers["allow"]


def test_a_token(tiny_model):
    import openai

    with running({"tiny": tiny_model}, ServeSettings(token="secret")) as url:
        with httpx.Client(base_url=url) as client:
            for path in ("/v1/models", "/metrics", "/v1/images/generations"):
                for headers in ({}, {"Authorization": "Bearer wrong"}, {"Authorization": "secret"}):
                    answer = client.get(path, headers=headers)
                    assert answer.status_code == 401
                    assert answer.json()["error"]["type"] == "authentication_error"
            assert client.get("/v1/models", headers={"Authorization": "Bearer secret"}).status_code == 200
            assert client.get("/healthz").status_code == client.get("/").status_code == 200
        client = openai.OpenAI(base_url=f"{url}/v1", api_key="secret", max_retries=0)
        assert client.images.generate(prompt="a car", response_format="b64_json").data
        with pytest.raises(openai.BadRequestError, match="b64_json only"):  # this server keeps no images
            client.images.generate(prompt="a car", response_format="url")


# -------------------------------------------------------------------------------------------------- descriptions


def test_metrics_of_a_model_begin_at_0(tiny_model):
    with running({"tiny": tiny_model}, ServeSettings()) as url, httpx.Client(base_url=url) as client:
        found = figures(client)
    for name in ("images_total", "batch_rows_total", "batch_seconds_count"):
        assert found[f'xmcgan_{name}{{model="tiny"}}'] == 0


def test_models_health_and_metrics(client):
    (model,) = client.get("/v1/models").json()["data"]
    assert model == client.get("/v1/models/tiny").json()
    assert (model["id"], model["object"], model["image_size"], model["step"]) == ("tiny", "model", 64, 6)
    assert (model["vocabulary"], model["attention"], model["max_words"]) == (False, True, 15)
    assert client.get("/healthz").json() == {"status": "ok"}
    assert client.get("/readyz").json() == {"status": "ready"}
    assert figures(client)['xmcgan_requests_total{route="/healthz",status="200"}'] >= 1


def test_the_description_shows_fields_and_errors(client):
    described = client.get("/openapi.json").json()
    operation = described["paths"][GENERATIONS]["post"]
    assert {"400", "401", "429"} <= operation["responses"].keys()
    assert "422" not in json.dumps(described)
    fields = described["components"]["schemas"]["GenerationBody"]["properties"]
    assert {"prompt", "n", "seed", "truncation", "size", "response_format", "output_format"} <= fields.keys()
    assert not re.search(r'"\$ref": "#/components/schemas/HTTP', json.dumps(described))


@pytest.mark.slow
def test_no_request_makes_the_server_fail(api):
    """schemathesis sends what the description allows and what it does not."""
    import schemathesis
    from hypothesis import HealthCheck, Phase, given, settings

    schema = schemathesis.openapi.from_url(f"{api}/openapi.json")
    seen = set()
    for result in schema.get_all_operations():
        operation = result.ok()

        @settings(max_examples=8, deadline=None, database=None, derandomize=True,
                  phases=[Phase.explicit, Phase.generate], suppress_health_check=list(HealthCheck))  # fmt: skip
        def check(case):
            answer = case.call()
            assert answer.status_code < 500
            seen.add((case.operation.path, answer.status_code))

        modes = [schemathesis.GenerationMode.POSITIVE]
        if operation.body:  # else only the path can vary: any text is valid in it, and the search for another is long
            modes.append(schemathesis.GenerationMode.NEGATIVE)
        for mode in modes:
            given(operation.as_strategy(generation_mode=mode))(check)()
    assert {path for path, _ in seen} >= {GENERATIONS, INTERPOLATIONS, "/v1/captions", "/v1/models", "/metrics"}
    assert {200, 400} <= {status for path, status in seen if path == GENERATIONS}
