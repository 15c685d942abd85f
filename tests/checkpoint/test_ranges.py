"""Byte ranges from a Hub that breaks off, redirects, limits, moves and lies: the right bytes or an error."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch

from dami_merge.checkpoint import ranges
from dami_merge.checkpoint.folder import Checkpoint
from dami_merge.checkpoint.source import open_source
from dami_merge.errors import HubError
from tests.checkpoints import write_checkpoint
from tests.hub_server import Hub

NAME = "org/toy"
FILE = "model.safetensors"


@pytest.fixture
def content(hub: Hub, tmp_path: Path) -> bytes:
    """The weight file of the repository `NAME`, some 400 kB."""
    weights = torch.randn(100_000, generator=torch.Generator().manual_seed(0))
    folder = write_checkpoint(tmp_path / "made", {"weight": weights})
    hub.add(NAME, folder)
    return (folder / FILE).read_bytes()


def part(checkpoint: Checkpoint, start: int, count: int) -> bytes:
    assert checkpoint.remote_part is not None
    buffer = bytearray(count)
    checkpoint.remote_part(FILE, start, memoryview(buffer), threading.Event())
    return bytes(buffer)


def opened(hub: Hub) -> Checkpoint:
    """The checkpoint, its header read; the log begins after it."""
    checkpoint = open_source(NAME)
    hub.log.clear()
    return checkpoint


@pytest.mark.parametrize("redirects", [False, True])
def test_a_part_is_read_in_one_request_and_not_a_byte_more(hub: Hub, content: bytes, redirects: bool) -> None:
    hub.redirects = redirects
    checkpoint = opened(hub)
    assert part(checkpoint, 1000, 200_000) == content[1000:201_000]
    (request,) = hub.log
    assert (request.range, request.sent_bytes) == ("bytes=1000-200999", 200_000)


def test_threads_read_different_parts_of_one_file(hub: Hub, content: bytes) -> None:
    hub.redirects = True
    hub.cuts = 5
    hub.signature_uses = 7
    checkpoint = opened(hub)
    with ThreadPoolExecutor(8) as pool:
        for start, found in enumerate(pool.map(lambda i: part(checkpoint, i * 9973, 9973), range(40))):
            assert found == content[start * 9973 : (start + 1) * 9973]


def test_a_connection_cut_half_way_goes_on_at_the_byte_where_it_stopped(hub: Hub, content: bytes) -> None:
    checkpoint = opened(hub)
    hub.cuts = 3
    assert part(checkpoint, 0, 80_000) == content[:80_000]
    starts = [int(request.range.removeprefix("bytes=").partition("-")[0]) for request in hub.log]
    assert starts == [0, 40_000, 60_000, 70_000]


def test_a_connection_that_is_always_cut_is_given_up_after_bounded_attempts(hub: Hub, content: bytes) -> None:
    checkpoint = opened(hub)
    hub.cut = True
    with pytest.raises(HubError, match=rf"{FILE} could not be read in 6 attempts: .*closed") as refused:
        part(checkpoint, 0, 1000)
    assert "--download" in refused.value.hint
    assert [request.range for request in hub.log] == ["bytes=0-999"] + ["bytes=999-999"] * ranges.ATTEMPTS


@pytest.mark.parametrize("status", [429, 500, 502, 503, 504])
def test_a_server_in_trouble_is_asked_again(hub: Hub, content: bytes, status: int) -> None:
    checkpoint = opened(hub)
    hub.faults = [(status, {})] * 3
    assert part(checkpoint, 10, 1000) == content[10:1010]
    assert [request.status for request in hub.log] == [status] * 3 + [206]


def test_a_server_that_stays_in_trouble_is_named_with_its_last_answer(hub: Hub, content: bytes) -> None:
    hub.redirects = True
    checkpoint = opened(hub)
    hub.faults = [(503, {})] * 100
    with pytest.raises(HubError, match=r"in 6 attempts: localhost answered 503$"):
        part(checkpoint, 0, 10)
    assert len(hub.log) == ranges.ATTEMPTS


@pytest.mark.parametrize(
    "headers", [{"Retry-After": "1"}, {"ratelimit": '"resolvers";r=0;t=1', "Retry-After": "0"}]
)
def test_as_long_is_waited_as_the_hub_asks_for(hub: Hub, content: bytes, headers: dict[str, str]) -> None:
    checkpoint = opened(hub)
    hub.faults = [(429, headers)]
    assert part(checkpoint, 0, 10) == content[:10]
    limited, served = hub.log
    assert served.at_s - limited.at_s >= 1


def test_a_date_to_wait_for_is_understood(hub: Hub, content: bytes) -> None:
    checkpoint = opened(hub)
    date = time.strftime("%a, %d %b %Y %H:%M:%S GMT", time.gmtime(time.time() + 3600))
    hub.faults = [(429, {"Retry-After": date})]
    with pytest.raises(HubError, match=r"answered 429 and asks to wait 3[56]\d\d s"):
        part(checkpoint, 0, 10)


def test_a_wait_beyond_reason_is_an_error_at_once(hub: Hub, content: bytes) -> None:
    checkpoint = opened(hub)
    hub.faults = [(429, {"Retry-After": "3600"})]
    with pytest.raises(HubError, match=r"127\.0\.0\.1 answered 429 and asks to wait 3600 s") as refused:
        part(checkpoint, 0, 10)
    assert "hf auth login" in refused.value.hint
    assert len(hub.log) == 1


@pytest.mark.parametrize(
    ("status", "code", "message", "hint"),
    [
        (403, "GatedRepo", "org/toy is gated", "accept the terms"),
        (
            401,
            "RepoNotFound",
            "org/toy is neither a local folder nor a model on the Hub that you can access",
            "hf auth login",
        ),
        (401, "", r"org/toy: the Hub refused the credentials \(status 401\)", "hf auth login"),
        (403, "", r"org/toy: the Hub refused the credentials \(status 403\)", "hf auth login"),
        (404, "EntryNotFound", "org/toy: the Hub lists a file that does not exist", "another revision"),
        (404, "RevisionNotFound", "org/toy: the repository has no revision of this name", ""),
    ],
)
def test_a_refusal_of_the_hub_is_an_error_at_once_with_the_way_out(
    hub: Hub, content: bytes, status: int, code: str, message: str, hint: str
) -> None:
    checkpoint = opened(hub)
    hub.faults = [(status, {"X-Error-Code": code} if code else {})]
    with pytest.raises(HubError, match=f"^{message}$") as refused:
        part(checkpoint, 0, 10)
    assert hint in refused.value.hint
    assert len(hub.log) == 1


def test_the_token_goes_to_the_hub_and_to_no_other_host(
    hub: Hub, content: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    hub.redirects = True
    hub.signature_uses = 2
    checkpoint = open_source(NAME)
    for start in range(5):
        assert part(checkpoint, start, 100) == content[start : start + 100]
    weights = [request for request in hub.log if request.path.endswith(FILE)]
    assert {(request.host.split(":")[0], request.token) for request in weights} == {
        ("127.0.0.1", True),
        ("localhost", False),
    }


def test_an_expired_signature_is_replaced_by_a_new_one(hub: Hub, content: bytes) -> None:
    hub.redirects = True
    hub.signature_uses = 3
    checkpoint = opened(hub)
    for start in range(8):
        assert part(checkpoint, start, 100) == content[start : start + 100]
    statuses = [request.status for request in hub.log]
    assert statuses == [206, 206, 403, 302, 206, 206, 206, 403, 302, 206, 206, 206]


def test_a_storage_that_refuses_every_signature_is_given_up_and_its_url_is_not_told(
    hub: Hub, content: bytes
) -> None:
    hub.redirects = True
    checkpoint = opened(hub)
    hub.signature_uses = 0
    hub.signatures.update(dict.fromkeys(hub.signatures, 0))
    with pytest.raises(HubError, match=r"in 6 attempts: localhost answered 403$") as refused:
        part(checkpoint, 0, 10)
    assert "signature" not in str(refused.value)
    assert [request.status for request in hub.log] == [403] + [302, 403] * (ranges.ATTEMPTS - 1)


@pytest.mark.parametrize("redirects", [False, True])
def test_another_file_of_the_same_size_is_not_mixed_in(hub: Hub, content: bytes, redirects: bool) -> None:
    hub.redirects = redirects
    checkpoint = opened(hub)
    repo = hub.repos[NAME]
    repo.commits[repo.refs["main"]][FILE] = content[:-1] + b"\1"
    with pytest.raises(HubError, match=rf"{FILE} changed while it was read: its ETag was "):
        part(checkpoint, 0, 10)


def test_a_storage_without_tags_is_trusted_no_further_than_the_hubs_own_tag(hub: Hub, content: bytes) -> None:
    hub.redirects, hub.storage_tags = True, False
    checkpoint = opened(hub)
    repo = hub.repos[NAME]
    repo.commits[repo.refs["main"]][FILE] = content[:-1] + b"\1"
    hub.signatures.update(dict.fromkeys(hub.signatures, 0))
    with pytest.raises(HubError, match=rf"{FILE} changed while it was read: its ETag was "):
        part(checkpoint, 0, 10)


def test_a_file_that_changes_between_the_halves_of_a_part_is_not_mixed_in(hub: Hub, content: bytes) -> None:
    checkpoint = opened(hub)
    repo = hub.repos[NAME]
    hub.cuts = 1

    class Changing(dict[str, bytes]):
        """Another file from the second look on."""

        def __getitem__(self, name: str) -> bytes:
            served = super().__getitem__(name)
            self[name] = content[:-1] + b"\1"
            return served

    repo.commits[repo.refs["main"]] = Changing(repo.commits[repo.refs["main"]])
    with pytest.raises(HubError, match=rf"{FILE} changed while it was read: its ETag was "):
        part(checkpoint, 0, 1000)
    assert [request.range for request in hub.log] == ["bytes=0-999", "bytes=500-999"]


@pytest.mark.parametrize("size", [-100, 100])
def test_a_file_of_another_size_is_not_mixed_in(hub: Hub, content: bytes, size: int) -> None:
    checkpoint = opened(hub)
    repo = hub.repos[NAME]
    repo.commits[repo.refs["main"]][FILE] = content[:size] if size < 0 else content + bytes(size)
    with pytest.raises(HubError, match=f"its size was {len(content)} and is {len(content) + size}"):
        part(checkpoint, 0, 10)


@pytest.mark.parametrize("redirects", [False, True])
def test_an_answer_for_another_commit_is_refused(hub: Hub, content: bytes, redirects: bool) -> None:
    hub.redirects = redirects
    checkpoint = opened(hub)
    hub.signatures.update(dict.fromkeys(hub.signatures, 0))
    hub.commit_claim = "f" * 40
    with pytest.raises(HubError, match=f"its commit was {checkpoint.revision} and is {'f' * 40}"):
        part(checkpoint, 0, 10)


def test_a_server_that_stops_serving_parts_is_refused_before_it_sends_the_whole(
    hub: Hub, content: bytes
) -> None:
    checkpoint = opened(hub)
    hub.ranges = False
    with pytest.raises(HubError, match=f"did not serve the requested byte range of {FILE}"):
        part(checkpoint, 0, 10)


def test_a_reader_that_was_stopped_does_not_wait_for_the_hub(
    hub: Hub, content: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ranges, "FIRST_WAIT_S", 600)
    checkpoint = opened(hub)
    hub.faults = [(503, {})] * 100
    stopped = threading.Event()
    with ThreadPoolExecutor(1) as pool:
        assert checkpoint.remote_part is not None
        reading = pool.submit(checkpoint.remote_part, FILE, 0, memoryview(bytearray(10)), stopped)
        while not hub.log:
            time.sleep(0.001)
        stopped.set()
        with pytest.raises(HubError, match=f"reading {FILE} was stopped"):
            reading.result()
    assert len(hub.log) == 1


def test_a_reader_that_was_stopped_reads_no_further(hub: Hub, content: bytes) -> None:
    checkpoint = opened(hub)
    stopped = threading.Event()
    stopped.set()
    assert checkpoint.remote_part is not None
    with pytest.raises(HubError, match=f"reading {FILE} was stopped"):
        checkpoint.remote_part(FILE, 0, memoryview(bytearray(10)), stopped)
