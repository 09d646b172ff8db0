"""Clients of shared memory that do harm: nothing ends the server, and nobody else notices anything."""

import json
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.server.serving_process import Serving
from tests.wire.shared_file import PREFIX, SharedFile, infer, place, register, tensor, unregister
from tests.wire.sharing import FLAGS, add_models, wide

pytestmark = pytest.mark.core

ROOM = 4096
_TURNS = 60
_BROKEN, _MOST = 5, 5000  # batches in which a file was cut, and requests until then


@pytest.fixture(scope="module", params=["", "1"], ids=["plain", "faulthandler"])
def server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serving]:
    """A server that no test ends. Python's faulthandler, where it is on, handles the same signal."""
    folder = tmp_path_factory.mktemp("hostile")
    add_models(folder / "models")
    settings = ("max_regions=20", f"max_bytes={64 << 20}", f"max_copied_bytes={1 << 20}")
    bounds = [part for text in settings for part in ("--set", f"shared_memory.{text}")]
    env = {"PYTHONFAULTHANDLER": request.param} if request.param else {}
    with Serving(folder, *FLAGS, *bounds, env=env) as server:
        yield server
        assert not server.has_ended()
        assert server.is_ready()
        assert {event["level"] for event in server.events()} <= {"info"}
        assert "Fatal Python error" not in server.output()


@pytest.fixture
def file(server: Serving) -> Iterator[SharedFile]:
    with SharedFile(ROOM) as file:
        yield file
        unregister(server)


def _sum_of(region: str, size: int = 24, offset: int | None = None) -> dict[str, Any]:
    return {"inputs": [tensor(name, "FP32", (2, 3), place(region, size, offset)) for name in "ab"]}


def _refused(answer: tuple[int, dict[str, Any]], text: str) -> None:
    status, told = answer
    assert (status, text in told["error"]) == (400, True), told


@contextmanager
def _neighbours(server: Serving) -> Iterator[None]:
    """Others, with files of their own and without, who are answered rightly all the while."""
    stop = threading.Event()
    faults: list[Any] = []

    def ask(seed: int) -> None:
        x = wide(1, seed)
        with SharedFile(2 * x.nbytes) as own:
            name = f"neighbour{seed}"
            faults.extend(filter(None, [register(server, name, own.key, 2 * x.nbytes)[1]]))
            own.put(x)
            request = {
                "inputs": [tensor("x", "FP32", x.shape, place(name, x.nbytes))],
                "outputs": [{"name": "y", "parameters": place(name, x.nbytes, x.nbytes)}, {"name": "top"}],
            }
            while not stop.is_set():
                own.put(bytes(64), x.nbytes)
                status, answer = infer(server, "large", request)
                right = status == 200 and answer["outputs"][1]["data"] == [int(x.argmax())]
                if not right or (own.array(np.float32, x.shape, x.nbytes) != -x).any():
                    faults.append(answer)
            unregister(server, name)

    threads = [threading.Thread(target=ask, args=(seed,)) for seed in range(2)]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    assert not faults, faults[:3]


@pytest.mark.parametrize(
    "key",
    [
        "", "/", "/..", "/../etc/passwd", f"/{PREFIX}/../{PREFIX}x", f"{PREFIX}x/y", "/etc/passwd",
        f"/{PREFIX}\u0000", f"/.{PREFIX}", f"/{PREFIX}{'x' * 300}", f"/{PREFIX}x\n", "/psm_1234", "/sem.x",
    ],
)  # fmt: skip
def test_key_is_refused_when_it_is_not_of_the_prefix(server: Serving, key: str) -> None:
    status, error = register(server, "r", key, 10)
    assert (status, "expected a key" in error) == (400, True), error


def test_file_is_refused_when_it_is_none_of_shared_memory(server: Serving, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_bytes(b"secret")
    path = Path("/dev/shm") / f"{PREFIX}{os.getpid()}_trap"
    for make in (lambda: path.symlink_to(secret), path.mkdir, lambda: os.mkfifo(path)):
        make()
        try:
            status, error = register(server, "r", path.name, 6)
            assert (status, "hared memory region" in error) == (400, True), error
        finally:
            path.rmdir() if path.is_dir() and not path.is_symlink() else path.unlink()
    status, error = register(server, "r", path.name, 6)
    assert (status, "Unable to open" in error) == (404, True)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file to another user")
def test_file_is_refused_when_it_belongs_to_somebody_else(server: Serving, file: SharedFile) -> None:
    os.chown(file.path, 4242, 4242)
    status, error = register(server, "r", file.key, 10)
    assert (status, "belongs to user 4242" in error) == (400, True)


@pytest.mark.parametrize(
    ("size", "offset"),
    [(0, 0), (ROOM + 1, 0), (1, ROOM), (2**63 - 1, 2**63 - 1), (-1, 0), (1, -1), (2**70, 0)],
)
def test_region_is_refused_when_the_file_does_not_have_it(
    server: Serving, file: SharedFile, size: int, offset: int
) -> None:
    status, error = register(server, "r", file.key, size, offset)
    assert status in (400, 503), error
    assert server.ask("GET", "/v2/systemsharedmemory/status")[2] == b"[]"


@pytest.mark.parametrize(
    ("size", "offset"),
    [(24, ROOM), (24, ROOM - 23), (ROOM + 1, 0), (2**63 - 1, 1), (24, 2**63 - 1), (23, 0), (25, 0), (0, 0)],
)
def test_place_is_refused_when_it_is_not_the_tensors(
    server: Serving, file: SharedFile, size: int, offset: int
) -> None:
    register(server, "r", file.key, ROOM)
    status, answer = infer(server, "elementwise_fp32", _sum_of("r", size, offset))
    assert (status, "shared" in answer["error"]) == (400, True), answer


def test_region_is_refused_when_nobody_registered_it(server: Serving) -> None:
    _refused(
        infer(server, "elementwise_fp32", _sum_of("nobody")), "Unable to find shared memory region: 'nobody'"
    )


def test_name_is_refused_when_it_is_taken(server: Serving, file: SharedFile) -> None:
    assert register(server, "r", file.key, ROOM)[0] == 200
    assert register(server, "r", file.key, 10) == (400, "shared memory region 'r' already in manager")


def test_regions_are_bounded_when_a_client_registers_without_end(server: Serving, file: SharedFile) -> None:
    answers = [register(server, f"r{i}", file.key, ROOM) for i in range(30)]
    assert [status for status, _ in answers] == [200] * 20 + [503] * 10
    unregister(server)
    with SharedFile(1 << 40) as huge:  # without content: the file system has no such room
        assert register(server, "r", huge.key, 1 << 40)[0] == 503
    assert register(server, "r", file.key, ROOM)[0] == 200


def test_copies_are_bounded_when_a_small_request_asks_for_a_large_one(server: Serving) -> None:
    with SharedFile(8 << 20) as file:
        register(server, "large", file.key, 8 << 20)
        text = tensor("text", "BYTES", (1, 3), place("large", 8 << 20))
        status, answer = infer(server, "tokens", {"inputs": [text]})
        assert (status, "max_copied_bytes" in answer["error"]) == (503, True)
        text = tensor("text", "BYTES", (1, 3), place("large", 12))
        assert infer(server, "tokens", {"inputs": [text]})[0] == 200
        unregister(server)


def test_request_is_refused_when_the_file_was_cut_before(server: Serving, file: SharedFile) -> None:
    register(server, "r", file.key, ROOM)
    assert infer(server, "elementwise_fp32", _sum_of("r"))[0] == 200
    file.cut(20)
    _refused(infer(server, "elementwise_fp32", _sum_of("r")), "was cut shorter")
    request = {**_sum_of("r", 24, 0), "outputs": [{"name": "y", "parameters": place("r", 24, 1000)}]}
    _refused(infer(server, "elementwise_fp32", request), "was cut shorter")
    file.cut(ROOM)
    assert infer(server, "elementwise_fp32", _sum_of("r"))[0] == 200  # nobody touched what was missing


def test_server_and_neighbours_go_on_when_files_are_cut_during_batches(server: Serving) -> None:
    x = wide(8)
    size = x.nbytes
    told: list[tuple[int, dict[str, Any]]] = []
    with _neighbours(server), SharedFile(2 * size) as file:
        done = threading.Event()

        def cut() -> None:
            while not done.is_set():
                for length in (0, 2 * size, size // 2, 2 * size):
                    file.cut(length)

        cutter = threading.Thread(target=cut)
        cutter.start()
        request = {
            "inputs": [tensor("x", "FP32", x.shape, place("victim", size))],
            "outputs": [{"name": "y", "parameters": place("victim", size, size)}],
        }
        try:
            broken = 0
            while broken < _BROKEN and len(told) < _MOST:
                register(server, "victim", file.key, 2 * size)  # which fails where it is there, or cut
                told.append(infer(server, "large", request))
                if "not used any more" in told[-1][1].get("error", ""):
                    unregister(server, "victim")
                    broken += 1
        finally:
            done.set()
            cutter.join()
        unregister(server, "victim")
    assert {status for status, _ in told} <= {200, 400}
    assert broken == _BROKEN, told[-5:]


def test_answers_are_of_one_file_or_the_other_when_names_change_hands(server: Serving) -> None:
    ones, twos = np.full((2, 3), 1, np.float32), np.full((2, 3), 2, np.float32)
    with _neighbours(server), SharedFile(ROOM) as first, SharedFile(ROOM) as second:
        first.put(ones)
        second.put(twos)
        done = threading.Event()

        def swap() -> None:
            while not done.is_set():
                for file in (first, second):
                    unregister(server, "r")
                    register(server, "r", file.key, ROOM)

        swapper = threading.Thread(target=swap)
        swapper.start()
        try:
            for _ in range(_TURNS):
                status, answer = infer(server, "elementwise_fp32", _sum_of("r"))
                if status == 400:
                    assert "Unable to find" in answer["error"]
                else:
                    values = answer["outputs"][0]["data"]
                    assert set(values) <= {2.0, 3.0, 4.0}, values  # each input found its region by itself
        finally:
            done.set()
            swapper.join()
        unregister(server, "r")


def test_answer_is_none_when_its_place_is_too_small(server: Serving, file: SharedFile) -> None:
    register(server, "r", file.key, 32)
    file.put(b"untouched", 20)
    request = {**_sum_of("r", 24, 0), "outputs": [{"name": "y", "parameters": place("r", 12, 20)}]}
    answer = infer(server, "elementwise_fp32", request)
    _refused(answer, "'y' (12 bytes) should be at least 24 bytes to hold the results")
    assert file.raw(20, 20) == b"untouched" + bytes(11)


def test_nothing_is_served_when_it_is_not_allowed(tmp_path: Path) -> None:
    add_models(tmp_path / "models")
    with Serving(tmp_path) as server, SharedFile(ROOM) as file:
        status, error = register(server, "r", file.key, ROOM)
        assert (status, "--allow-shared-memory" in error) == (501, True)
        status, answer = infer(server, "elementwise_fp32", _sum_of("r"))
        assert (status, "--allow-shared-memory" in answer["error"]) == (501, True)
        extensions = json.loads(server.ask("GET", "/v2")[2])["extensions"]
        assert "system_shared_memory" not in extensions
