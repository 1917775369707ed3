"""A model described by its pod: as OpenAPI that validators take, and as a page that runs nothing."""

import json
import re
import shlex
from html.parser import HTMLParser
from typing import Any

import httpx
import pytest
from jsonschema import Draft202012Validator
from openapi_spec_validator import validate
from starlette.applications import Starlette

from tests.unit.runtime.pod import a_matrix_model, a_pipeline
from upright.api.artifact import Signature, Tensor
from upright.runtime.artifact import ServedModel
from upright.runtime.docs import Documentation, page
from upright.runtime.openapi import document
from upright.runtime.predictor import Predictor
from upright.runtime.unread import UNREAD, Unread

NASTY = "</code><script>alert(1)</script><img src=x onerror='a()'>\"&$(touch /tmp/x)`id`"
COLUMNS = (
    Tensor(name="plan", type="BYTES"),
    Tensor(name="tenure", type="INT64"),
    Tensor(name="income", type="FP64", missing=True),
    Tensor(name="paperless", type="BOOL"),
)
ANSWERS = (Tensor(name="prediction", type="INT64"), Tensor(name="predict_proba", type="FP64", shape=(-1, 2)))


def served(inputs: tuple[Tensor, ...], example: tuple[Any, ...] | None, model: Any = None, **more: Any) -> ServedModel:
    signature = Signature(inputs=inputs, outputs=more.pop("outputs", ANSWERS))
    return ServedModel("churn", "churn-7", "scikit-learn", Predictor(model or a_pipeline(), signature), example, **more)


def a_model_of_columns() -> ServedModel:
    return served(COLUMNS, ("basic", 3, None, True))


def a_model_of_a_matrix() -> ServedModel:
    matrix = (Tensor(name="input-0", type="FP64", shape=(-1, 4)),)
    return served(matrix, (1.0, 2.0, 3.0, 4.0), a_matrix_model())


def a_model_of_little_known() -> ServedModel:
    return served((Tensor(name="a"), Tensor(name="b", missing=True)), None, object(), outputs=())


def a_model_of_nasty_names() -> ServedModel:
    return served((Tensor(name=NASTY, type="BYTES"),), (NASTY,), outputs=(Tensor(name=NASTY),))


MODELS = [a_model_of_columns, a_model_of_a_matrix, a_model_of_little_known, a_model_of_nasty_names]


def schema(of: ServedModel, name: str) -> Draft202012Validator:
    described = document(of)
    return Draft202012Validator({"$ref": f"#/components/schemas/{name}", "components": described["components"]})


@pytest.mark.parametrize("make", MODELS)
def test_every_model_is_described_as_openapi_has_it(make: Any) -> None:
    validate(json.loads(json.dumps(document(make()))))


@pytest.mark.parametrize("make", MODELS[:2])
def test_the_examples_are_as_the_schemas_say(make: Any) -> None:
    model = make()
    for path, body in ((":predict", "PredictRequest"), ("/infer", "InferRequest")):
        (operation,) = [each for name, each in document(model)["paths"].items() if name.endswith(f"churn{path}")]
        example = operation["post"]["requestBody"]["content"]["application/json"]["example"]
        assert not list(schema(model, body).iter_errors(example))


@pytest.mark.parametrize(
    ("row", "taken"),
    [
        ({"plan": "basic", "tenure": 3, "income": None, "paperless": True}, True),
        ({"plan": "basic", "tenure": 3, "paperless": True}, True),
        (["basic", 3, 1.5, False], True),
        ({"plan": "basic", "tenure": 3}, False),
        ({"plan": "basic", "tenure": 3, "paperless": True, "other": 1}, False),
        ({"plan": None, "tenure": 3, "paperless": True}, False),
        (["basic", 3, 1.5], False),
        (["basic", 3, 1.5, False, 1], False),
    ],
)
def test_rows_are_described_as_they_are_taken(row: Any, taken: bool) -> None:
    assert schema(a_model_of_columns(), "PredictRequest").is_valid({"instances": [row]}) is taken


def test_answers_are_described_with_their_classes() -> None:
    answers = schema(a_model_of_columns(), "PredictAnswer")

    assert answers.is_valid({"predictions": [0, 1]})
    assert answers.is_valid({"predictions": [[0.25, 0.75]]})
    assert not answers.is_valid({"predictions": [2]})
    assert "Of the classes [0, 1], in this order" in json.dumps(answers.schema)


class Elements(HTMLParser):
    def __init__(self, html: str) -> None:
        super().__init__()
        self.names, self.attributes, self.texts = set[str](), set[str](), list[str]()
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.names.add(tag)
        self.attributes |= {name for name, _ in attrs}

    def handle_data(self, data: str) -> None:
        self.texts.append(data)


def test_the_page_says_how_dates_are_sent_and_probabilities_asked_for() -> None:
    dated = served((Tensor(name="begun", type="BYTES", dtype="datetime64[us]"),), ("2026-11-27T00:00:00",))

    assert "BYTES: a date or time in ISO 8601" in page(dated)
    assert document(dated)["components"]["schemas"]["Row"]["oneOf"][0]["properties"]["begun"] == {
        "type": "string",
        "description": "a date or time in ISO 8601",
    }
    assert "&quot;method&quot;:&quot;predict_proba&quot;" in page(dated)
    assert "&quot;outputs&quot;:[{&quot;name&quot;:&quot;predict_proba&quot;}]" in page(dated)


def test_names_of_strangers_are_nothing_but_text() -> None:
    plain, nasty = Elements(page(a_model_of_columns())), Elements(page(a_model_of_nasty_names()))

    assert nasty.names <= plain.names
    assert nasty.attributes <= plain.attributes
    assert "script" not in nasty.names
    assert NASTY in nasty.texts


def test_the_command_to_copy_means_what_it_shows_in_a_shell() -> None:
    (command, _) = [text for text in Elements(page(a_model_of_nasty_names())).texts if text.startswith("curl ")]

    words = shlex.split(command)

    assert words[:2] == ["curl", "$URL/v1/models/churn:predict"]
    assert json.loads(words[-1]) == {"instances": [{NASTY: NASTY}]}
    assert not re.search(r"\$\(|`", re.sub(r"'[^']*'", "", command)), "nothing that a shell would run"


def test_long_commands_and_names_wrap_instead_of_running_out_of_the_page() -> None:
    (style,) = re.findall("<style>(.*)</style>", page(a_model_of_columns()))

    assert "pre{white-space:pre-wrap;" in style
    assert "h1,pre{overflow-wrap:anywhere}" in style


@pytest.mark.parametrize("make", MODELS)
async def test_a_pod_gives_both_and_lets_the_page_load_nothing(make: Any) -> None:
    pod = Starlette(routes=Documentation(make(), Unread(UNREAD)).routes())
    async with httpx.AsyncClient(transport=httpx.ASGITransport(pod), base_url="http://pod") as client:
        docs, openapi = await client.get("/docs"), await client.get("/openapi.json")

    assert openapi.json()["info"]["version"] == "churn-7"
    assert docs.headers["content-type"] == "text/html; charset=utf-8"
    assert "default-src 'none'" in docs.headers["content-security-policy"]
    assert "unsafe-inline" not in docs.headers["content-security-policy"]
    assert "churn, version churn-7" in docs.text
