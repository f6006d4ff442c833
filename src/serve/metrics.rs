//! `/metrics`: podvitals's own health, in OpenMetrics text.
//!
//! ```text
//! podvitals_errors_total{room="host",kind="malformed"} 0
//! ```
//! No label ever holds what a client sent: the number of series is fixed.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::text::encode;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::{Registry, Unit};

use super::Published;
use super::version::{COMMIT, VERSION};
use crate::model::health::{DECISIONS, Health, REFUSALS, ROOMS, TROUBLES};
use crate::model::history::Shelf;
use crate::model::identity::{SOURCES, Source};
use crate::model::time::{ClockPair, Monotonic, WallTime};

/// The media type of what [`Metrics::text`] returns.
pub(super) const OPENMETRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Half an interval, one, a little more: where the promise is kept or broken.
const AGE_BUCKETS: [f64; 12] = [0.05, 0.1, 0.25, 0.5, 0.75, 1.0, 1.05, 1.25, 1.5, 2.0, 5.0, 10.0];

/// Everything `/metrics` shows.
#[derive(Debug)]
pub(super) struct Metrics {
    registry: Registry,
    sample_age: Histogram,
}

impl Metrics {
    pub(super) fn new(published: &Published) -> Self {
        let mut registry = Registry::with_prefix("podvitals");
        let sample_age = Histogram::new(AGE_BUCKETS);
        registry.register("build", "What is running", Info::new([("version", VERSION), ("commit", COMMIT)]));
        registry.register_with_unit(
            "sample_age",
            "Age of the oldest figure in a document when it was sent",
            Unit::Seconds,
            sample_age.clone(),
        );
        registry.register_collector(Box::new(Own {
            health: published.health.clone(),
            history: published.history.clone(),
            clock: published.clock,
            interval: published.interval,
            process_start: published.process_start,
        }));
        Self { registry, sample_age }
    }

    /// Notes how old the oldest figure of an answer was.
    pub(super) fn observe_age(&self, age: Duration) {
        self.sample_age.observe(age.as_secs_f64());
    }

    /// The whole exposition.
    pub(super) fn text(&self) -> String {
        let mut text = String::with_capacity(8 * 1024);
        if let Err(error) = encode(&mut text, &self.registry) {
            tracing::error!(%error, "metrics could not be written");
        }
        text
    }
}

/// Reads [`Health`] when it is asked.
#[derive(Debug)]
struct Own {
    health: Arc<Health>,
    history: Arc<Shelf>,
    clock: fn() -> ClockPair,
    interval: Duration,
    process_start: WallTime,
}

impl Collector for Own {
    fn encode(&self, mut encoder: DescriptorEncoder) -> fmt::Result {
        let encoder = &mut encoder;
        self.sweeps(encoder)?;
        self.targets(encoder)?;
        self.history(encoder)?;
        self.sources(encoder)?;
        self.api_server(encoder)?;
        self.connections(encoder)?;
        self.errors(encoder)
    }
}

impl Own {
    fn sweeps(&self, encoder: &mut DescriptorEncoder) -> fmt::Result {
        let health = &self.health;
        let since = health.last_sweep_at().map(|last| self.now().since(last).unwrap_or_default());
        counter(encoder, "sweeps", "Sweeps finished.", None, read(&health.sweeps))?;
        counter(
            encoder,
            "missed_ticks",
            "Sweeps that were due while another ran.",
            None,
            read(&health.missed_ticks),
        )?;
        let last = "Wall time of the last sweep.";
        gauge(encoder, "sweep_duration", last, Some(Unit::Seconds), seconds(read(&health.last_sweep_nanos)))?;
        let cpu = "CPU time of all sweeps.";
        counter(encoder, "sweep_cpu", cpu, Some(Unit::Seconds), seconds(read(&health.sweep_cpu_nanos)))?;
        if let Some(since) = since {
            let help = "Time since the last sweep ended.";
            gauge(encoder, "since_sweep", help, Some(Unit::Seconds), since.as_secs_f64())?;
        }
        let help = "Time since the resolver woke to what it does; 0 while it waits.";
        let busy = health.resolving_for(self.now());
        gauge(encoder, "resolving", help, Some(Unit::Seconds), busy.as_secs_f64())?;
        gauge(encoder, "interval", "Time between sweeps.", Some(Unit::Seconds), self.interval.as_secs_f64())?;
        let start = seconds(self.process_start.as_unix_nanos());
        gauge(encoder, "start_time", "Start of this process since the epoch.", Some(Unit::Seconds), start)
    }

    fn targets(&self, encoder: &mut DescriptorEncoder) -> fmt::Result {
        let health = &self.health;
        let kinds = [("pod", &health.pod_targets), ("cgroup", &health.cgroup_targets)];
        family(
            encoder,
            "targets",
            "What each sweep reads.",
            &kinds.map(|(kind, count)| ([("kind", kind)], gauged(count))),
        )?;
        let files = "Files the sampler keeps open.";
        gauge(encoder, "cached_descriptors", files, None, gauged_value(&health.cached_descriptors))?;
        let inotify = flag(&health.inotify);
        gauge(
            encoder,
            "inotify_in_use",
            "1 if new cgroups are told by inotify, 0 if listed.",
            None,
            inotify,
        )?;
        let complete = flag(&health.identity_complete);
        gauge(
            encoder,
            "identity_complete",
            "1 once a source of names has told all it knows.",
            None,
            complete,
        )?;
        let compared = "Times both ends of a pod's veth were compared.";
        counter(encoder, "network_comparisons", compared, None, read(&health.network_comparisons))?;
        let differed = "Of those, the ones in which they disagreed.";
        counter(encoder, "network_mismatches", differed, None, read(&health.network_mismatches))
    }

    fn history(&self, encoder: &mut DescriptorEncoder) -> fmt::Result {
        let count = |bytes: usize| i64::try_from(bytes).unwrap_or(i64::MAX);
        let limit = "What the history may take; it never takes more.";
        gauge(encoder, "history_limit", limit, Some(Unit::Bytes), count(self.history.limit_bytes()))?;
        let now = "What it takes now.";
        gauge(encoder, "history", now, Some(Unit::Bytes), count(self.history.bytes()))?;
        let covered = "Time between its oldest and its newest sweep.";
        let seconds = self.history.covered().as_secs_f64();
        gauge(encoder, "history_covered", covered, Some(Unit::Seconds), seconds)
    }

    /// Sources that were not asked for are not shown.
    fn sources(&self, encoder: &mut DescriptorEncoder) -> fmt::Result {
        let health = &self.health;
        let configured = || {
            let asked =
                |(source, _): &&(Source, _)| health.source(*source).configured.load(Ordering::Relaxed);
            SOURCES.iter().filter(asked)
        };
        let up = configured()
            .map(|(source, word)| ([("source", *word)], ConstGauge::new(flag(&health.source(*source).up))));
        family(encoder, "source_up", "1 while the source of names answers.", &up.collect::<Vec<_>>())?;
        let errors = configured().flat_map(|(source, word)| {
            REFUSALS.iter().map(|(refusal, reason)| {
                let labels = [("source", *word), ("reason", *reason)];
                (labels, ConstCounter::new(health.source(*source).refusals(*refusal)))
            })
        });
        let help = "Times a source of names did not answer, by reason.";
        family(encoder, "source_errors", help, &errors.collect::<Vec<_>>())?;
        let help = "Contradictions between sources of names, now; explain shows them.";
        gauge(encoder, "source_disagreements", help, None, gauged_value(&health.disagreements))
    }

    fn api_server(&self, encoder: &mut DescriptorEncoder) -> fmt::Result {
        let health = &self.health;
        let kube = health.source(Source::Kube);
        if kube.configured.load(Ordering::Relaxed) {
            let help = "How long names from the API server may have been out of date; 0 while they are not.";
            let stale = kube.stale(self.now()).as_secs_f64();
            gauge(encoder, "api_stale", help, Some(Unit::Seconds), stale)?;
            let help = "1 if none of the pods here is among those the API server lists for this node's name.";
            gauge(encoder, "node_name_mismatch", help, None, flag(&health.node_name_mismatch))?;
        }
        let asked = [
            ([("verb", "list"), ("resource", "pods")], ConstCounter::new(read(&health.api_lists))),
            ([("verb", "watch"), ("resource", "pods")], ConstCounter::new(read(&health.api_watches))),
            ([("verb", "create"), ("resource", "reviews")], ConstCounter::new(read(&health.api_reviews))),
        ];
        family(encoder, "api_requests", "Requests to the API server.", &asked)?;
        let decisions = DECISIONS
            .map(|(decision, word)| ([("decision", word)], ConstCounter::new(health.decisions(decision))));
        let help = "What access control decided about requests to https addresses.";
        family(encoder, "access_decisions", help, &decisions)?;
        match read(&health.certificate_expiry) {
            0 => Ok(()),
            expiry => {
                let help = "When the serving certificate ends, in seconds since the epoch.";
                let unit = Some(Unit::Seconds);
                gauge(
                    encoder,
                    "tls_certificate_expiry_timestamp",
                    help,
                    unit,
                    Duration::from_secs(expiry).as_secs_f64(),
                )
            }
        }
    }

    fn connections(&self, encoder: &mut DescriptorEncoder) -> fmt::Result {
        let health = &self.health;
        gauge(encoder, "connections", "HTTP connections open now.", None, gauged_value(&health.connections))?;
        let refused = "HTTP connections refused or cut to make room.";
        counter(encoder, "connections_refused", refused, None, read(&health.connections_refused))
    }

    fn errors(&self, encoder: &mut DescriptorEncoder) -> fmt::Result {
        let all = ROOMS.iter().flat_map(|(room, in_room)| {
            TROUBLES.iter().map(|(trouble, of_kind)| {
                let labels = [("room", *in_room), ("kind", *of_kind)];
                (labels, ConstCounter::new(self.health.counted(*room, *trouble)))
            })
        });
        family(encoder, "errors", "What went wrong, by room and kind.", &all.collect::<Vec<_>>())
    }

    fn now(&self) -> Monotonic {
        (self.clock)().monotonic
    }
}

fn read(value: &AtomicU64) -> u64 {
    value.load(Ordering::Relaxed)
}

fn flag(value: &AtomicBool) -> f64 {
    f64::from(u8::from(value.load(Ordering::Relaxed)))
}

fn seconds(nanos: u64) -> f64 {
    Duration::from_nanos(nanos).as_secs_f64()
}

fn gauged_value(value: &AtomicU64) -> i64 {
    i64::try_from(read(value)).unwrap_or(i64::MAX)
}

fn gauged(value: &AtomicU64) -> ConstGauge {
    ConstGauge::new(gauged_value(value))
}

fn counter<N>(
    encoder: &mut DescriptorEncoder,
    name: &str,
    help: &str,
    unit: Option<Unit>,
    value: N,
) -> fmt::Result
where
    ConstCounter<N>: EncodeMetric,
{
    let counter = ConstCounter::new(value);
    counter.encode(encoder.encode_descriptor(name, help, unit.as_ref(), counter.metric_type())?)
}

fn gauge<N>(
    encoder: &mut DescriptorEncoder,
    name: &str,
    help: &str,
    unit: Option<Unit>,
    value: N,
) -> fmt::Result
where
    ConstGauge<N>: EncodeMetric,
{
    let gauge = ConstGauge::new(value);
    gauge.encode(encoder.encode_descriptor(name, help, unit.as_ref(), gauge.metric_type())?)
}

fn family<const N: usize, M: EncodeMetric>(
    encoder: &mut DescriptorEncoder,
    name: &str,
    help: &str,
    metrics: &[([(&str, &str); N], M)],
) -> fmt::Result {
    let Some((_, first)) = metrics.first() else { return Ok(()) };
    let mut descriptor = encoder.encode_descriptor(name, help, None, first.metric_type())?;
    for (labels, metric) in metrics {
        metric.encode(descriptor.encode_family(labels)?)?;
    }
    Ok(())
}
