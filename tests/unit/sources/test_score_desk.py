"""Requests for scores are worked at in parts: none holds the engine, or a stop, up for long."""

from __future__ import annotations

import asyncio

import pytest
from held import Held

from pipeline.scoring.submissions import of_text
from pipeline.scoring.text_scores import TextScores
from pipeline.sources.problem import Problem
from pipeline.sources.score_body import MOST_TEXTS
from pipeline.sources.score_desk import PART, ScoreDesk, parts


@pytest.mark.parametrize("explained", [False, True])
def test_a_stop_ends_a_request_between_its_parts(explained: bool) -> None:
    engine = Held()
    desk = ScoreDesk(lambda: TextScores(engine, cache_entries=1000, batch_tokens=10_000))

    def until_closed() -> None:
        while not desk._closed:
            pass

    async def stopped_while_asked() -> None:
        texts = [of_text(f"text {n}") for n in range(2 if explained else 3 * PART)]
        asked = asyncio.create_task(desk.answer(texts, explained=explained))
        assert await asyncio.to_thread(engine.entered.wait, 20)
        closing = asyncio.create_task(asyncio.to_thread(desk.close))
        await asyncio.to_thread(until_closed)
        engine.let_go.set()
        await closing
        with pytest.raises(Problem, match="stopping"):
            await asked

    asyncio.run(stopped_while_asked())


@pytest.mark.parametrize(
    ("text", "most"),
    [
        ("Shares plunge after a profit warning. ", PART),
        ("Shares plunge after a profit warning. " * 50, 39),
        ("株価が急落" * 60, 39),
        ("!?" * 127, 39),
        ("акции " * 60, 39),
        (" " * 2000, PART),
        ("", PART),
    ],
)
def test_a_part_is_a_second_s_work_whatever_the_texts(text: str, most: int) -> None:
    given = [of_text(text) for _ in range(MOST_TEXTS)]
    cut = list(parts(given))
    assert [one for part in cut for one in part] == given
    assert {len(part) for part in cut[:-1]} == {most}
    assert list(parts([])) == []


def test_a_part_may_hold_long_and_short_texts() -> None:
    assert [len(part) for part in parts([of_text("ab " * (1 if n < 10 else 300)) for n in range(70)])] == [49, 21]
