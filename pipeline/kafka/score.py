"""`tocsin run score`: signals in; recorded scores, and tallies for every bucket, out.

Texts of all partitions that one transaction reads share the classifier's batches. While one batch is computed on a
thread of its own, the next is read; when more is in memory than a transaction takes, partitions are paused.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack

from pipeline.errors import LogLost
from pipeline.kafka.classifier import Classifier
from pipeline.kafka.decoding import decoded
from pipeline.kafka.readback import holds_records
from pipeline.kafka.registry import Registry
from pipeline.kafka.step import Assigned, Done, Output, Place
from pipeline.kafka.transactions import run_transactions
from pipeline.kafka.wire import Message
from pipeline.kafka.worker import Context, patiently
from pipeline.records import ScoreSlice, SignalSlice, TallyBatch, TallySlice, encode
from pipeline.runtime.pace import next_items
from pipeline.scoring.scorer import Scorer
from pipeline.tallies import Tallier
from pipeline.turnover import parts

WORKER = "score"
#: Slices that one transaction takes; each holds up to `slice_items` signals.
MOST_SLICES = 64
#: Tallies and exemplars in one record: more go into another. An exemplar has up to 2 KB, so it stays below the largest.
MOST_TALLIES = 4096


class ScoreStep:
    """See `pipeline.kafka.step.Step`. The metadata of its offsets is the id of the topic."""

    def __init__(self, context: Context, scorer: Scorer, registry: Registry) -> None:
        self._context = context
        self._names = context.names
        self._scorer = scorer
        self._registry = registry
        self._talliers: dict[tuple[str, str], Tallier] = {}
        self._topic_ids: dict[Place, str] = {}
        self._slices = 4
        self._cache_told = (0, 0)  # hits and misses that the metrics know of

    @property
    def subscription(self) -> str:
        return self._names.signals

    @property
    def most_messages(self) -> int:
        """Slices that take about a second: who is told to stop finishes them first."""
        return self._slices

    def assigned(self, found: Assigned) -> int:
        """Raises LogLost when the committed position is gone, or is one of another topic of this name."""
        place = found.place
        where = f"{place.topic}/{place.partition}"
        if found.committed is None:
            if found.low > 0 or holds_records(self._context.settings, self._names.scores, place.partition):
                raise LogLost(
                    f"the committed position of {where} is gone (group {self._names.group(WORKER)}), yet it was read "
                    "before: the group's offsets have expired or were deleted. Nothing was skipped. Restore them, or "
                    "replay into a new deployment (another TOCSIN_KAFKA_PREFIX)"
                )
            position = 0
        else:
            position = found.committed
            if not found.metadata:
                raise LogLost(
                    f"the committed position of {where} is none of scoring's: someone has set it with a tool of Kafka. "
                    "Nothing was read. Restore the group's offsets, or replay into a new deployment (another "
                    "TOCSIN_KAFKA_PREFIX)"
                )
            if found.metadata != found.topic_id:
                raise LogLost(
                    f"{place.topic} is not the topic that was read before: it was deleted and made anew. Nothing was "
                    "read. Restore it, or replay into a new deployment (another TOCSIN_KAFKA_PREFIX)"
                )
            if not found.low <= position <= found.high:
                raise LogLost(
                    f"{where} was read up to {position}, and holds {found.low} to {found.high}. Nothing was skipped. "
                    "Restore the topic, or replay into a new deployment (another TOCSIN_KAFKA_PREFIX)"
                )
        self._topic_ids[place] = found.topic_id
        return position

    def revoked(self, place: Place) -> None:
        self._topic_ids.pop(place, None)

    def prepare(self, messages: Mapping[Place, Sequence[Message]]) -> Mapping[Place, tuple[int, list[ScoreSlice]]]:
        """Score everything; the position after a place's messages, and its scored slices in order."""
        slices = {
            place: [decoded(place, message.offset(), message.value(), SignalSlice) for message in found]
            for place, found in messages.items()
        }
        began_s = time.monotonic()
        by_kind: defaultdict[str, list[SignalSlice]] = defaultdict(list)
        for found in slices.values():
            for slice in found:
                by_kind[self._tallier(slice.stream, slice.definition).definition.kind].append(slice)
                if slice.following is not None:  # may have to ask the registry: not while a transaction waits
                    self._tallier(slice.stream, slice.following.definition)
        scored: dict[int, ScoreSlice] = {}
        for kind, found in by_kind.items():
            for slice, one in zip(found, self._scorer.score_all(found, kind), strict=True):
                scored[id(slice)] = one
        taken = sum(map(len, slices.values()))
        self._slices = next_items(self._slices, taken, time.monotonic() - began_s, MOST_SLICES, least=1)
        return {
            place: ((messages[place][-1].offset() or 0) + 1, [scored[id(slice)] for slice in found])
            for place, found in slices.items()
        }

    def finish(self, prepared: Mapping[Place, tuple[int, list[ScoreSlice]]]) -> Done:
        done = Done()
        shares: list[list[TallySlice]] = [[] for _ in range(self._names.buckets)]
        for place, (position, scored) in prepared.items():
            for one in scored:
                key = one.slice.partition.encode()
                done.outputs.append(Output(self._names.scores, place.partition, key, encode(one)))
                for part in parts(one):
                    tallier = self._tallier(part.slice.stream, part.slice.definition)
                    for bucket, share in enumerate(tallier.tally(part)):
                        shares[bucket].append(share)
                self._context.metrics.signals.inc(len(one.slice.signals))
            done.commits[place] = (position, self._topic_ids[place])
        for bucket, slices in enumerate(shares):
            for batch in _batches(bucket, slices):
                done.outputs.append(Output(self._names.tallies, bucket, b"%d" % bucket, encode(batch)))
        return done

    def at_end(self, place: Place) -> None:
        pass

    def idle(self) -> None:
        metrics, cache = self._context.metrics, self._scorer.cache
        hits, misses = self._cache_told
        self._cache_told = cache.hits, cache.misses
        metrics.cache_hits.inc(self._cache_told[0] - hits)
        metrics.cache_misses.inc(self._cache_told[1] - misses)

    def _tallier(self, stream: str, definition: str) -> Tallier:
        name = (stream, definition)
        found = self._talliers.get(name)
        if found is None:
            found = self._talliers[name] = Tallier(self._registry.definition(*name), self._names.buckets)
        return found


def _batches(bucket: int, slices: Sequence[TallySlice]) -> list[TallyBatch]:
    """The slices of one bucket in order, in as few records as hold them."""
    batches: list[TallyBatch] = []
    current: list[TallySlice] = []
    taken = 0
    for slice in slices:
        more = sum(1 + len(tally.exemplars) for tallies in slice.tallies.values() for tally in tallies.values())
        if current and taken + more > MOST_TALLIES:
            batches.append(TallyBatch(bucket, current))
            current, taken = [], 0
        current.append(slice)
        taken += more
    return [*batches, TallyBatch(bucket, current)] if current else batches


def run(context: Context, *, spoil: Callable[[], bool] = lambda: False) -> None:
    """Run until the context stops, with the classifier that is live at each moment. `spoil` as in `run_transactions`.
    Raises LogLost, ConfigurationError, ModelError."""
    from pipeline.servers.shared_cache import RedisCache

    settings = context.settings
    with ExitStack() as stack:
        classifier = Classifier(context, stack)
        registry = Registry(settings)
        if not (patiently(context, "classifier", classifier.follow) and patiently(context, "kafka", registry.read)):
            return
        redis = settings.redis_url
        scorer = Scorer(
            classifier.now(),
            cache_entries=settings.cache_entries,
            batch_tokens=settings.batch_tokens,
            shared=None if redis is None else RedisCache(lambda: redis),
            live=classifier.now,
        )
        run_transactions(context, WORKER, ScoreStep(context, scorer, registry), spoil=spoil)
