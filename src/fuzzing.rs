//! Every parser of foreign bytes as a target for a fuzzer: a function that panics if what must hold does
//! not. The corpus of each runs as a test; `make fuzz` runs them on mutations of it.

use crate::command::fuzzing as command;
use crate::config::fuzzing as config;
use crate::host::fuzzing as host;
use crate::kubernetes::fuzzing as kubernetes;
use crate::model::counters::{IoCounters, NetworkCounters};
use crate::runtime::fuzzing as runtime;
use crate::serve::fuzzing as serve;

/// One target.
#[derive(Clone, Copy, Debug)]
pub struct Target {
    /// Its folder in `fuzz/corpus`.
    pub name: &'static str,
    /// Panics if an invariant is violated.
    pub run: fn(&[u8]),
}

const fn target(name: &'static str, run: fn(&[u8])) -> Target {
    Target { name, run }
}

/// All of them, by name.
pub const TARGETS: [Target; 41] = [
    target("blkio_v1", host::blkio_v1),
    target("certificate", serve::certificate),
    target("cgroup_path", host::cgroup_path),
    target("cgroup_procfile", host::cgroup_procfile),
    target("cgroup_procs", host::cgroup_procs),
    target("counter_delta", counter_delta),
    target("cpu_stat", host::cpu_stat),
    target("cpuacct", host::cpuacct),
    target("cri_info", runtime::cri_info),
    target("cri_lists", runtime::cri_lists),
    target("cri_status", runtime::cri_status),
    target("docker_inspect", runtime::docker_inspect),
    target("docker_list", runtime::docker_list),
    target("duration", config::duration),
    target("interfaces", host::interfaces),
    target("io_stat", host::io_stat),
    target("kubelet_url", kubernetes::kubelet_url),
    target("limit_value", host::limit_value),
    target("map_document", command::map_document),
    target("memory_stat", host::memory_stat),
    target("mountinfo", host::mountinfo),
    target("net_dev", host::net_dev),
    target("net_ip", host::net_ip),
    target("netlink", host::netlink),
    target("node_files", host::node_files),
    target("numbers", host::numbers),
    target("own_metrics", serve::own_metrics),
    target("pid_stat", host::pid_stat),
    target("pid_status", host::pid_status),
    target("pod_json", kubernetes::pod_json),
    target("pod_list", kubernetes::pod_list),
    target("psi", host::psi),
    target("quantity", kubernetes::quantity),
    target("query_params", serve::query_params),
    target("request_head", serve::request_head),
    target("reviews", kubernetes::reviews),
    target("server_url", command::server_url),
    target("settings", config::settings),
    target("terminal", command::terminal),
    target("units", host::units),
    target("watch_stream", kubernetes::watch_stream),
];

/// Counters as the kernel may show them, taken from each other and added: never less than nothing, and
/// what was taken off, added again, is what it was.
fn counter_delta(bytes: &[u8]) {
    let mut numbers =
        bytes.chunks_exact(8).map(|chunk| chunk.iter().fold(0, |sum, byte| sum << 8 | u64::from(*byte)));
    let mut eight = || std::array::from_fn::<u64, 8, _>(|_| numbers.next().unwrap_or_default());
    let (earlier, later) = (NetworkCounters::from_array(eight()), NetworkCounters::from_array(eight()));
    let forward = earlier.to_array().iter().zip(later.to_array()).all(|(earlier, later)| *earlier <= later);
    let since = later.since(earlier);
    assert_eq!(since.is_some(), forward, "{earlier:?} {later:?}");
    assert!(since.is_none_or(|since| earlier.plus(since) == later));
    let io = |of: NetworkCounters| IoCounters {
        read_bytes: of.rx_bytes,
        write_bytes: of.tx_bytes,
        read_operations: of.rx_packets,
        write_operations: of.tx_packets,
    };
    let (earlier, later) = (io(earlier), io(later));
    assert!(later.since(earlier).is_none_or(|since| earlier.plus(since) == later));
}
