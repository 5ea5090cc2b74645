"""Days of the demonstration through the real classifier and detector, without servers.

python bench/demo_seeds.py                 seeds 1 to 20: what was planted, found, missed, and false alarms
python bench/demo_seeds.py --texts         how the classifier scores each template of the demonstration
"""

from __future__ import annotations

import argparse
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import NamedTuple

from model.engines.choose import load_engine
from pipeline import stream_file
from pipeline.demo.day import Day, generate
from pipeline.demo.hours import DAY_END_US
from pipeline.demo.matching import match
from pipeline.demo.texts import Slots, read_bank
from pipeline.flow import StreamFlow
from pipeline.instants import MINUTE_US, to_iso
from pipeline.records import RawRecord, Transition
from pipeline.scoring.scorer import Scorer
from pipeline.scoring.template import scored_texts
from pipeline.streams import Definition

STREAMS = Path(__file__).parents[1] / "pipeline" / "demo" / "demo_streams.toml"
SLICE = 1000
FILLINGS = 8


def fold(definition: Definition, day: Day, scorer: Scorer) -> tuple[list[Transition], str]:
    """Push a day through the folds of one stream; the transitions, and what became of the items."""
    (partition,) = definition.clocks
    flow = StreamFlow(definition, run="bench", buckets=1)
    payloads = [item.payload for item in day.items[definition.name]]
    form = day.forms[definition.name]
    records = [
        RawRecord(position=at, received_us=DAY_END_US, form=form, source="push", payloads=payloads[at : at + SLICE])
        for at in range(0, len(payloads), SLICE)
    ]
    records.append(RawRecord(position=len(payloads), received_us=DAY_END_US, kind="leave"))
    transitions = []
    for record in records:
        for slice in flow.ingest(partition, [record]):
            transitions += flow.detect(scorer.score(slice, definition.kind))
    counts = flow.open(partition).counts
    wrong = f"{counts.late} late, {counts.duplicates} duplicates, {counts.dead} dead"
    return transitions, "" if counts.counted == len(payloads) else wrong


def days(seeds: range, scorer: Scorer) -> None:
    definitions = stream_file.load(STREAMS).streams
    planted = found = alarms = clean = 0
    waited: list[float] = []
    for seed in seeds:
        began = time.perf_counter()
        day = generate(seed)
        transitions: list[Transition] = []
        for definition in definitions.values():
            some, wrong = fold(definition, day, scorer)
            transitions += some
            if wrong:
                print(f"  {definition.name}: {wrong}")
        result = match(day.planted, transitions)
        took = time.perf_counter() - began
        ends = Counter(t.state for t in transitions)
        print(
            f"seed {seed}: planted {len(day.planted)}, found {len(result.found)}, false alarms "
            f"{len(result.false_alarms)}, opened {ends['opened']}, resolved {ends['resolved']}, {took:.1f} s"
        )
        for surge in result.missed:
            print(f"  MISSED {surge.stream} {surge.group} {_hour(surge.start_us)}-{_hour(surge.end_us)}: {surge.what}")
        for one in result.false_alarms:
            print(
                f"  FALSE {one.stream} {one.group} {one.direction} at {_hour(one.opened_us)}: {one.observed} of "
                f"{one.total}, expected {one.expected}, p {one.p}, {one.severity} "
                f"{[(m.member, m.observed, m.expected, m.p) for m in one.members[:3]]}"
            )
        waited += [(t.tick_end_us - surge.start_us) / MINUTE_US for surge, t in result.found]
        planted += len(day.planted)
        found += len(result.found)
        alarms += len(result.false_alarms)
        clean += not result.missed
    print(
        f"{planted} planted, {found} found, {alarms} false alarms in {len(seeds)} days; nothing missed in {clean} of "
        f"them; minutes from the start of a surge to the end of the tick that told: "
        f"median {sorted(waited)[len(waited) // 2]:.0f}, most {max(waited):.0f}"
    )


def _hour(time_us: int) -> str:
    return to_iso(time_us)[11:16]


class Judged(NamedTuple):
    kind: str
    bad: bool
    topic: str
    template: str
    texts: list[str]


def templates() -> Iterator[Judged]:
    """Every template with its fillings, and what a reader would say of it."""
    draw = Random(0)
    for kind in ("news", "logs", "health"):
        bank = read_bank(kind)
        slots = Slots(bank.get("slots", {}), bank["ranges"])
        lists: list[tuple[bool, str, list[str]]] = []
        if kind == "news":
            for topic, moods in bank["topics"].items():
                lists += [(mood == "bad", topic, some) for mood, some in moods.items()]
            lists += [(True, event["topic"], event["headlines"]) for event in bank["events"]]
        elif kind == "logs":
            for service in bank["services"].values():
                lists += [(False, "", service["normal"]), (True, "", service["errors"])]
            lists += [(True, "", event["lines"]) for event in bank["events"]]
        else:
            lists = [(mood in ("worrying", "outbreak"), "", bank[mood]) for mood in ("routine", "good", "worrying")]
            lists.append((True, "", bank["outbreak"]))
        for bad, topic, some in lists:
            for template in some:
                texts = [slots.sentence(draw, template) for _ in range(FILLINGS)]
                if kind == "logs":
                    texts = scored_texts("logs", [slots.fill(draw, template)])
                yield Judged(kind, bad, topic, template, texts)


def texts(scorer: Scorer) -> None:
    wrong: list[tuple[float, str]] = []
    right: Counter[tuple[str, bool, bool]] = Counter()
    topics: Counter[tuple[str, str]] = Counter()
    all_templates = list(templates())
    for judged in all_templates:
        scores = scorer._scores(judged.texts, judged.kind)
        mean = sum(s.probability for s in scores) / len(scores)
        as_bad = sum(s.probability >= 0.5 for s in scores) / len(scores)
        right[judged.kind, judged.bad, (as_bad >= 0.5) == judged.bad] += 1
        if (as_bad >= 0.5) != judged.bad:
            says = "bad " if judged.bad else "fine"
            wrong.append((abs(mean - judged.bad), f"{judged.kind:6} is {says} scores {mean:.2f}  {judged.template}"))
        if judged.topic:
            topics.update((judged.topic, s.topic) for s in scores)
    for _, line in sorted(wrong, reverse=True):
        print(line)
    for kind in ("news", "logs", "health"):
        for bad in (True, False):
            good, all_ = right[kind, bad, True], right[kind, bad, True] + right[kind, bad, False]
            print(f"{kind} {'bad' if bad else 'fine'}: {good} of {all_} templates right")
    for event in read_bank("news")["events"]:
        own = [s for j in all_templates if j.template in event["headlines"] for s in scorer._scores(j.texts, j.kind)]
        print(
            f"{event['topic']:14} {sum(s.topic == event['topic'] for s in own) / len(own):4.0%} of its topic, "
            f"{sum(s.probability >= 0.5 for s in own) / len(own):4.0%} bad: {event['what']}"
        )
    for topic in dict.fromkeys(topic for topic, _ in topics):
        row = Counter({to: n for (of, to), n in topics.items() if of == topic})
        print(topic, ", ".join(f"{to} {n / row.total():.0%}" for to, n in row.most_common()))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--first", type=int, default=1, help="the first seed")
    parser.add_argument("--seeds", type=int, default=20, help="how many")
    parser.add_argument("--texts", action="store_true")
    arguments = parser.parse_args()
    scorer = Scorer(load_engine(), cache_entries=200_000, batch_tokens=16_384)
    if arguments.texts:
        texts(scorer)
    else:
        days(range(arguments.first, arguments.first + arguments.seeds), scorer)


if __name__ == "__main__":
    main()
