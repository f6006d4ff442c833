//! The summary as it stands on the wire: `k8s.io/kubelet/pkg/apis/stats/v1alpha1`, types.go.
//!
//! What is added to it is marked *added*: Go's decoder passes over a key that it does not know. `time` is in
//! whole seconds there, too coarse for a reading a second, so each has the instant beside it.

#![allow(unreachable_pub, reason = "the native documents, which the macro is for, are public")]

use serde::{Deserialize, Serialize};

use crate::model::document::documents;

documents! {
    Summary {
        node: Node,
        pods: Vec<Pod>,
    }
    Node {
        node_name: String,
        /// Those whose cgroup is known: `pods`, `kubelet`, `runtime`.
        system_containers: Vec<SystemContainer>,
        start_time?: String,
        cpu?: Cpu,
        memory?: Memory,
        io?: Io,
        network?: Network,
        fs?: FileSystem,
        runtime?: Runtime,
        rlimit?: Rlimit,
        swap?: Swap,
        /// Added: all disks.
        blkio?: BlockIo,
    }
    Pod {
        pod_ref: PodReference,
        start_time?: String,
        containers: Vec<Container>,
        cpu?: Cpu,
        memory?: Memory,
        io?: Io,
        network?: Network,
        #[serde(rename = "process_stats")]
        process_stats?: ProcessStats,
        swap?: Swap,
        /// Added.
        blkio?: BlockIo,
        /// Added: of the oldest figure, when the document was rendered.
        age_seconds: f64,
    }
    /// As a container has them, and each of them may be missing.
    SystemContainer {
        name: String,
        cpu?: Cpu,
        memory?: Memory,
        io?: Io,
        swap?: Swap,
        /// Added: of the oldest figure, when the document was rendered.
        age_seconds?: f64,
    }
    FileSystem {
        time: String,
        /// Added.
        time_unix_nano: u64,
        available_bytes: u64,
        capacity_bytes: u64,
        /// Of `node.fs`: of images and containers the kubelet has what they take themselves, which no file
        /// system tells.
        used_bytes?: u64,
        inodes_free?: u64,
        inodes?: u64,
        /// As `used_bytes`.
        inodes_used?: u64,
    }
    Runtime {
        image_fs?: FileSystem,
        container_fs?: FileSystem,
    }
    Rlimit {
        time: String,
        /// Added.
        time_unix_nano: u64,
        maxpid?: u64,
        curproc: u64,
    }
    PodReference {
        name: String,
        namespace: String,
        /// As in the kubelet's own `/pods`: of a static pod the hash.
        uid: String,
        /// Added: as the API server has it.
        api_uid?: String,
    }
    Container {
        name: String,
        start_time?: String,
        cpu: Cpu,
        memory: Memory,
        io?: Io,
        swap?: Swap,
        /// Added.
        blkio?: BlockIo,
        /// Added: of the oldest figure, when the document was rendered.
        age_seconds: f64,
    }
    Cpu {
        time: String,
        /// Added.
        time_unix_nano: u64,
        usage_nano_cores?: u64,
        usage_core_nano_seconds: u64,
        psi?: Psi,
        /// Added.
        throttling?: Throttling,
    }
    Throttling {
        periods: u64,
        throttled_periods: u64,
        throttled_nanoseconds: u64,
    }
    Memory {
        time: String,
        /// Added.
        time_unix_nano: u64,
        /// Limit − working set; without a limit absent.
        available_bytes?: u64,
        usage_bytes: u64,
        working_set_bytes: u64,
        rss_bytes?: u64,
        page_faults?: u64,
        major_page_faults?: u64,
        psi?: Psi,
    }
    Io {
        time: String,
        /// Added.
        time_unix_nano: u64,
        psi: Psi,
    }
    Psi {
        full?: Stall,
        some: Stall,
    }
    Stall {
        /// Microseconds: the comment in types.go says nanoseconds, but the kubelet passes on what the kernel says.
        total: u64,
        avg10: f64,
        avg60: f64,
        avg300: f64,
    }
    Network {
        time: String,
        /// Added.
        time_unix_nano: u64,
        /// The interface with the default route; without one absent, and so are its counters.
        #[serde(flatten)]
        primary?: Interface,
        interfaces: Vec<Interface>,
    }
    Interface {
        name: String,
        rx_bytes: u64,
        rx_errors?: u64,
        tx_bytes: u64,
        tx_errors?: u64,
        /// Added.
        rx_packets: u64,
        /// Added.
        tx_packets: u64,
        /// Added.
        rx_dropped?: u64,
        /// Added.
        tx_dropped?: u64,
    }
    Swap {
        time: String,
        /// Added.
        time_unix_nano: u64,
        swap_available_bytes?: u64,
        swap_usage_bytes: u64,
    }
    ProcessStats {
        #[serde(rename = "process_count")]
        process_count: u64,
    }
    BlockIo {
        time: String,
        time_unix_nano: u64,
        read_bytes: u64,
        write_bytes: u64,
        read_operations: u64,
        write_operations: u64,
    }
}
