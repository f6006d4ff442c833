//! The tables of `get`, letter by letter.

use std::collections::BTreeMap;

use super::*;
use crate::model::document::Container;
use crate::model::document::Cpu;
use crate::model::document::FlatContainer;
use crate::model::document::Io;
use crate::model::document::Memory;
use crate::model::document::Network;
use crate::model::document::NodeCpu;
use crate::model::document::NodeMemory;
use crate::model::document::Pids;
use crate::model::document::Pod;
use crate::model::document::Sandbox;
use crate::model::document::Throttling;
use crate::model::identity::ContainerKind;
use crate::model::identity::ContainerState;
use crate::model::unavailable::Unavailable;

const SECOND: u64 = 1_000_000_000;
const NOW: u64 = 1_000_000 * SECOND;
const MI: u64 = 1 << 20;

fn web() -> Pod {
    Pod {
        namespace: Some("default".into()),
        name: Some("web".into()),
        uid: Some("5c1f".into()),
        runtime_uid: "5c1f".into(),
        qos_class: Some("Burstable".into()),
        start_time_unix_nano: Some(NOW - 750 * SECOND),
        sandbox: Some(Sandbox {
            pid: Some(4242),
            netns: Some(4_026_532_501),
            interface: Some("eth0".into()),
            host_interface: Some("veth1a2b".into()),
            ..Sandbox::default()
        }),
        cpu: Some(Cpu {
            cores: Some(0.531),
            limit_cores: Some(1.0),
            throttling: Some(Throttling { throttled_nanoseconds: 4_200_000_000, ..Throttling::default() }),
            ..Cpu::default()
        }),
        memory: Some(Memory { working_set_bytes: Some(50 * MI), ..Memory::default() }),
        network: Some(Network {
            rx_bytes_per_second: Some(1.2 * 1_048_576.0),
            tx_bytes_per_second: Some(640.0 * 1024.0),
            ..Network::default()
        }),
        io: Some(Io {
            read_bytes_per_second: Some(0.0),
            write_bytes_per_second: Some(4096.0),
            ..Io::default()
        }),
        pids: Some(Pids { current: 7, limit: None }),
        containers: vec![
            Container { restart_count: Some(2), ..Container::default() },
            Container { restart_count: None, ..Container::default() },
            Container { restart_count: Some(1), ..Container::default() },
        ],
        ..Pod::default()
    }
}

fn host_network() -> Pod {
    Pod {
        namespace: Some("kube-system".into()),
        name: Some("proxy".into()),
        runtime_uid: "77".into(),
        host_network: true,
        cpu: Some(Cpu { cores: Some(0.002), ..Cpu::default() }),
        unavailable: BTreeMap::from([("network".to_owned(), Unavailable::HostNetwork)]),
        ..Pod::default()
    }
}

fn unnamed() -> Pod {
    Pod { runtime_uid: "9e9e".into(), ..Pod::default() }
}

fn pods(wide: bool) -> String {
    tabled(&[web(), host_network(), unnamed()], NOW, wide, true)
}

#[test]
fn pods_are_a_table_in_which_absent_is_not_zero() {
    let expected = "\
NAMESPACE     NAME    CPU(cores)   MEMORY(working set)    RX/s    TX/s   READ/s   WRITE/s   RESTARTS   AGE
default       web           531m                  50Mi   1.2Mi   640Ki        0     4.0Ki          3   12m
kube-system   proxy           2m                     -    host    host        -         -          -     -
<none>        9e9e             -                     -       -       -        -         -          -     -
";
    assert_eq!(pods(false), expected);
}

#[test]
fn wide_adds_the_chain_to_the_network_and_the_limits() {
    let text = pods(true);
    let heads: Vec<&str> = text.lines().next().unwrap().split_whitespace().skip(11).collect();
    assert_eq!(
        heads,
        ["UID", "SANDBOX-PID", "NETNS", "INTERFACE", "HOSTIF", "LIMITS", "QOS", "THROTTLED", "PIDS"]
    );
    let web: Vec<&str> = text.lines().nth(1).unwrap().split_whitespace().skip(10).collect();
    assert_eq!(web, ["5c1f", "4242", "4026532501", "eth0", "veth1a2b", "1000m/-", "Burstable", "4.2s", "7"]);
    let unnamed: Vec<&str> = text.lines().nth(3).unwrap().split_whitespace().skip(10).collect();
    assert_eq!(unnamed, ["9e9e", "-", "-", "-", "-", "-", "-", "-", "-"]);
}

#[test]
fn without_titles_there_are_rows_only() {
    assert_eq!(tabled(&[unnamed()], NOW, false, false), "<none>   9e9e   -   -   -   -   -   -   -   -\n");
    assert_eq!(tabled::<Pod>(&[], NOW, false, false), "");
}

#[test]
fn containers_are_a_table_of_their_own() {
    let container = FlatContainer {
        namespace: Some("default".into()),
        pod: Some("web".into()),
        runtime_uid: "5c1f".into(),
        container: Container {
            name: Some("app".into()),
            kind: Some(ContainerKind::App),
            id: Some("0123456789abcdef".into()),
            image: Some("busybox:1".into()),
            state: Some(ContainerState::Running),
            restart_count: Some(0),
            started_at_unix_nano: Some(NOW - 3 * SECOND),
            cpu: Some(Cpu { cores: Some(1.0), ..Cpu::default() }),
            ..Container::default()
        },
    };
    let expected = "\
NAMESPACE   POD   CONTAINER   KIND   CPU(cores)   MEMORY(working set)   READ/s   WRITE/s   RESTARTS   AGE
default     web   app         app         1000m                     -        -         -          0    3s
";
    assert_eq!(tabled(std::slice::from_ref(&container), NOW, false, true), expected);
    let text = tabled(std::slice::from_ref(&container), NOW, true, true);
    let wide: Vec<&str> = text.lines().nth(1).unwrap().split_whitespace().skip(10).collect();
    assert_eq!(wide, ["running", "0123456789ab", "-", "-", "-", "busybox:1"]);
    assert_eq!(names(&[container]), "container/default/web/app\n");
}

#[test]
fn the_node_is_one_line() {
    let node = Node {
        node: "n1".into(),
        cpu: Some(NodeCpu { cores: Some(0.25), capacity_cores: 2, ..NodeCpu::default() }),
        memory: Some(NodeMemory { used_bytes: 512 * MI, total_bytes: 4096 * MI, ..NodeMemory::default() }),
        ..Node::default()
    };
    let expected = "\
NAME   CPU(cores)   CPUS   MEMORY(used)   MEMORY(total)   RX/s   TX/s   READ/s   WRITE/s
n1           250m      2          512Mi          4096Mi      -      -        -         -
";
    assert_eq!(tabled(&[node], NOW, false, true), expected);
}

#[test]
fn names_are_what_kubectl_would_print_or_the_uid() {
    assert_eq!(names(&[web(), unnamed()]), "pod/default/web\npod/9e9e\n");
}

#[test]
fn a_column_is_named_in_any_case_with_or_without_its_unit() {
    for by in ["cpu", "CPU", "-cpu(cores)"] {
        let (column, descending) = column::<Pod>(by).unwrap();
        assert_eq!((column.title, descending), ("CPU(cores)", by.starts_with('-')), "{by}");
    }
    assert_eq!(column::<Pod>("rx").unwrap().0.title, "RX/s");
    assert!(column::<Pod>("cpu.cores").is_none());
}

#[test]
fn items_without_the_value_are_last_in_both_directions() {
    let order = |by: &str| {
        let mut items = [unnamed(), web(), host_network()];
        let (column, descending) = column::<Pod>(by).unwrap();
        sort(&mut items, NOW, column, descending);
        items.map(|pod| pod.runtime_uid)
    };
    assert_eq!(order("cpu"), ["77", "5c1f", "9e9e"]);
    assert_eq!(order("-cpu"), ["5c1f", "77", "9e9e"]);
    assert_eq!(order("-namespace"), ["77", "5c1f", "9e9e"]);
}

#[test]
fn what_is_no_column_is_for_the_server_to_sort_by() {
    let mut request = Get {
        kind: Kind::Pods,
        namespace: Some("default".into()),
        selector: Some("app in (web)".into()),
        output: Output::Table,
        sort_by: Some("-memory.anonBytes".into()),
        watch: false,
        titles: true,
    };
    let asked = "/api/v1/pods?namespace=default&labelSelector=app%20in%20%28web%29&sort=-memory.anonBytes";
    assert_eq!(path::<Pod>(&request), asked);
    request = Get { namespace: None, selector: None, sort_by: Some("memory".into()), ..request };
    assert_eq!(path::<Pod>(&request), "/api/v1/pods");
}

#[test]
fn yaml_has_the_same_keys_in_the_same_order_and_no_nulls() {
    let list = PodList { node: "n1".into(), time_unix_nano: NOW, pods: vec![web()], ..PodList::default() };
    let text = yaml(&list).unwrap();
    assert!(text.starts_with("node: n1\n"), "{text}");
    assert!(text.contains("\n  name: web\n"), "{text}");
    assert!(text.contains("cores: 0.531\n"), "{text}");
    assert!(!text.contains("null"), "{text}");
}

#[test]
fn a_table_is_drawn_over_the_one_before() {
    assert_eq!(redrawn("a\nb\n", true), "\x1b[2J\x1b[Ha\x1b[K\nb\x1b[K\n\x1b[J");
    assert!(!redrawn("a\n", false).contains("\x1b[2J"));
}
