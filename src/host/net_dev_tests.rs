//! Tests of `net_dev`.

use std::fs;
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::sync::Arc;

use proptest::prelude::*;

use super::*;

const HEAD: &str = "Inter-|   Receive                                                |  Transmit\n \
    face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets errs drop fifo colls carrier compressed\n";
const LO: &str = "    lo:    3193      29    0    0    0     0          0         0     3193      29    0    0    0     0       0          0\n";
const ETH0: &str = "  eth0: 114141779    3252    1    2    0     0          0         7   181934    1792    3    4    0     0       0          0\n";

fn line(name: &str, figure: u64) -> String {
    let figures = [figure; 16].map(|figure| figure.to_string()).join(" ");
    format!("{name:>6}: {figures}\n")
}

fn name(text: &str) -> InterfaceName {
    InterfaceName::new(text.as_bytes()).unwrap()
}

/// The `/proc/<pid>` of a process that never was.
struct Fixture {
    at: PathBuf,
    process: PinnedProcess,
}

impl Fixture {
    fn new(test: &str, interfaces: &[&str]) -> Self {
        let at = std::env::temp_dir().join(format!("podvitals-net-{test}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&at);
        fs::create_dir_all(at.join("net")).unwrap();
        fs::write(at.join("net/dev"), HEAD.to_owned() + &interfaces.concat()).unwrap();
        let dir: OwnedFd = fs::File::open(&at).unwrap().into();
        let netns = fs::metadata(at.join("net/dev")).unwrap().ino();
        Self { at, process: PinnedProcess { pid: 4242, dir: Arc::new(dir), netns } }
    }

    fn put(&self, path: &str, text: &str) {
        let path = self.at.join("net").join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    fn set(&self, interfaces: &[&str]) {
        self.put("dev", &(HEAD.to_owned() + &interfaces.concat()));
    }
}

impl Drop for Fixture {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.at);
    }
}

fn read(
    reader: &mut NetDevReader,
    fixture: &Fixture,
    slow: bool,
) -> (Result<NetworkTotals, Unavailable>, Vec<InterfaceRow>, Health) {
    let (mut buffer, mut rows, health) = (Vec::new(), Vec::new(), Health::default());
    let reading = reader.read(&fixture.process, &mut buffer, &mut rows, slow, &health, TargetId(1));
    (reading.map(|stamped| stamped.value), rows, health)
}

fn once(fixture: &Fixture) -> (NetworkTotals, Vec<InterfaceRow>) {
    let (totals, rows, _) = read(&mut NetDevReader::new(), fixture, false);
    (totals.unwrap(), rows)
}

#[test]
fn a_pods_interface_is_read_to_the_last_figure() {
    let pod = Fixture::new("plain", &[LO, ETH0]);
    pod.put("route", "Iface\tDestination\neth0\t00000000\t0101F40A\t0003\t0\t0\t0\t00000000\t0\t0\t0\n");
    let (totals, rows) = once(&pod);
    let counters = NetworkCounters::from_array([114_141_779, 3252, 1, 2, 181_934, 1792, 3, 4]);
    assert_eq!(totals.total, counters);
    assert_eq!(totals.rows, 0..2);
    assert!(!totals.truncated && !totals.overlapping);
    assert_eq!(rows[1], InterfaceRow { name: name("eth0"), primary: true, counted: true, counters });
    assert_eq!((rows[0].name, rows[0].counted, rows[0].primary), (name("lo"), false, false));
}

#[test]
fn loopback_and_the_kernels_tunnels_are_listed_but_not_counted() {
    let tunnels = TUNNELS.map(|tunnel| line(std::str::from_utf8(tunnel).unwrap(), 1000));
    let mut interfaces = vec![LO, ETH0];
    interfaces.extend(tunnels.iter().map(String::as_str));
    let net1 = line("net1", 5);
    interfaces.push(&net1);
    let (totals, rows) = once(&Fixture::new("tunnels", &interfaces));
    assert_eq!(totals.total.rx_bytes, 114_141_779 + 5);
    assert_eq!(rows.len(), 12);
    assert_eq!(rows.iter().filter(|row| row.counted).count(), 2);
    assert!(!totals.overlapping);
}

#[test]
fn names_that_only_resemble_loopback_or_a_host_device_count() {
    for odd in ["local0", "veth1", "a:b", "eth0:1", "lo0", "tunl1"] {
        let (totals, rows) = once(&Fixture::new("odd", &[LO, &line(odd, 9)]));
        assert_eq!(totals.total.rx_bytes, 9, "{odd}");
        assert_eq!(rows[1].name, name(odd));
        assert!(!totals.overlapping, "{odd} is alone");
    }
}

#[test]
fn bytes_beyond_ascii_are_names_too() {
    let mut text = b"h\nh\n".to_vec();
    text.extend_from_slice(b"\xffnet\x01: 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16\n");
    let (found, counters) = interface_lines(&text).find_map(parse_line).unwrap();
    assert_eq!(found.as_bytes(), b"\xffnet\x01");
    assert_eq!(counters.to_array(), [1, 2, 3, 4, 9, 10, 11, 12]);
}

#[test]
fn a_vlan_is_counted_by_its_parent() {
    let pod = Fixture::new("vlan", &[LO, ETH0, &line("eth0.5", 7)]);
    pod.put("vlan/config", "");
    pod.put("vlan/eth0.5", "");
    let (totals, rows) = once(&pod);
    assert_eq!(totals.total.rx_bytes, 114_141_779);
    assert!(!rows[2].counted && !totals.overlapping);
}

#[test]
fn a_vlan_whose_parent_is_elsewhere_counts() {
    let pod = Fixture::new("lone-vlan", &[LO, &line("eth0", 7)]);
    pod.put("vlan/eth0", "");
    let (totals, rows) = once(&pod);
    assert_eq!(totals.total.rx_bytes, 7);
    assert_eq!((rows.len(), totals.rows, rows[1].counted), (2, 0..2, true));
}

#[test]
fn stacked_looking_names_beside_others_overlap() {
    for stacked in ["bond0", "br0", "br-1f", "vxlan.calico", "docker0", "wg0"] {
        let (totals, _) = once(&Fixture::new("stacked", &[LO, ETH0, &line(stacked, 7)]));
        assert!(totals.overlapping, "{stacked}");
    }
    let (totals, _) = once(&Fixture::new("unstacked", &[LO, ETH0, &line("broad0", 7)]));
    assert!(!totals.overlapping);
}

#[test]
fn a_new_interface_is_looked_into_at_once_and_a_new_route_on_the_slow_tier() {
    let pod = Fixture::new("new", &[LO, &line("a", 1)]);
    let mut reader = NetDevReader::new();
    read(&mut reader, &pod, false).0.unwrap();
    pod.put("vlan/a.5", "");
    pod.set(&[LO, &line("a", 2), &line("a.5", 1)]);
    let (totals, rows, _) = read(&mut reader, &pod, false);
    assert_eq!(totals.unwrap().total.rx_bytes, 2);
    assert!(rows.iter().all(|row| !row.primary));
    pod.put("route", "head\na\t00000000\t0101F40A\t0003\t0\t0\t0\t00000000\t0\t0\t0\n");
    assert!(!read(&mut reader, &pod, false).1[1].primary);
    assert!(read(&mut reader, &pod, true).1[1].primary);
}

#[test]
fn a_bad_line_costs_the_line() {
    let pod = Fixture::new("bad", &[LO, "  eth9: 1 2 3\n", " eth8 no colon\n", ETH0]);
    let (totals, rows, health) = read(&mut NetDevReader::new(), &pod, false);
    assert_eq!(totals.unwrap().total.rx_bytes, 114_141_779);
    assert_eq!(rows.len(), 2);
    assert_eq!(health.counted(Room::Host, Trouble::Malformed), 2);
}

#[test]
fn more_than_64_interfaces_are_counted_but_not_listed() {
    let many: String = (0..500).map(|i| line(&format!("net{i}"), 3)).collect();
    let (totals, rows) = once(&Fixture::new("many", &[LO, &many]));
    assert_eq!(totals.total.tx_packets, 1500);
    assert_eq!((rows.len(), totals.rows, totals.truncated), (64, 0..64, true));
}

#[test]
fn an_interface_that_comes_or_goes_shows_though_it_is_not_listed() {
    let many: String = (0..500).map(|i| line(&format!("net{i}"), 3)).collect();
    let late = line("late", 1_000_000);
    let pod = Fixture::new("beyond", &[LO, &many]);
    let mut reader = NetDevReader::new();
    let mut read = |interfaces: &[&str]| {
        pod.set(interfaces);
        let (totals, rows, _) = read(&mut reader, &pod, false);
        assert_eq!(rows.len(), MAX_ROWS);
        totals.unwrap()
    };
    let before = read(&[LO, &many]);
    assert_eq!(before.counted, read(&[LO, &many.replace(" 3", " 4")]).counted, "only names matter");
    let with_past = read(&[LO, &many, &late]);
    assert_ne!(before.counted, with_past.counted);
    assert_eq!(with_past.total.rx_bytes, before.total.rx_bytes + 1_000_000);
    // One that is no part of the total may come and go: on a node each pod's veth does.
    assert_eq!(with_past.counted, read(&[LO, &many, &late, &line("gre0", 7)]).counted);
    assert_eq!(before.counted, read(&[LO, &many]).counted);
}

#[test]
fn another_netns_gives_no_figure() {
    let mut pod = Fixture::new("moved", &[LO, ETH0]);
    pod.process.netns += 1;
    let (totals, rows, health) = read(&mut NetDevReader::new(), &pod, false);
    assert_eq!(totals.unwrap_err(), Unavailable::NetnsGone);
    assert!(rows.is_empty());
    assert_eq!(health.counted(Room::Host, Trouble::Gone), 1);
}

#[test]
fn a_file_that_went_is_a_netns_that_went() {
    let pod = Fixture::new("went", &[LO]);
    fs::remove_file(pod.at.join("net/dev")).unwrap();
    assert_eq!(read(&mut NetDevReader::new(), &pod, false).0.unwrap_err(), Unavailable::NetnsGone);
}

#[test]
fn a_text_without_interfaces_is_not_a_pod_without_traffic() {
    let pod = Fixture::new("empty", &[]);
    assert_eq!(read(&mut NetDevReader::new(), &pod, false).0.unwrap_err(), Unavailable::NotYet);
}

#[test]
fn no_cut_of_the_file_gives_a_wrong_figure() {
    let whole = [HEAD, LO, ETH0].concat();
    let known: Vec<_> = interface_lines(whole.as_bytes()).filter_map(parse_line).collect();
    assert_eq!(known.len(), 2);
    for end in 0..whole.len() {
        for found in interface_lines(&whole.as_bytes()[..end]).filter_map(parse_line) {
            assert!(known.contains(&found), "cut at {end}");
        }
    }
}

#[test]
fn the_longest_line_fits_what_is_left_for_it() {
    let longest = line("fifteen-letters", u64::MAX);
    assert!(longest.len() <= LONGEST_LINE, "{}", longest.len());
}

proptest! {
    #[test]
    fn any_line_is_refused_or_read_without_panic(line in proptest::collection::vec(any::<u8>(), 0..400)) {
        let _ = parse_line(&line);
    }

    #[test]
    fn a_line_as_the_kernel_prints_it_comes_back(
        name in "[^ \\s/]{1,15}",
        figures in proptest::array::uniform16(any::<u64>()),
    ) {
        prop_assume!(name.len() <= 15);
        let text = format!("{name:>6}: {}", figures.map(|figure| figure.to_string()).join("    "));
        let (found, counters) = parse_line(text.as_bytes()).unwrap();
        prop_assert_eq!(found.as_bytes(), name.as_bytes());
        let [a, b, c, d, _, _, _, _, e, f, g, h, ..] = figures;
        prop_assert_eq!(counters.to_array(), [a, b, c, d, e, f, g, h]);
    }
}

#[test]
fn the_wires_into_a_virtual_machine_are_listed_and_not_counted() {
    let pod = Fixture::new("kata", &[LO, ETH0, &line("tap0_kata", 7), &line("br0_kata", 9)]);
    let mut rows = Vec::new();
    let totals = NetDevReader::new()
        .read(&pod.process, &mut Vec::new(), &mut rows, true, &Health::default(), TargetId(1))
        .unwrap()
        .value;
    assert_eq!(totals.total.rx_bytes, 114_141_779);
    assert!(!totals.overlapping, "nothing that counts lies on anything else");
    let counted: Vec<_> = rows.iter().map(|row| (row.name, row.counted)).collect();
    let expected = [("lo", false), ("eth0", true), ("tap0_kata", false), ("br0_kata", false)];
    assert_eq!(counted, expected.map(|(it, counted)| (name(it), counted)));
}
