"""Whatever is sent, no answer is an error of the server: fuzzed along the OpenAPI document."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, settings as effort
from hypothesis.internal.conjecture import providers
from hypothesis.internal.constants_ast import Constants
from pydantic import SecretStr
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from api.app import create_app
from shoal.settings import Settings
from tests.events import ACCOUNT, AUDIENCE, TOPIC, Internet, Signer
from tests.serving import served

CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
]
TOKEN = "the-token-that-fuzzes"


@pytest.fixture(scope="module")
def fuzzed(valkey_url: str, tmp_path_factory: pytest.TempPathFactory) -> Settings:
    folder = tmp_path_factory.mktemp("fuzz")
    rules = folder / "rules.toml"
    rules.write_text('[[rule]]\nbucket = "s3://matches"\nprompts = ["car"]\n')
    return Settings(
        redis_url=valkey_url,
        queue="fuzz",
        data_dir=folder / "data",
        api_port=0,
        rules=rules,
        sweep_s=0,
        api_tokens=(SecretStr(TOKEN),),
        event_tokens=(SecretStr(TOKEN),),
        gcs_audience=AUDIENCE,
        gcs_senders=(ACCOUNT,),
        sns_topics=(TOPIC,),
        callback_secret=(SecretStr("whsec_" + "QUJDRA" * 6),),
    )


@pytest.fixture(scope="module", autouse=True)
def inputs_are_the_same_every_time() -> Iterator[None]:
    """Hypothesis also tries what it reads in the modules of ours that are loaded, which depends on
    the tests that ran before in this process."""
    with pytest.MonkeyPatch.context() as patch:
        none = Constants()
        patch.setattr(providers, "_get_local_constants", lambda: none)
        yield


@pytest.fixture(scope="module")
def fuzzed_url(fuzzed: Settings) -> Iterator[str]:
    with served(fuzzed, transport=Internet(Signer()).transport()) as url:
        yield url


schemathesis.serializer.alias("application/offset+octet-stream", "application/octet-stream")
schema = schemathesis.openapi.from_dict(create_app(Settings()).openapi())


@schema.parametrize()
@effort(
    max_examples=15,
    deadline=None,
    derandomize=True,
    suppress_health_check=list(HealthCheck),
)
def test_no_input_is_an_error_of_the_server(case: schemathesis.Case[Any], fuzzed_url: str) -> None:
    headers = {"authorization": f"Bearer {TOKEN}"}
    case.call_and_validate(checks=CHECKS, headers=headers, base_url=fuzzed_url, timeout=30)
