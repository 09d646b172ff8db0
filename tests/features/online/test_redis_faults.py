"""The Redis store when the network or the server fails: in time, with a reason, never with a wrong answer."""

import threading
import time
from collections.abc import Iterator

import numpy as np
import pytest

from falaj import DeadlineExceeded, InternalError, InvalidInput, Unavailable, Unsupported
from falaj._core import OnlineView
from tests.features.online.fault_proxy import FaultProxy, fault_proxy
from tests.features.online.redis_server import RedisServer, redis_server
from tests.features.online.store_engine import fresh_view, opened, read, texts, times, view_in, write
from tests.features.oracle import Row, Rules

_LONG = "timeout_ms=20000"  # more than a busy machine takes
_SHORT = "timeout_ms=250"


@pytest.fixture
def proxy(redis: RedisServer) -> Iterator[FaultProxy]:
    view = fresh_view(redis.url, Rules())
    write(view, [Row(1, 1, 1, 1.0), Row(2, 1, 1, 2.0)], 1)
    with fault_proxy(redis.port) as made:
        yield made


def _view(proxy: FaultProxy, options: str = _LONG) -> OnlineView:
    """Return profile@1 through the proxy; one connection is idle then."""
    return view_in(f"redis://127.0.0.1:{proxy.port}/?{options}", Rules())


def _until_it_reads(view: OnlineView, within: float = 20.0) -> None:
    """Read until the pause between attempts is over."""
    end = time.monotonic() + within
    while True:
        try:
            assert read(view, [1, 2], 1) == [("present", 1.0), ("present", 2.0)]
            return
        except Unavailable:
            assert time.monotonic() < end


def test_connection_is_made_again_when_it_was_cut(proxy: FaultProxy) -> None:
    view = _view(proxy)
    for made in range(1, 4):
        proxy.cut()
        assert read(view, [1], 1) == [("present", 1.0)]
        assert proxy.connections == 1 + made


def test_server_that_comes_back_is_found_again(redis: RedisServer) -> None:
    with redis_server() as first:
        view = fresh_view(first.url, Rules())
        write(view, [Row(1, 1, 1, 1.0), Row(2, 1, 1, 2.0)], 1)
    with pytest.raises(Unavailable, match="cannot be reached: Connection refused"):
        read(view, [1], 1)
    with pytest.raises(Unavailable, match=r"did not answer; is tried again in \d+ ms|cannot be reached"):
        read(view, [1], 1)
    with redis_server(port=first.port):
        end = time.monotonic() + 20
        while True:  # it is another server, which knows nothing
            try:
                assert read(view, [1], 1) == [("missing", None)]
                break
            except Unavailable:
                assert time.monotonic() < end


def test_attempts_are_few_when_nobody_is_there() -> None:
    with redis_server() as server, fault_proxy(server.port) as proxy:
        view = fresh_view(f"redis://127.0.0.1:{proxy.port}/?{_LONG}", Rules())
        proxy.does(lambda answer: [])
        proxy.cut()
        refused, begin, before = 0, time.monotonic(), proxy.connections
        while refused <= 100 or time.monotonic() - begin < 0.5:
            with pytest.raises(Unavailable):
                read(view, [1], 1)
            refused += 1
        # Pauses of 5 to 10, 10 to 20, 20 to 40 ms and so on; the longest of 0.5 to 1 s.
        assert proxy.connections - before <= 10 + (time.monotonic() - begin) / 0.5


@pytest.mark.parametrize("half", [False, True])
def test_read_ends_in_time_when_no_answer_or_half_of_one_comes(proxy: FaultProxy, half: bool) -> None:
    view = _view(proxy, _SHORT)
    proxy.does(lambda answer: [answer[: len(answer) // 2] if half else b""])
    begin = time.monotonic()
    with pytest.raises(DeadlineExceeded, match=r"online store 127\.0\.0\.1:\d+: no answer within"):
        read(view, [1], 1)
    assert 0.25 <= time.monotonic() - begin < 5
    proxy.forwards()
    _until_it_reads(view)


def test_read_ends_in_time_when_an_answer_comes_drop_by_drop(proxy: FaultProxy) -> None:
    view = _view(proxy, _SHORT)
    stop = threading.Event()

    def drops(answer: bytes) -> Iterator[bytes]:
        for drop in answer:
            stop.wait(0.05)
            yield bytes([drop])

    proxy.does(drops)
    begin = time.monotonic()
    with pytest.raises(DeadlineExceeded):
        read(view, [1], 1)
    assert 0.25 <= time.monotonic() - begin < 5
    stop.set()
    proxy.forwards()
    _until_it_reads(view)


def test_read_ends_in_time_and_memory_when_an_answer_never_ends(proxy: FaultProxy) -> None:
    view = _view(proxy, "timeout_ms=20000")

    def endless(answer: bytes) -> Iterator[bytes]:
        yield b"*1\r\n$500000000\r\n"
        while True:
            yield b"x" * (1 << 20)

    proxy.does(endless)
    with pytest.raises(InternalError, match="takes more than 268435456 bytes"):
        read(view, [1], 1)
    proxy.forwards()
    _until_it_reads(view)


def test_late_answer_is_never_taken_for_another(proxy: FaultProxy) -> None:
    view = _view(proxy, _SHORT)
    release, late = threading.Event(), threading.Event()

    def hold(answer: bytes) -> list[bytes]:
        late.set()
        release.wait(20)
        return [answer]

    proxy.does(hold)
    with pytest.raises(DeadlineExceeded):
        read(view, [1], 1)
    assert late.is_set()
    proxy.forwards()
    release.set()
    for _ in range(20):
        try:
            assert read(view, [2], 1) == [("present", 2.0)]
        except Unavailable:
            continue


def test_answer_that_was_not_asked_for_is_never_taken(proxy: FaultProxy) -> None:
    view = _view(proxy)
    proxy.does(lambda answer: [answer * 2])  # another one of the same kind behind it
    with pytest.raises(InternalError, match="answered more than it was asked"):
        read(view, [1], 1)
    proxy.forwards()
    _until_it_reads(view)


def test_half_of_an_answer_is_none_when_the_connection_is_cut(proxy: FaultProxy) -> None:
    view = _view(proxy)
    begun = threading.Event()

    def half(answer: bytes) -> Iterator[bytes]:
        begun.set()
        yield answer[:-3]
        proxy.cut()

    proxy.does(half)
    with pytest.raises(Unavailable, match=r"the connection was cut|cannot be reached"):
        read(view, [1], 1)
    assert begun.is_set()
    proxy.forwards()
    _until_it_reads(view)


_ANSWERS = [
    (b"-MOVED 3999 127.0.0.1:6381\r\n", Unsupported, "is a node of a Redis Cluster, which is not supported"),
    (b"-ASK 3999 127.0.0.1:6381\r\n", Unsupported, "is a node of a Redis Cluster"),
    (b"-LOADING Redis is loading the dataset in memory\r\n", Unavailable, "the server says: LOADING"),
    (b"-NOPERM no permissions\r\n", InvalidInput, "the server says: NOPERM"),
    (b"-ERR " + b"x" * 5000 + b"\r\n", InternalError, "the server says: ERR x+$"),
    (b":7\r\n", InternalError, "not one to what it was asked"),
    (b"$-1\r\n", InternalError, "not one to what it was asked"),
    (b"+OK\r\n", InternalError, "not one to what it was asked"),
    (b"*0\r\n", InternalError, "not one to what it was asked"),
    (b"*-1\r\n", InternalError, "not one to what it was asked"),
    (b"*2\r\n$-1\r\n$-1\r\n", InternalError, "not one to what it was asked"),
    (b"*1\r\n:7\r\n", InternalError, "not one to what it was asked"),
    (b"*1\r\n*1\r\n$-1\r\n", InternalError, "not one to what it was asked"),
    (b"*1\r\n*1000000\r\n", DeadlineExceeded, "no answer within"),
    (b"*1\r\n$3\r\nabc\r\n", InternalError, "profile@1: a stored entity is damaged"),
    (b"*1\r\n$0\r\n\r\n", InternalError, "profile@1: a stored entity is damaged"),
    (b"*1\r\n$4\r\n\xff\xff\xff\xff\r\n", InternalError, "profile@1: a stored entity is damaged"),
    (b"*1\r\n" * 20 + b"$-1\r\n", InternalError, "the server's answer: "),
    (b"HTTP/1.1 400 Bad Request\r\n\r\n", InternalError, "the server's answer: Protocol error"),
    (b"$99999999999999999999\r\n", InternalError, "the server's answer: "),
    (b"*99999999999\r\n", InternalError, "the server's answer: "),
]


@pytest.mark.parametrize(("answer", "error", "why"), _ANSWERS, ids=[repr(each[0][:20]) for each in _ANSWERS])
def test_answer_that_cannot_be_is_an_error_with_a_reason(
    proxy: FaultProxy, answer: bytes, error: type[Exception], why: str
) -> None:
    view = _view(proxy, "timeout_ms=500" if error is DeadlineExceeded else _LONG)
    proxy.does(lambda _: [answer])
    with pytest.raises(error, match=why):
        read(view, [1], 1)
    proxy.forwards()
    _until_it_reads(view)


def test_write_is_whole_or_not_at_all_wherever_its_connection_is_cut(redis: RedisServer) -> None:
    keys = range(3000)  # several commands to read and to write

    def rows(turn: int) -> list[Row]:
        return [Row(key, turn, turn, float(turn)) for key in keys]

    sound = fresh_view(redis.url, Rules())
    write(sound, rows(0), 0, b"0")
    cuts = 0
    with fault_proxy(redis.port) as proxy:
        for turn in range(1, 100):
            proxy.forwards()
            view = _view(proxy)
            answers = iter(range(1, 1000))
            proxy.does(lambda answer, last=turn, count=answers: [answer] if next(count) < last else [])
            try:
                write(view, rows(turn), turn, str(turn).encode())
            except Unavailable:
                cuts += 1
                before, cursor = None, sound.cursor()
                while cursor != before:  # what nobody waits for may be written still
                    (found,) = set(read(sound, keys, 1 << 40))
                    before, cursor = cursor, sound.cursor()
                assert cursor is not None
                assert found == ("present", float(cursor))
                continue
            assert sound.cursor() == str(turn).encode()
            assert set(read(sound, keys, 1 << 40)) == {("present", float(turn))}
            break
    assert cuts >= 5  # the last was not cut at all


def test_rows_of_many_writers_are_all_there(redis: RedisServer) -> None:
    fresh_view(redis.url, Rules(), "shared")
    failures: list[BaseException] = []

    def work(number: int) -> None:
        try:
            view = view_in(redis.url, Rules(), "shared")
            for turn in range(25):
                write(
                    view, [Row(0, turn, turn, 0.5, sequence=number), Row(number * 100 + turn, 1, 1, 1.0)], 0
                )
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(1, 5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    view = view_in(redis.url, Rules(), "shared")
    assert view.entities() == 1 + 4 * 25
    keys = [number * 100 + turn for number in range(1, 5) for turn in range(25)]
    assert read(view, keys, 1) == [("present", 1.0)] * 100


def test_long_write_comes_to_its_end_beside_many_short_ones(redis: RedisServer) -> None:
    long = fresh_view(redis.url, Rules(), "busy")
    done, failures, short = threading.Event(), list[BaseException](), [0, 0]

    def work(number: int) -> None:
        try:
            view = view_in(redis.url, Rules(), "busy")
            while not done.is_set():
                write(view, [Row(-1 - number - 2 * short[number], 1, 1, 1.0)], 0)
                short[number] += 1
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(2)]
    for thread in threads:
        thread.start()
    try:
        assert write(long, [Row(key, 1, 1, 1.0) for key in range(20_000)], 0) == 20_000
    finally:
        done.set()
        for thread in threads:
            thread.join()
    assert failures == []
    assert long.entities() == 20_000 + sum(short)
    assert redis.ask("EXISTS", "falaj:{busy@1}:turn") == b":0\r\n"


def test_reads_of_many_threads_are_their_own_while_connections_are_cut(proxy: FaultProxy) -> None:
    view = _view(proxy)
    wrong: list[object] = []
    answered = [0, 0]
    done = threading.Event()

    def work(key: int) -> None:
        while not done.is_set():
            try:
                if read(view, [key], 1) != [("present", float(key))]:
                    wrong.append(key)
                answered[key - 1] += 1
            except Unavailable:
                continue

    threads = [threading.Thread(target=work, args=(key,)) for key in (1, 2, 1, 2)]
    for thread in threads:
        thread.start()
    for _ in range(20):
        seen = sum(answered)
        while sum(answered) < seen + 20:
            done.wait(0.001)
        proxy.cut()
    done.set()
    for thread in threads:
        thread.join()
    assert wrong == []
    assert min(answered) > 0


def test_key_of_another_type_is_an_error(redis: RedisServer) -> None:
    view = fresh_view(redis.url, Rules(), "typed")
    write(view, [Row(1, 1, 1, 1.0)], 1)
    rows = next(
        key for key in redis.ask("KEYS", "falaj:{typed@1}:rows:*").split() if key.startswith(b"falaj")
    )
    redis.ask("DEL", rows)
    redis.ask("SET", rows, "text")
    for ask in (lambda: read(view, [1], 1), view.entities, lambda: write(view, [Row(1, 1, 1, 1.0)], 1)):
        with pytest.raises(InternalError, match="the server says: WRONGTYPE"):
            ask()
    redis.ask("DEL", rows)


@pytest.mark.parametrize("name", ["", "@", "x", "x@", "x@y", "x@1y", "x@99999999999"])
def test_list_of_views_that_another_program_wrote_into_is_an_error(redis: RedisServer, name: str) -> None:
    redis.ask("SADD", "falaj:views", name)
    with pytest.raises(InternalError, match="online store: the server's answer is not one"):
        opened(redis.url).views()
    redis.ask("SREM", "falaj:views", name)
    assert ("x", 1) not in opened(redis.url).views()


def test_view_that_was_made_again_otherwise_is_not_read_by_who_has_the_old_one(redis: RedisServer) -> None:
    old = opened(redis.url).open_view("remade", 1, "a", [("k", "INT64")], [("v", "FP64")], 0, None)
    old.write([np.array([1])], *times(1), [np.array([1.0])], [None], 0, None)
    opened(redis.url).drop_view("remade", 1)
    new = opened(redis.url).open_view("remade", 1, "b", [("k", "INT64")], [("v", "INT64")], 0, None)
    new.write([np.array([1])], *times(1), [np.array([7])], [None], 0, None)
    assert old.read([np.array([1])], 0)[0].tolist() == [0]
    assert old.entities() == 0
    with pytest.raises(InvalidInput, match="is stored with 'definition b', got 'definition a'"):
        old.write([np.array([1])], *times(1), [np.array([1.0])], [None], 0, None)
    assert new.read([np.array([1])], 0)[1][0].tolist() == [7]


def test_large_values_and_many_entities_come_back(redis: RedisServer) -> None:
    view = opened(redis.url).open_view("large", 1, "h", [("k", "INT64")], [("v", "BYTES")], 0, None)
    long = "x" * (8 << 20)
    assert view.write([np.array([1])], *times(1), [texts(long)], [None], 0, None) == 1
    assert view.read([np.array([1])], 0)[1][0][0] == long
    many = np.arange(10_000)
    values = texts(*map(str, many))
    assert view.write([many], *times(10_000), [values], [None], 0, None) == 9_999  # 1 has a longer text
    found = view.read([many], 0)[1][0].tolist()
    assert found == values.tolist() or found[1] == long
    with pytest.raises(InvalidInput, match="at most 1000000 entities at once, got 1000001"):
        view.read([np.arange(1_000_001)], 0)
    assert view.read([np.arange(0)], 0)[0].tolist() == []
