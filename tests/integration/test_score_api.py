"""POST /v1/score and POST /v1/explain over real HTTP, with the rules of the push API."""

from __future__ import annotations

import asyncio
import gzip
import json
import threading
import time
import tracemalloc
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait
from pathlib import Path
from typing import Any

import httpx
import pytest
import uvicorn
from held import Held
from live import Live

from model.explain import explain
from pipeline.errors import ModelError
from pipeline.scoring.engine import Score, Tokens
from pipeline.scoring.null_engine import NullEngine
from pipeline.scoring.text_scores import TextScores
from pipeline.settings import load
from pipeline.sources.problem import Problem
from pipeline.sources.push import create_app
from pipeline.sources.score_api import EXPLAINED_COUNTS, MOST_EXPLAINED
from pipeline.sources.score_body import MOST_TEXTS, read_score
from pipeline.sources.score_desk import MOST_WAITING


def scores(engine: NullEngine | None = None) -> TextScores:
    return TextScores(engine or NullEngine(), cache_entries=1000, batch_tokens=10_000)


class Api:
    """A running API that scores with what `scores` gives."""

    def __init__(self, scores: Callable[[], TextScores] | None, **settings: Any) -> None:
        app = create_app({}, load(Path("no-such-file.toml"), **settings), lambda: 0, scores=scores)
        self.server = uvicorn.Server(uvicorn.Config(app, port=0, log_config=None, lifespan="on"))
        self._thread = threading.Thread(target=lambda: asyncio.run(self.server.serve()))
        self._thread.start()
        while not self.server.started:
            assert self._thread.is_alive()
            time.sleep(0.005)
        port = self.server.servers[0].sockets[0].getsockname()[1]
        self.client = httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=20)

    def close(self) -> None:
        self.client.close()
        self.server.should_exit = True
        self._thread.join()

    def score(self, *items: object, **headers: str) -> httpx.Response:
        return self.client.post("/v1/score", json={"items": items}, headers=headers)

    def explain(self, *items: object) -> httpx.Response:
        return self.client.post("/v1/explain", json={"items": items})

    def post(self, body: bytes, **headers: str) -> httpx.Response:
        return self.client.post("/v1/score", content=body, headers={"Content-Type": "application/json"} | headers)


@pytest.fixture
def serve() -> Iterator[Callable[..., Api]]:
    made: list[Api] = []

    def start(loaded: Callable[[], TextScores] | None = scores, **settings: Any) -> Api:
        made.append(Api(loaded, **settings))
        return made[-1]

    yield start
    for api in made:
        api.close()


@pytest.fixture
def api(serve: Callable[..., Api]) -> Api:
    return serve()


def is_problem(response: httpx.Response, status: int, text: str) -> bool:
    assert response.headers["content-type"] == "application/problem+json"
    assert response.status_code == response.json()["status"] == status
    assert text in response.json()["detail"]
    return True


def test_each_item_has_its_result_in_order(api: Api) -> None:
    response = api.score({"id": "a", "text": "bank fails"}, {"id": 7, "text": "", "kind": "news"}, {"text": "x"})
    assert response.status_code == 200
    assert response.headers["content-type"] == "application/json"
    body = response.json()
    assert body["model"] == "null-1"
    assert [one["id"] for one in body["results"]] == ["a", 7, None]
    assert set(body["results"][0]) == {"id", "bad", "label", "topic"}
    assert body["results"][1]["flags"] == ["empty"]
    assert api.score().json() == {"model": "null-1", "results": []}


def test_an_explained_text_has_the_words_that_move_its_score(serve: Callable[..., Api]) -> None:
    text = "Shares plunge after a profit warning"
    api = serve()
    body = api.explain({"id": 1, "text": text}, {"id": 2}, {"id": 3, "text": "\U0001f600"}).json()
    first, second, third = body["results"]
    told = [(one["word"], one["adds"]) for one in first.pop("why")]
    assert told == explain(NullEngine(), text, "news") != []
    assert first == api.score({"id": 1, "text": text}).json()["results"][0]
    assert second == {"id": 2, "error": 'item 2: there is no "text"; the object has "id"'}
    assert third["why"] == []
    assert body["model"] == "null-1"


def test_few_texts_are_explained_at_once_and_each_counts_as_many(serve: Callable[..., Api]) -> None:
    item = {"text": "bank fails"}
    assert is_problem(serve().explain(*[item] * (MOST_EXPLAINED + 1)), 413, f"{MOST_EXPLAINED} are read")
    api = serve(push_rate=10)
    assert api.explain(*[item] * MOST_EXPLAINED).status_code == 200
    response = api.score(item)
    assert is_problem(response, 429, "items a second")
    assert int(response.headers["retry-after"]) >= EXPLAINED_COUNTS * MOST_EXPLAINED // 10 - 10


def test_an_item_that_cannot_be_read_has_its_error_in_its_place(api: Api) -> None:
    results = api.score({"id": 1}, "text", {"id": 3, "text": "a", "kind": "tweet"}, {"id": 4, "text": "a"}).json()[
        "results"
    ]
    assert [one.get("error", "")[:6] for one in results] == ["item 1", "item 2", "item 3", ""]
    assert [one["id"] for one in results] == [1, None, 3, 4]


def test_halves_of_surrogate_pairs_and_bytes_that_are_not_utf_8_stop_nobody(api: Api) -> None:
    results = api.post(b'{"items":[{"id":"\\ud800","text":"\\udfff"},{"id":2,"text":"a"}]}').json()["results"]
    assert [one["id"] for one in results] == ["\ud800", 2]
    answer = api.post(b'{"items":[{"id":1.10,"text":"\\udfff"},{"id":1e999,"text":"\xff"},{"id":2,"text":"a"}]}')
    assert b'{"id":1.10,"bad"' in answer.content
    assert b'{"id":1e999,"error":"item 2: the text is not UTF-8' in answer.content
    assert b'{"id":2,"bad"' in answer.content
    results = api.post(b'{"items":[{"id":1,"text":"\xff"},{"id":2,"text":"a"}]}').json()["results"]
    assert ["error" in one for one in results] == [True, False]
    results = api.post(b'{"items":[{"id":1,"\\ud800":"a"},{"id":2,"text":"a"}]}').json()["results"]
    assert ["error" in one for one in results] == [True, False]


@pytest.mark.parametrize(
    ("body", "says"),
    [
        (b"", "the body must be"),
        (b"nonsense", "the body must be"),
        (b'[{"text":"a"}]', "the body must be"),
        (b'{"item":[]}', "the body must be"),
        (b'{"items":{}}', "the body must be"),
        (b'{"items":[],"explain":true}', "unknown field `explain`"),
        (b'{"items":[{"text":"\\ud800"}],"x":1}', "the body must be"),
        (b'{"items":[{"text":"\\u00e9"}],"explain":true}', "unknown field `explain`"),
        (b'{"items":{"\\ud800":1}}', "the body must be"),
        (b'{"x":["\\ud800"]}', "the body must be"),
        (b'{"items":[{"text":"\\ud800"},NaN]}', "NaN is no number in JSON"),
    ],
)
def test_a_body_that_is_none_is_refused(api: Api, body: bytes, says: str) -> None:
    assert is_problem(api.post(body), 400, says)


def test_another_type_of_body_is_refused(api: Api) -> None:
    assert is_problem(api.post(b"bank fails", **{"Content-Type": "text/plain"}), 415, "application/json")
    assert is_problem(api.post(b"x", **{"Content-Encoding": "br"}), 415, "gzip")


def test_gzip_is_unpacked(api: Api) -> None:
    body = gzip.compress(b'{"items":[{"id":1,"text":"a"}]}')
    assert api.post(body, **{"Content-Encoding": "gzip"}).json()["results"][0]["id"] == 1


def test_number_and_size_are_bounded(serve: Callable[..., Api]) -> None:
    api = serve(max_push_bytes=100_000)
    item = {"text": "a"}
    assert len(api.score(*[item] * MOST_TEXTS).json()["results"]) == MOST_TEXTS
    assert is_problem(api.score(*[item] * (MOST_TEXTS + 1)), 413, "1,001 items")
    assert is_problem(api.post(b'{"items":[{"text":"\\ud800"}' + b",1" * MOST_TEXTS + b"]}"), 413, "1,001 items")
    assert is_problem(api.score({"text": "x" * 100_000}), 413, "100,000 bytes")
    bomb = gzip.compress(b" " * 10_000_000)
    assert is_problem(api.post(bomb, **{"Content-Encoding": "gzip"}), 413, "unpacked")


@pytest.mark.parametrize("first", [b"1", b'"\\ud800"'])
def test_too_many_items_are_refused_before_there_is_an_object_for_each(first: bytes) -> None:
    body = b'{"items":[' + first + b",1" * 1_000_000 + b"]}"
    tracemalloc.start()
    try:
        with pytest.raises(Problem, match="1,001 items"):
            read_score(body)
        assert tracemalloc.get_traced_memory()[1] < 3 * len(body)  # the body itself may be copied
    finally:
        tracemalloc.stop()


def test_the_push_token_is_needed_where_one_is_set(serve: Callable[..., Api]) -> None:
    api = serve(push_token="a-long-secret")
    assert is_problem(api.score({"text": "a"}), 401, "push token")
    assert is_problem(api.score({"text": "a"}, Authorization="Bearer wrong"), 401, "push token")
    assert is_problem(api.explain({"text": "a"}), 401, "push token")
    assert api.score({"text": "a"}, Authorization="Bearer a-long-secret").status_code == 200


def test_a_page_in_a_browser_needs_one(api: Api) -> None:
    assert is_problem(api.score({"text": "a"}, Origin="https://example.org"), 403, "browser")


def test_a_client_is_slowed_to_its_rate(serve: Callable[..., Api]) -> None:
    api = serve(push_rate=10)
    assert api.score(*[{"text": "a"}] * 500).status_code == 200
    response = api.score({"text": "a"})
    assert is_problem(response, 429, "items a second")
    assert int(response.headers["retry-after"]) >= 40


def test_who_comes_when_too_many_wait_is_sent_away_and_the_others_are_answered(serve: Callable[..., Api]) -> None:
    engine = Held()
    api = serve(lambda: scores(engine))
    with ThreadPoolExecutor(MOST_WAITING + 1) as pool:
        asked = {pool.submit(api.score, {"text": f"text {n}"}) for n in range(MOST_WAITING + 1)}
        answered, waiting = wait(asked, return_when=FIRST_COMPLETED)
        (sent_away,) = (one.result() for one in answered)
        assert is_problem(sent_away, 503, "too many texts wait to be scored")
        assert sent_away.headers["retry-after"] == "1"
        assert api.client.get("/healthz").status_code == 200  # the event loop waits for nobody
        engine.let_go.set()
        assert [one.result().status_code for one in waiting] == [200] * MOST_WAITING
    assert api.score({"text": "late"}).status_code == 200


def test_a_classifier_is_loaded_when_it_is_first_asked_and_again_after_it_failed(serve: Callable[..., Api]) -> None:
    loads: list[int] = []

    def loaded() -> TextScores:
        loads.append(1)
        if len(loads) == 1:
            raise ModelError("no classifier in /there")
        return scores()

    api = serve(loaded)
    assert api.client.get("/healthz").status_code == 200
    assert loads == []
    response = api.score({"text": "a"})
    assert is_problem(response, 503, "the classifier cannot run")
    assert "/there" not in response.text
    assert api.score({"text": "a"}).status_code == 200
    assert api.score({"text": "a"}).status_code == 200
    assert len(loads) == 2


def test_without_a_classifier_there_is_no_route(serve: Callable[..., Api]) -> None:
    assert is_problem(serve(None).score({"text": "a"}), 404, "Not Found")


def test_the_openapi_page_describes_it(api: Api) -> None:
    paths = api.client.get("/openapi.json").json()["paths"]
    for path, most in (("/v1/score", MOST_TEXTS), ("/v1/explain", MOST_EXPLAINED)):
        described = paths[path]["post"]
        assert f"at most {most:,}" in described["description"]
        assert f'"maxItems": {most}' in json.dumps(described["requestBody"])


class OneAtATime(NullEngine):
    """An engine that notices two calls at once."""

    def __init__(self) -> None:
        self._one = threading.Lock()
        self._met = threading.Event()

    @property
    def broken(self) -> bool:
        return self._met.is_set()

    def score(self, batch: Sequence[Tokens]) -> list[Score]:
        if not self._one.acquire(blocking=False):
            self._met.set()
            return super().score(batch)
        try:
            self._met.wait(0.002)  # for a second call, which must not come
            return super().score(batch)
        finally:
            self._one.release()


def test_a_running_pipeline_answers_with_its_own_engine_in_turns(tmp_path: Path, database_url: str) -> None:
    streams = '[streams.logs]\nkind = "logs"\ntick = "1m"\n[[streams.logs.sources]]\nkind = "push"\n'
    engine = OneAtATime()
    body = json.dumps({"items": [{"id": n, "text": f"text {n}"} for n in range(100)]}).encode()
    with Live(tmp_path, database_url, streams).up(lambda: engine) as live, ThreadPoolExecutor(4) as pool:
        asked = [pool.submit(live.post, "/v1/score", body, content_type="application/json") for _ in range(8)]
        for n in range(20):
            live.push(*[{"text": f"item {n} {chr(97 + m)}"} for m in range(20)])
        answers = [one.result() for one in asked]
        live.folded()
        assert live.counts()["counted"] == 400
    assert [answer.status_code for answer in answers] == [200] * 8
    assert {answer.json()["model"] for answer in answers} == {engine.version}
    assert len({answer.content for answer in answers}) == 1
    assert not engine.broken
