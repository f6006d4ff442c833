//! One pod's network, read once each sweep: from its side or the host's, and what is made of a device that
//! does not count all it receives.

use crate::host::HostRoot;
use crate::host::link::HostVethReader;
use crate::host::net_dev::NetDevReader;
use crate::host::net_dev::is_still_primary;
use crate::host::net_ip;
use crate::host::net_ip::IpReader;
use crate::model::counters::InterfaceRow;
use crate::model::counters::NetworkCounters;
use crate::model::health::Health;
use crate::model::health::Room;
use crate::model::sweep::NetworkReading;
use crate::model::sweep::NetworkSource;
use crate::model::sweep::Stamped;
use crate::model::target::HostInterface;
use crate::model::target::NetworkTarget;
use crate::model::target::PinnedProcess;
use crate::model::target::PodTarget;
use crate::model::time::Monotonic;
use crate::model::unavailable::Unavailable;

use super::PodReaders;
use super::Shared;
use super::rx_suspect::RxWatch;
use super::rx_suspect::Verdict;
use super::rx_suspect::Witnesses;

/// Whether the pod's device can be believed about what it received, and who is asked if not.
#[derive(Default)]
pub(super) struct Received {
    watch: RxWatch,
    ip: IpReader,
}

pub(super) enum NetworkReader {
    Absent,
    Netns(NetDevReader),
    HostVeth(HostInterface, HostVethReader),
}

/// The reader for a pod's network: the old one if it still reads the same thing.
pub(super) fn network_reader(
    root: &HostRoot,
    health: &Health,
    pod: &PodTarget,
    old: Option<NetworkReader>,
) -> NetworkReader {
    match (&pod.network, old) {
        (NetworkTarget::Absent(_), _) => NetworkReader::Absent,
        (NetworkTarget::Netns(_), Some(NetworkReader::Netns(reader))) => NetworkReader::Netns(reader),
        (NetworkTarget::Netns(_), _) => NetworkReader::Netns(NetDevReader::new()),
        (NetworkTarget::HostVeth(interface, _), Some(NetworkReader::HostVeth(of, reader)))
            if of == *interface =>
        {
            NetworkReader::HostVeth(of, reader)
        }
        (NetworkTarget::HostVeth(interface, _), _) => match HostVethReader::open(root, interface) {
            Ok(reader) => NetworkReader::HostVeth(interface.clone(), reader),
            Err(error) => {
                health.count(Room::Host, error.trouble());
                NetworkReader::Absent
            }
        },
    }
}

pub(super) fn read_network(
    pod: &PodTarget,
    readers: &mut PodReaders,
    shared: &mut Shared,
    rows: &mut Vec<InterfaceRow>,
    health: &Health,
    slow: bool,
) -> NetworkReading {
    let of = |netns, source, totals| NetworkReading { id: pod.id, netns, source, rx_suspect: false, totals };
    let absent = |why| of(0, NetworkSource::Netns, Err(why));
    let PodReaders { network, received, .. } = readers;
    match (&pod.network, network) {
        (NetworkTarget::Absent(why), _) => absent(*why),
        (NetworkTarget::Netns(process), NetworkReader::Netns(reader)) => {
            let totals = reader.read(process, &mut shared.buffer, rows, slow, health, pod.id);
            let mut reading = of(process.netns, NetworkSource::Netns, totals);
            if let Some((_, device)) = doubt(&mut reading, received, rows) {
                ask_ip_layer(&mut reading, device, received, process, shared, health);
            }
            reading
        }
        (NetworkTarget::HostVeth(_, process), NetworkReader::HostVeth(_, reader)) => {
            let totals = reader.read(process, &mut shared.buffer, rows, health, pod.id);
            let mut reading = of(process.netns, NetworkSource::HostVeth, totals);
            // The host's end does not count those packets either. Nothing here knows better.
            if let Some((at, device)) = doubt(&mut reading, received, rows) {
                reading.rx_suspect = received.watch.watch(at, device.rx_packets);
            }
            reading
        }
        (NetworkTarget::Netns(_) | NetworkTarget::HostVeth(..), _) => absent(Unavailable::NotYet),
    }
}

/// Marks a reading whose device seems not to count what it receives, and returns what that device says, and
/// when. It is the primary, where it is listed, since others may go on counting beside it.
fn doubt(
    reading: &mut NetworkReading,
    received: &mut Received,
    rows: &[InterfaceRow],
) -> Option<(Monotonic, NetworkCounters)> {
    let Stamped { at, value } = reading.totals.as_ref().ok()?;
    let rows = rows.get(value.rows.start as usize..value.rows.end as usize).unwrap_or_default();
    let device = rows.iter().find(|row| row.primary).map_or(value.total, |row| row.counters);
    reading.rx_suspect = received.watch.note(*at, device);
    reading.rx_suspect.then_some((*at, device))
}

/// Puts what the IP layer received in the place of what the devices say, if it is more. What was sent stays
/// theirs: they miss none of it.
fn ask_ip_layer(
    reading: &mut NetworkReading,
    device: NetworkCounters,
    received: &mut Received,
    process: &PinnedProcess,
    shared: &mut Shared,
    health: &Health,
) {
    let Ok(Stamped { value, .. }) = &mut reading.totals else { return };
    let NetworkCounters { rx_bytes: bytes, rx_packets: packets, .. } = value.total;
    let ip_layer = match received.ip.read(process, &mut shared.buffer) {
        Ok(ip_layer) => ip_layer,
        Err(why) => return health.count(Room::Host, why),
    };
    let devices = net_ip::Received { bytes, packets };
    let suspect_packets = device.rx_packets;
    match received.watch.compare(Witnesses { suspect_packets, devices, ip_layer }) {
        Verdict::Cleared => reading.rx_suspect = false,
        Verdict::Devices => {}
        Verdict::IpLayer => {
            (value.total.rx_bytes, value.total.rx_packets) = (ip_layer.bytes, ip_layer.packets);
            reading.source = NetworkSource::NetnsIp;
        }
    }
}

/// Whether the way to a pod's network must be found again.
pub(super) fn is_lost(pod: &PodTarget, reading: &NetworkReading) -> bool {
    let expected = !matches!(pod.network, NetworkTarget::Absent(_));
    // Refused though it could be opened when it was pinned: `/proc` was mounted anew with `hidepid`.
    expected && matches!(reading.totals, Err(Unavailable::NetnsGone | Unavailable::Permission))
}

/// Whether what the target says of the pod's interfaces must be looked at again.
///
/// Inside the pod the sweep's own reading tells; from the host's side the pod's routes are looked at now
/// and then. That the two disagree is told again on slow sweeps only: each time costs a look.
pub(super) fn is_rewired(
    pod: &PodTarget,
    reader: &mut NetworkReader,
    buffer: &mut Vec<u8>,
    slow: bool,
) -> bool {
    match (&pod.network, reader) {
        (NetworkTarget::Netns(_), NetworkReader::Netns(reader)) => {
            reader.take_news() || (slow && reader.primary() != pod.interface)
        }
        (NetworkTarget::HostVeth(_, process), NetworkReader::HostVeth(..)) => {
            slow && !is_still_primary(process, pod.interface, buffer)
        }
        _ => false,
    }
}
