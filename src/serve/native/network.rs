//! Traffic of a pod or of the node.

use std::ops::Range;

use super::{absent, finite, rows};
use crate::model::counters::{InterfaceRow, NetworkCounters};
use crate::model::document::{self, Reasons};
use crate::model::snapshot::{NetworkFigures, NetworkRates, Rate, Snapshot};
use crate::model::sweep::{NetworkSource, Stamped};
use crate::model::unavailable::Unavailable;

/// A pod's traffic.
pub(super) fn pod(
    snapshot: &Snapshot,
    network: &Stamped<NetworkFigures>,
    reasons: &mut Reasons,
) -> document::Network {
    let NetworkFigures { source, rx_suspect, counters, rates, interfaces, truncated, overlapping } =
        &network.value;
    let time_unix_nano = snapshot.clock.wall_of(network.at).as_unix_nanos();
    let interfaces = rows(&snapshot.interfaces, interfaces);
    let flag = |set: bool| set.then_some(true);
    document::Network {
        since_unix_nano: Some(counters.since.as_unix_nanos()),
        raw: Some(traffic(counters.raw, *source)),
        source: Some(source.word().to_owned()),
        rx_suspect: flag(*rx_suspect),
        overlapping: flag(*overlapping),
        interfaces_truncated: flag(*truncated),
        ..totals(counters.total, *source, *rates, interfaces, time_unix_nano, reasons)
    }
}

/// Those of these interfaces that count, by name, the one with the default route first.
pub(in crate::serve) fn counted_nics(
    snapshot: &Snapshot,
    nics: &Range<u32>,
) -> Vec<(String, NetworkCounters)> {
    let nics = rows(&snapshot.interfaces, nics).filter(|row| row.counted);
    let mut counted: Vec<_> = nics.collect();
    counted.sort_by_key(|row| !row.primary);
    counted.into_iter().map(|row| (row.name.to_string(), row.counters)).collect()
}

/// The interfaces that make up a pod's total, by name, the one with the default route first.
///
/// Where the devices do not count what is received the IP layer does, for all of them together: what the others
/// have not received is the first one's then, as the pod's total has it, which never goes back.
pub(in crate::serve) fn counted(
    snapshot: &Snapshot,
    network: &NetworkFigures,
) -> Vec<(String, NetworkCounters)> {
    let mut counted = counted_nics(snapshot, &network.interfaces);
    if network.source == NetworkSource::NetnsIp
        && let [(_, first), others @ ..] = &mut counted[..]
    {
        let of_others = |of: fn(&NetworkCounters) -> u64| -> u64 {
            others.iter().map(|(_, counters)| of(counters)).fold(0, u64::saturating_add)
        };
        let total = network.counters.total;
        first.rx_bytes = total.rx_bytes.saturating_sub(of_others(|counters| counters.rx_bytes));
        first.rx_packets = total.rx_packets.saturating_sub(of_others(|counters| counters.rx_packets));
    }
    counted
}

/// Totals, rates and interfaces; the node's NICs have no more than these.
pub(super) fn totals<'a>(
    total: NetworkCounters,
    source: NetworkSource,
    rates: Option<Rate<NetworkRates>>,
    interfaces: impl Iterator<Item = &'a InterfaceRow>,
    time_unix_nano: u64,
    reasons: &mut Reasons,
) -> document::Network {
    let per_second = |of: fn(&NetworkRates) -> f64| rates.and_then(|rate| finite(of(&rate.per_second)));
    if rates.is_none() {
        let paths = [
            "network.rxBytesPerSecond",
            "network.txBytesPerSecond",
            "network.rxPacketsPerSecond",
            "network.txPacketsPerSecond",
        ];
        absent(reasons, &paths, Unavailable::NotYet);
    }
    document::Network {
        time_unix_nano,
        since_unix_nano: None,
        raw: None,
        source: None,
        rx_suspect: None,
        total: traffic(total, source),
        rx_bytes_per_second: per_second(|rates| rates.rx_bytes),
        tx_bytes_per_second: per_second(|rates| rates.tx_bytes),
        rx_packets_per_second: per_second(|rates| rates.rx_packets),
        tx_packets_per_second: per_second(|rates| rates.tx_packets),
        window_seconds: rates.map(|rate| rate.window.as_secs_f64()),
        overlapping: None,
        interfaces_truncated: None,
        interfaces: interfaces.map(|row| interface(row, source)).collect(),
    }
}

fn interface(row: &InterfaceRow, source: NetworkSource) -> document::Interface {
    let InterfaceRow { name, primary, counted, counters } = row;
    document::Interface {
        name: name.to_string(),
        primary: *primary,
        counted: *counted,
        traffic: traffic(*counters, source),
    }
}

/// The two ends of a veth drop at different places: seen from the host, errors and drops are unknown.
pub(in crate::serve) fn traffic(counters: NetworkCounters, source: NetworkSource) -> document::Traffic {
    let NetworkCounters {
        rx_bytes,
        rx_packets,
        rx_errors,
        rx_dropped,
        tx_bytes,
        tx_packets,
        tx_errors,
        tx_dropped,
    } = counters;
    let inside = |value: u64| (source != NetworkSource::HostVeth).then_some(value);
    document::Traffic {
        rx_bytes,
        rx_packets,
        rx_errors: inside(rx_errors),
        rx_dropped: inside(rx_dropped),
        tx_bytes,
        tx_packets,
        tx_errors: inside(tx_errors),
        tx_dropped: inside(tx_dropped),
    }
}
