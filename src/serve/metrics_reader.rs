//! For fuzzers: `/metrics` of any counts, read back by a reader of the format that knows nothing of us.
//!
//! <https://prometheus.io/docs/specs/om/open_metrics_spec/>

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use tokio::sync::watch;

use super::Published;
use super::metrics::Metrics;
use crate::model::health::{Decision, Health, Refusal, Room, Trouble};
use crate::model::identity::Source;
use crate::model::target::TargetSet;
use crate::model::time::{ClockPair, Monotonic, WallTime};

/// Eight bytes a count.
pub fn own_metrics(bytes: &[u8]) {
    let mut numbers =
        bytes.chunks_exact(8).map(|chunk| chunk.iter().fold(0, |sum, byte| sum << 8 | u64::from(*byte)));
    let mut next = || numbers.next().unwrap_or_default();
    let health = Arc::new(Health::default());
    let counters =
        [&health.sweeps, &health.missed_ticks, &health.network_mismatches, &health.connections_refused];
    let counts = counters.map(|counter| {
        counter.store(next(), Relaxed);
        counter.load(Relaxed)
    });
    let nanos = next();
    health.sweep_cpu_nanos.store(nanos, Relaxed);
    health.cached_descriptors.store(next(), Relaxed);
    health.last_sweep_at.store(next(), Relaxed);
    let docker = health.source(Source::Docker);
    docker.configured.store(next() % 2 == 1, Relaxed);
    let (refused, troubled, allowed) = (next() % 8, next() % 8, next() % 8);
    (0..refused).for_each(|_| docker.refused(Refusal::Malformed, Monotonic::from_nanos(1)));
    (0..troubled).for_each(|_| health.count(Room::Host, Trouble::Denied));
    (0..allowed).for_each(|_| health.decided(Decision::Allowed));

    let metrics = Metrics::new(&published(health.clone()));
    let age = Duration::from_nanos(next());
    metrics.observe_age(age);
    let text = metrics.text();
    let read = read(&text);
    assert!(read.is_ok(), "{:?}\n{text}", read.err());
    let read = read.unwrap_or_default();
    let is = |series: &str| read.get(series).map(String::as_str);
    let exact =
        |series: &str, value: u64| assert_eq!(is(series), Some(value.to_string().as_str()), "{series}");
    exact("podvitals_sweeps_total", counts[0]);
    exact("podvitals_missed_ticks_total", counts[1]);
    exact("podvitals_network_mismatches_total", counts[2]);
    exact("podvitals_connections_refused_total", counts[3]);
    exact("podvitals_errors_total{kind=denied,room=host}", troubled);
    exact("podvitals_access_decisions_total{decision=allowed}", allowed);
    exact("podvitals_sample_age_seconds_count", 1);
    exact("podvitals_sample_age_seconds_bucket{le=+Inf}", 1);
    let shown = docker.configured.load(Relaxed);
    let refusals = is("podvitals_source_errors_total{reason=malformed,source=docker}");
    assert_eq!(refusals, shown.then(|| refused.to_string()).as_deref());
    let seconds = |series: &str| is(series).and_then(|value| value.parse::<f64>().ok());
    let near = |series: &str, right: f64| {
        let read = seconds(series);
        assert!(
            read.is_some_and(|read| (read - right).abs() <= right * 1e-12),
            "{series}: {read:?}, not {right}"
        );
    };
    near("podvitals_sweep_cpu_seconds_total", Duration::from_nanos(nanos).as_secs_f64());
    near("podvitals_sample_age_seconds_sum", age.as_secs_f64());
}

fn published(health: Arc<Health>) -> Published {
    let clock = || ClockPair { monotonic: Monotonic::from_nanos(5), wall: WallTime::from_unix_nanos(7) };
    Published {
        snapshot: watch::channel(None).1,
        targets: watch::channel(Arc::new(TargetSet::default())).1,
        history: Arc::default(),
        health,
        clock,
        node_name: "n1".into(),
        interval: Duration::from_secs(1),
        process_start: WallTime::from_unix_nanos(7),
        machine: Arc::default(),
        cadvisor_full: false,
        docker_percpu: false,
        processes: super::processes::ProcessLane::default(),
    }
}

/// The values as they are written, by name and sorted labels.
fn read(text: &str) -> Result<BTreeMap<String, String>, String> {
    let body = text.strip_suffix("# EOF\n").ok_or("no end")?;
    let (mut series, mut kinds) = (BTreeMap::new(), BTreeMap::new());
    let mut described = BTreeSet::new();
    for line in body.lines() {
        let wrong = |what: &str| format!("{what}: {line}");
        if let Some(comment) = line.strip_prefix("# ") {
            let mut words = comment.splitn(3, ' ');
            let (Some(what), Some(name), Some(rest)) = (words.next(), words.next(), words.next()) else {
                return Err(wrong("half a comment"));
            };
            match what {
                "TYPE" if kinds.insert(name, rest).is_some() => return Err(wrong("a family twice")),
                "UNIT" if !name.ends_with(&format!("_{rest}")) => {
                    return Err(wrong("a unit not in the name"));
                }
                "TYPE" | "UNIT" | "HELP" if described.insert((what, name)) => {}
                _ => return Err(wrong("a strange comment")),
            }
            continue;
        }
        let (name, labels, value) = sample(line).ok_or_else(|| wrong("no sample"))?;
        let family = kinds.iter().find(|(family, kind)| {
            let ends: &[&str] = match **kind {
                "counter" => &["_total"],
                "gauge" => &[""],
                "info" => &["_info"],
                "histogram" => &["_bucket", "_count", "_sum"],
                _ => &[],
            };
            ends.iter().any(|end| name.strip_suffix(end) == Some(family))
        });
        family.ok_or_else(|| wrong("a sample of no family"))?;
        if !value.parse::<f64>().is_ok_and(|value| value >= 0.0) {
            return Err(wrong("no number"));
        }
        let labels: Vec<_> = labels.iter().map(|(key, value)| format!("{key}={value}")).collect();
        let key = if labels.is_empty() { name.to_owned() } else { format!("{name}{{{}}}", labels.join(",")) };
        if series.insert(key, value.to_owned()).is_some() {
            return Err(wrong("a series twice"));
        }
    }
    Ok(series)
}

type Sample<'a> = (&'a str, BTreeMap<String, String>, &'a str);

/// `name{label="value",…} 7`.
fn sample(line: &str) -> Option<Sample<'_>> {
    let end = line.find(|c: char| !c.is_ascii_alphanumeric() && c != '_')?;
    let (name, mut rest) = line.split_at(end);
    let mut labels = BTreeMap::new();
    if let Some(inside) = rest.strip_prefix('{') {
        rest = inside;
        loop {
            if let Some(after) = rest.strip_prefix('}') {
                rest = after;
                break;
            }
            let (key, quoted) = rest.split_once("=\"")?;
            let (value, after) = unescaped(quoted)?;
            if labels.insert(key.to_owned(), value).is_some() {
                return None;
            }
            rest = after.strip_prefix(',').unwrap_or(after);
        }
    }
    let value = rest.strip_prefix(' ')?;
    (!value.contains(' ')).then_some((name, labels, value))
}

/// Up to the closing quotation mark, and what follows it.
fn unescaped(text: &str) -> Option<(String, &str)> {
    let mut value = String::new();
    let mut characters = text.char_indices();
    while let Some((at, c)) = characters.next() {
        match c {
            '"' => return Some((value, &text[at + 1..])),
            '\\' => value.push(match characters.next()?.1 {
                'n' => '\n',
                c @ ('"' | '\\') => c,
                _ => return None,
            }),
            c => value.push(c),
        }
    }
    None
}
