//! Whether a pod's device can be believed about what it received (pure).
//!
//! A network that hands packets to the pod past its device (`bpf_redirect_peer`) leaves the device's
//! receive counters where they were, on many kernels, while the pod goes on sending. Nobody says so:
//! it shows only in the figures.
//!
//! # Why not sooner
//! A pod that only sends, statistics over UDP say, looks the same. For it the IP layer, which is read
//! while the device is under suspicion, shows nothing received either: suspicion costs it no figure.
//!
//! # Why devices go first
//! The IP layer counts for the whole netns, without link headers, without what is no IP, and what came
//! through a tunnel twice. So it is taken only where it saw more than all devices together.

use std::time::Duration;

use crate::host::net_ip::Received;
use crate::model::counters::NetworkCounters;
use crate::model::time::Monotonic;

/// So long must nothing have been received …
const STILL: Duration = Duration::from_secs(60);

/// … while more packets than this were sent.
const SENT: u64 = 1_000;

/// A suspect that received so many packets is believed again, if the IP layer saw no more of them meanwhile
/// than the devices can have let pass, or nobody can ask the IP layer and it took no longer than [`STILL`].
const TELLING: u64 = 10;

/// After so many packets of the IP layer's that no device counted the comparison begins anew, or an old
/// silence would weigh for ever.
const FORGOTTEN: u64 = 1_000;

/// A suspect that received so many itself is believed beside devices that carry tunnels, whose packets pass
/// the IP layer twice.
const PROVEN: u64 = 1_000;

/// What is known of one device.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct RxWatch {
    /// Since when nothing was received, and the counters then.
    still: Option<(Monotonic, NetworkCounters)>,
    suspect: bool,
    /// Where the comparison with the IP layer began.
    compared: Option<Witnesses>,
    /// Since when a suspect that nobody is compared with is watched, and what it had received then.
    recovering: Option<(Monotonic, u64)>,
    ip_layer_saw_more: bool,
}

/// What was received in one netns, as everybody counted it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Witnesses {
    /// Packets of the suspect device.
    pub(super) suspect_packets: u64,
    /// All devices that are part of the total, the suspect among them.
    pub(super) devices: Received,
    /// The IP layer, which does not tell devices apart.
    pub(super) ip_layer: Received,
}

/// Whom to believe about what was received.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// The device is under suspicion no longer.
    Cleared,
    /// It is, but the IP layer knows of nothing that the devices did not count.
    Devices,
    /// It is, and the IP layer saw more than all devices.
    IpLayer,
}

impl RxWatch {
    /// Takes in the device's counters. Whether they are under suspicion now.
    pub(super) fn note(&mut self, at: Monotonic, now: NetworkCounters) -> bool {
        match self.still {
            Some((since, then)) if then.rx_packets == now.rx_packets && then.tx_packets <= now.tx_packets => {
                let long = at.since(since).is_some_and(|still| still >= STILL);
                self.suspect |= long && now.tx_packets - then.tx_packets > SENT;
            }
            _ => self.still = Some((at, now)),
        }
        self.suspect
    }

    /// Takes in what the suspect device has received, where nobody else can be asked. Whether it still is
    /// suspect.
    pub(super) fn watch(&mut self, at: Monotonic, rx_packets: u64) -> bool {
        let (since, then) = *self.recovering.get_or_insert((at, rx_packets));
        if rx_packets.saturating_sub(then) >= TELLING {
            *self = Self { still: self.still, ..Self::default() };
        } else if rx_packets < then || at.since(since).is_none_or(|watched| watched >= STILL) {
            self.recovering = Some((at, rx_packets));
        }
        self.suspect
    }

    /// Takes in what the suspect device, all devices and the IP layer have received.
    pub(super) fn compare(&mut self, now: Witnesses) -> Verdict {
        let then = *self.compared.get_or_insert(now);
        let by_suspect = now.suspect_packets.saturating_sub(then.suspect_packets);
        let (by_devices, by_ip) = (now.devices.since(then.devices), now.ip_layer.since(then.ip_layer));
        let tunnelled = by_ip.packets <= by_devices.packets.saturating_mul(2);
        let agreed = by_ip.packets <= by_devices.packets.saturating_add(by_suspect);
        if by_suspect >= TELLING && agreed || by_suspect >= PROVEN && tunnelled {
            *self = Self { still: self.still, ..Self::default() };
            return Verdict::Cleared;
        }
        // In all this time, or lately: beside a long past the last minutes would not show.
        self.ip_layer_saw_more |= now.ip_layer.bytes > now.devices.bytes || by_ip.bytes > by_devices.bytes;
        if by_ip.packets > FORGOTTEN && !tunnelled {
            self.compared = None;
        }
        if self.ip_layer_saw_more { Verdict::IpLayer } else { Verdict::Devices }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn at(seconds: u64) -> Monotonic {
        Monotonic::from_nanos(1 + seconds * 1_000_000_000)
    }

    fn packets(rx_packets: u64, tx_packets: u64) -> NetworkCounters {
        NetworkCounters { rx_packets, tx_packets, ..Default::default() }
    }

    /// The first second at which a series, one reading a second, is under suspicion.
    fn first_suspect(series: impl Iterator<Item = (u64, u64)>) -> Option<u64> {
        let mut watch = RxWatch::default();
        series
            .zip(0..)
            .find_map(|((rx, tx), second)| watch.note(at(second), packets(rx, tx)).then_some(second))
    }

    #[test]
    fn a_minute_without_a_packet_while_a_thousand_were_sent_is_suspect() {
        let series = |per_second: u64| (0..200).map(move |second| (1_437, second * per_second));
        assert_eq!(first_suspect(series(100)), Some(60));
        assert_eq!(first_suspect(series(17)), Some(60), "1,020 packets in the minute");
        assert_eq!(first_suspect(series(10)), Some(101), "more than a thousand, in more than a minute");
        assert_eq!(first_suspect(series(5)), None, "not in 200 s");
        assert_eq!(first_suspect(series(0)), None, "an idle pod");
    }

    #[test]
    fn one_packet_a_minute_lifts_it_in_time() {
        let series = (0..1_000).map(|second: u64| (second / 59, second * 10_000));
        assert_eq!(first_suspect(series), None);
    }

    #[test]
    fn counters_that_begin_again_begin_a_new_minute() {
        let series =
            (0..120).map(|second: u64| (0, if second < 50 { 90_000 + second } else { second * 100 }));
        assert_eq!(first_suspect(series), Some(110));
    }

    #[test]
    fn two_readings_far_apart_are_enough() {
        let mut watch = RxWatch::default();
        assert!(!watch.note(at(0), packets(5, 0)));
        assert!(watch.note(at(60), packets(5, 1_001)));
    }

    fn received(packets: u64, length: u64) -> Received {
        Received { packets, bytes: packets * length }
    }

    /// One device, of packets of 100 bytes and 14 more for the link.
    fn alone(device: u64, ip_layer: u64) -> Witnesses {
        let (devices, ip_layer) = (received(device, 114), received(ip_layer, 100));
        Witnesses { suspect_packets: device, devices, ip_layer }
    }

    /// A watch that suspects a device that received 5 packets.
    fn suspicious() -> RxWatch {
        let mut watch = RxWatch::default();
        watch.note(at(0), packets(5, 0));
        assert!(watch.note(at(60), packets(5, 5_000)));
        watch
    }

    #[test]
    fn it_is_lifted_when_the_device_counts_what_the_ip_layer_does() {
        let mut watch = suspicious();
        assert_eq!(watch.compare(alone(5, 90_000)), Verdict::IpLayer);
        // A stray broadcast through the device proves nothing, beside thousands that came past it.
        assert!(watch.note(at(61), packets(6, 5_100)));
        assert_eq!(watch.compare(alone(6, 90_900)), Verdict::IpLayer);
        assert_eq!(watch.compare(alone(16, 91_000)), Verdict::IpLayer, "11 of 1,000");
        assert_eq!(watch.compare(alone(16, 91_002)), Verdict::IpLayer, "forgotten, and begun again");
        assert_eq!(watch.compare(alone(16, 91_010)), Verdict::IpLayer);
        assert_eq!(watch.compare(alone(25, 91_019)), Verdict::IpLayer, "too few to tell");
        assert_eq!(watch.compare(alone(26, 91_030)), Verdict::Cleared);
        assert!(!watch.note(at(70), packets(26, 5_200)));
    }

    /// `eth0` at 10 packets a second, `net1` at 10,000 of 1,000 bytes, and `past` for each of those that came
    /// past `eth0`, or from within a tunnel.
    fn beside(seconds: u64, eth0: u64, past: u64) -> Witnesses {
        let (suspect_packets, net1) = (5 + seconds * eth0, 1_000_000 + seconds * 10_000);
        let (link, packet) = (14 * (suspect_packets + net1), 1_000 * (suspect_packets + net1));
        let packets = suspect_packets + net1;
        let hidden = seconds * past;
        Witnesses {
            suspect_packets,
            devices: Received { packets, bytes: packet + link },
            ip_layer: Received { packets: packets + hidden, bytes: packet + 1_000 * hidden },
        }
    }

    #[test]
    fn a_busy_device_beside_a_quiet_one_is_no_witness_against_it() {
        let mut watch = suspicious();
        assert_eq!(watch.compare(beside(0, 10, 0)), Verdict::Devices);
        assert_eq!(watch.compare(beside(1, 10, 0)), Verdict::Cleared);
        let mut watch = suspicious();
        for second in 0..1_000 {
            assert_eq!(watch.compare(beside(second, 0, 0)), Verdict::Devices, "as long as it is quiet");
        }
    }

    #[test]
    fn what_came_past_one_device_shows_beside_another() {
        let mut watch = suspicious();
        assert_eq!(watch.compare(beside(0, 0, 1_000)), Verdict::Devices, "nothing came yet");
        for second in 1..1_000 {
            assert_eq!(watch.compare(beside(second, 0, 1_000)), Verdict::IpLayer, "a tenth more, {second}");
        }
        let stray = Witnesses { suspect_packets: 25, ..beside(1_000, 0, 1_000) };
        assert_eq!(watch.compare(stray), Verdict::IpLayer, "20 strays beside a million");
    }

    #[test]
    fn a_tunnel_in_the_busy_device_is_told_from_what_came_past_the_other_in_time() {
        let mut watch = suspicious();
        let cleared = (0..).find(|second| watch.compare(beside(*second, 10, 10_000)) == Verdict::Cleared);
        assert_eq!(cleared, Some(100), "1,000 packets");
    }

    #[test]
    fn ten_packets_in_a_minute_lift_it_where_nobody_can_be_asked() {
        let mut watch = suspicious();
        assert!(watch.watch(at(60), 5));
        assert!(watch.watch(at(100), 14), "nine");
        assert!(watch.watch(at(120), 14), "a new minute");
        assert!(watch.watch(at(179), 23));
        assert!(!watch.watch(at(179), 24));
        assert!(!watch.note(at(180), packets(24, 5_200)));
        // And it may be suspect again.
        assert!(watch.note(at(240), packets(24, 6_201)));
        assert!(watch.watch(at(240), 24));
        assert!(watch.watch(at(241), 3), "counters that begin again");
        assert!(!watch.watch(at(242), 13));
    }

    #[test]
    fn a_stray_now_and_then_lifts_nothing_where_nobody_can_be_asked() {
        let mut watch = suspicious();
        assert!((60..6_000).all(|second| watch.watch(at(second), second / 7)));
    }

    proptest! {
        #[test]
        fn never_suspect_within_a_minute_of_a_packet_nor_for_a_thousand_sent(
            steps in prop::collection::vec((1_u64..30, 0_u64..2, 0_u64..400), 1..80),
        ) {
            let mut watch = RxWatch::default();
            let (mut now, mut rx, mut tx) = (0, 0, 0);
            let mut last = (0, 0);
            watch.note(at(0), packets(0, 0));
            for (seconds, received, sent) in steps {
                (now, rx, tx) = (now + seconds, rx + received, tx + sent);
                if received > 0 {
                    last = (now, tx);
                }
                let suspect = watch.note(at(now), packets(rx, tx));
                let expected = now - last.0 >= 60 && tx - last.1 > 1_000;
                prop_assert!(suspect || !expected, "overlooked");
                if suspect && !expected {
                    return Ok(()); // It stays suspect until it was compared.
                }
                prop_assert_eq!(suspect, expected);
            }
        }
    }
}
