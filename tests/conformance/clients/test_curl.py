"""curl."""

import gzip
import json
import subprocess
from pathlib import Path
from urllib.parse import quote

import numpy as np
import pytest

from tests.conformance.repository import AWKWARD_NAME, IDENTITY
from tests.conformance.target import Target, falaj_serve
from tests.conformance.tensors import binary_request, described, in_json

_X = np.array([[1, 2], [3, 4]], np.float32)
_JSON = json.dumps({"inputs": [in_json("x", "FP32", _X)]})


def curl(*arguments: str, sent: bytes = b"") -> bytes:
    """What it writes; it has to end well."""
    command = ["curl", "--silent", "--show-error", "--max-time", "60", *arguments]
    ran = subprocess.run(command, input=sent, capture_output=True, timeout=90, check=False)
    assert ran.returncode == 0, ran.stderr
    return ran.stdout


def infer_url(target: Target, model: str = "versions") -> str:
    return f"http://{target.http}/v2/models/{quote(model, safe='')}/infer"


def told_data(answer: bytes) -> list[float]:
    (output,) = json.loads(answer)["outputs"]
    data: list[float] = output["data"]
    return data


def test_answer_comes_when_a_row_is_typed_on_the_command_line(target: Target) -> None:
    # --data says application/x-www-form-urlencoded, as everybody forgets to say otherwise.
    assert told_data(curl("--data", _JSON, infer_url(target))) == [3, 6, 9, 12]
    answer = curl(
        "--header", "Content-Type: application/json", "--data", _JSON, infer_url(target, AWKWARD_NAME)
    )
    assert told_data(answer) == [7, 14, 21, 28]


def test_answers_come_over_one_connection_when_several_are_asked(target: Target) -> None:
    url = infer_url(target)
    written = curl("--data", _JSON, "--write-out", "\n%{num_connects}\n", url, url, url).split(b"\n")
    answers, connects = written[0::2], written[1::2]
    assert [told_data(answer) for answer in answers[:3]] == [[3, 6, 9, 12]] * 3
    assert [int(number) for number in connects if number] == [1, 0, 0]


def test_body_is_asked_for_first_when_curl_expects_to_be_told(target: Target, tmp_path: Path) -> None:
    x = np.arange(1 << 20, dtype=np.float32).reshape(1, -1)
    body, fields = binary_request(
        {"inputs": [described("x", "FP32", x.shape, parameters={"binary_data_size": x.nbytes})],
         "parameters": {"binary_data_output": True}},
        x.tobytes(),
    )  # fmt: skip
    (tmp_path / "body").write_bytes(body)
    headers = [part for name, value in fields.items() for part in ("--header", f"{name}: {value}")]
    more = ("--header", "Expect: 100-continue", "--dump-header", str(tmp_path / "head"))
    answer = curl(
        *headers, *more, "--data-binary", f"@{tmp_path / 'body'}", infer_url(target, IDENTITY["FP32"])
    )
    assert answer.endswith(x.tobytes())
    assert (tmp_path / "head").read_bytes().startswith(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\n")


def test_body_is_read_when_it_comes_in_chunks(target: Target) -> None:
    answer = curl(
        "--header",
        "Transfer-Encoding: chunked",
        "--data-binary",
        "@-",
        infer_url(target),
        sent=_JSON.encode(),
    )
    assert told_data(answer) == [3, 6, 9, 12]


def test_answer_is_compressed_when_curl_takes_it_so(target: Target) -> None:
    x = np.arange(2000, dtype=np.float32).reshape(-1, 2)  # enough to be worth compressing
    asked = json.dumps({"inputs": [in_json("x", "FP32", x)]}).encode()
    once = ("--data-binary", "@-", infer_url(target))
    compressed = curl("--header", "Accept-Encoding: gzip", *once, sent=asked)
    assert told_data(gzip.decompress(compressed)) == (3 * x).reshape(-1).tolist()
    assert told_data(curl("--compressed", *once, sent=asked)) == (3 * x).reshape(-1).tolist()


def test_compressed_body_is_read_when_curl_says_so(target: Target) -> None:
    sent = gzip.compress(_JSON.encode())
    answer = curl("--header", "Content-Encoding: gzip", "--data-binary", "@-", infer_url(target), sent=sent)
    assert told_data(answer) == [3, 6, 9, 12]


@pytest.mark.parametrize(
    "path", ["/v2", "/v2/health/ready", "/v2/models/classifier", "/v2/models/classifier/stats"]
)
def test_head_is_told_without_a_body_when_curl_asks_for_it(target: Target, path: str) -> None:
    head = curl("--head", f"http://{target.http}{path}")
    assert head.startswith(b"HTTP/1.1 200 OK\r\n")
    assert head.endswith(b"\r\n\r\n")


def test_error_is_json_with_its_status_when_the_request_is_bad(target: Target) -> None:
    answer = curl("--data", "{", "--write-out", "\n%{http_code}", infer_url(target))
    body, _, status = answer.rpartition(b"\n")
    assert status == b"400"
    assert set(json.loads(body)) == {"error"}


def test_upgrade_to_http2_is_passed_over_when_curl_offers_it(target: Target) -> None:
    assert told_data(curl("--http2", "--data", _JSON, infer_url(target))) == [3, 6, 9, 12]


def test_oldest_version_is_answered_when_curl_speaks_it(target: Target) -> None:
    assert told_data(curl("--http1.0", "--data", _JSON, infer_url(target))) == [3, 6, 9, 12]


@pytest.mark.own_server
@pytest.mark.falaj_only("Triton does not listen on a path")
def test_answer_comes_when_curl_asks_by_a_unix_socket(repository_folder: Path, tmp_path: Path) -> None:
    path = tmp_path / "falaj.sock"
    with falaj_serve(tmp_path, repository_folder, "--set", f"server.unix_socket={path}"):
        answer = curl("--unix-socket", str(path), "--data", _JSON, "http://falaj/v2/models/versions/infer")
        assert told_data(answer) == [3, 6, 9, 12]
