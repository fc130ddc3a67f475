"""The metrics as text, by prometheus-client. It is imported where metrics are wanted only: it takes 40 ms to load."""

import asyncio
from collections.abc import Iterable

from prometheus_client import CollectorRegistry, ProcessCollector
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4, generate_latest
from prometheus_client.metrics_core import Metric as PrometheusMetric
from prometheus_client.registry import Collector

from imgpro_lite.runtime import Runtime
from imgpro_lite.services.metrics.collect import Family, collect
from imgpro_lite.tally import Histogram

CONTENT_TYPE = CONTENT_TYPE_PLAIN_0_0_4

# What our names have and the library adds by itself.
_SUFFIXES = {"counter": "_total", "info": "_info"}


class _Of(Collector):
    """A collector of what is known already."""

    def __init__(self, *metrics: PrometheusMetric) -> None:
        self._metrics = metrics

    def collect(self) -> Iterable[PrometheusMetric]:
        """The metrics."""
        return self._metrics


async def expose(rt: Runtime) -> bytes:
    """All metrics. However many ask at the same time, they are put together once, and requests are answered between
    one metric and the next. Raises ImgProError when the database cannot be read."""
    return await rt.in_flight.run("metrics", lambda: _expose(rt))


async def _expose(rt: Runtime) -> bytes:
    parts = []
    for family in await collect(rt):
        parts.append(_text(_Of(_convert(family))))
        await asyncio.sleep(0)
    parts.append(await asyncio.to_thread(_text, ProcessCollector(registry=None)))
    return b"".join(parts)


def _text(collector: Collector) -> bytes:
    registry = CollectorRegistry(auto_describe=False)
    registry.register(collector)
    return generate_latest(registry)


def _convert(family: Family) -> PrometheusMetric:
    metric = family.metric
    name = metric.name.removesuffix(_SUFFIXES.get(metric.type, ""))
    converted = PrometheusMetric(name, metric.help, metric.type)
    for values, value in family.values.items():
        labels = dict(zip(metric.labels, map(str, values), strict=True))
        if isinstance(value, Histogram):
            buckets, total = value.cumulated()
            for bound, count in buckets:
                converted.add_sample(f"{name}_bucket", {**labels, "le": bound}, count)
            converted.add_sample(f"{name}_count", labels, buckets[-1][1])
            converted.add_sample(f"{name}_sum", labels, total)
        else:
            converted.add_sample(metric.name, labels, value)
    return converted
