"""Public names of URLs: no secret in them, one per video, whatever signs the URL."""

from __future__ import annotations

from urllib.parse import urlencode

import pytest
from hypothesis import given, strategies as st

from shoal.model.job import JobSpec
from shoal.model.source_url import has_secrets, path_of, public_name

URL = "https://cdn.example.com/a/match%201.mp4"
SIGNATURES = {
    "S3": "X-Amz-Algorithm=AWS4&X-Amz-Credential=AKIA%2F1&X-Amz-Date=1&X-Amz-Expires=60&"
    "X-Amz-SignedHeaders=host&X-Amz-Security-Token=t0k&X-Amz-Signature=s3cret",
    "S3 v2": "AWSAccessKeyId=AKIA&Expires=17&Signature=s3cret",
    "Google": "X-Goog-Algorithm=G&X-Goog-Credential=c&X-Goog-Date=1&X-Goog-Signature=s3cret",
    "Google v2": "GoogleAccessId=me%40x&Expires=17&Signature=s3cret",
    "Azure": "sv=2024-11-04&st=1&se=2&sr=b&sp=r&spr=https&sip=1.2.3.4&sig=s3cret%3D",
    "Azure, of a user": "skoid=1&sktid=2&skt=3&ske=4&sks=b&skv=5&sv=6&sr=b&sp=r&se=7&sig=s3cret",
    "CloudFront": "Expires=17&Signature=s3cret&Key-Pair-Id=K1",
    "CloudFront, with a policy": "Policy=eyJ&Signature=s3cret&Key-Pair-Id=K1",
}


@pytest.mark.parametrize("query", SIGNATURES.values(), ids=SIGNATURES)
def test_a_signature_is_no_part_of_the_name(query: str) -> None:
    assert public_name(f"{URL}?{query}") == URL
    assert public_name(f"{URL}?{query.replace('s3cret', 'other').replace('17', '18')}") == URL
    assert public_name(f"{URL}?v=1&{query}") == public_name(f"{URL}?{query}&v=1")
    assert public_name(f"{URL}?v=1&{query}") != public_name(f"{URL}?v=2&{query}")
    assert has_secrets(f"{URL}?{query}")


def test_expires_alone_signs_nothing() -> None:
    assert public_name(f"{URL}?Expires=17") != public_name(f"{URL}?Expires=18")


NAMES = st.text(min_size=1, max_size=20)
SECRETS = st.text("abcdef0123456789", min_size=24, max_size=40)


@given(name=NAMES, secret=SECRETS, user=st.booleans(), scheme=st.sampled_from(["https", "HTTP"]))
def test_no_value_of_a_query_user_or_fragment_is_shown(
    name: str, secret: str, user: bool, scheme: str
) -> None:
    query = urlencode({name: secret}, errors="surrogatepass")
    at = f"{secret}:{secret}@" if user else ""
    shown = public_name(f"{scheme}://{at}Example.com/a.mp4?{query}#{secret}")
    assert secret not in shown
    assert shown.startswith(f"{scheme.lower()}://example.com/a.mp4?query=")
    assert public_name(f"{scheme}://{secret}?{name}") != f"{scheme}://{secret}?{name}"


@given(st.text(max_size=60))
def test_any_text_has_a_name(text: str) -> None:
    for url in (text, f"https:{text}", f"https://{text}", f"https://h/{text}"):
        name = public_name(url)
        assert public_name(url) == name
        path_of(name)


def spec(uri: str) -> JobSpec:
    return JobSpec(uri=uri, version="1", size=1, prompts=("car",), results="file:///r")


@pytest.mark.parametrize(
    ("path", "stem"),
    [
        ("a/match%201.mp4", "match 1"),
        ("a/b%2F..%2Fc.mp4", "b%2F..%2Fc"),
        ("a/%00.mp4", "%00"),
        ("a/%ff.mp4", "%ff"),
        ("a/..", "."),
        ("download", "download"),
        ("download/", "download"),
        ("", "cdn.example"),
    ],
)
def test_results_are_called_after_the_file(path: str, stem: str) -> None:
    name = public_name(f"https://cdn.example.com/{path}?id=a.b")
    assert spec(name).stem == stem
