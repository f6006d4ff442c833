//! The native documents, as they stand on the wire: JSON, `camelCase`, units in the names, base
//! units, times as RFC 3339 with nanoseconds and as `…UnixNano`. What is unknown is absent, never
//! `null`; `unavailable` says why. `serve` writes them, `command` reads them back.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::identity::{ContainerKind, ContainerState, Disagreement, Owner, Source};
use super::target::Link;
use super::unavailable::Unavailable;

macro_rules! documents {
    ($($(#[$doc:meta])* $name:ident { $($body:tt)* })*) => {
        $(
            documents!(@one [$(#[$doc])*] $name [] $($body)*);
        )*
    };
    // Optional fields are left out when they are `None`.
    (@one [$($attrs:tt)*] $name:ident [$($done:tt)*] $(#[$doc:meta])* $field:ident ? : $ty:ty, $($rest:tt)*) => {
        documents!(@one [$($attrs)*] $name [$($done)*
            $(#[$doc])* #[serde(default, skip_serializing_if = "Option::is_none")] pub $field: Option<$ty>,
        ] $($rest)*);
    };
    (@one [$($attrs:tt)*] $name:ident [$($done:tt)*] $(#[$doc:meta])* $field:ident : $ty:ty, $($rest:tt)*) => {
        documents!(@one [$($attrs)*] $name [$($done)* $(#[$doc])* pub $field: $ty,] $($rest)*);
    };
    (@one [$($attrs:tt)*] $name:ident [$($done:tt)*]) => {
        $($attrs)*
        #[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
        #[serde(rename_all = "camelCase")]
        pub struct $name { $($done)* }
    };
}

pub(crate) use documents;

/// Why figures are absent, by dotted path: `network`, `cpu.throttling`, `memory.limitBytes`.
pub type Reasons = BTreeMap<String, Unavailable>;

documents! {
    /// `/api/v1/pods`: every pod of the node, from one sweep.
    PodList {
        /// The node's name.
        node: String,
        /// The sweep's number.
        tick: u64,
        /// Start of the sweep.
        time: String,
        /// The same instant.
        time_unix_nano: u64,
        /// Time between sweeps.
        interval_seconds: f64,
        /// First read to last read of this sweep.
        sweep_microseconds: u64,
        /// The pods, by namespace and name, unnamed ones last.
        pods: Vec<Pod>,
    }
    /// `/api/v1/containers`: the same, flat.
    ContainerList {
        /// The node's name.
        node: String,
        /// The sweep's number.
        tick: u64,
        /// Start of the sweep.
        time: String,
        /// The same instant.
        time_unix_nano: u64,
        /// Time between sweeps.
        interval_seconds: f64,
        /// First read to last read of this sweep.
        sweep_microseconds: u64,
        /// Each container with the pod it belongs to.
        containers: Vec<FlatContainer>,
    }
    /// `/api/v1/pods/{namespace}/{name}`, `/api/v1/pods/{uid}`: one pod and the sweep it is from.
    SinglePod {
        /// The node's name.
        node: String,
        /// The sweep's number.
        tick: u64,
        /// Start of the sweep.
        time: String,
        /// The same instant.
        time_unix_nano: u64,
        /// Time between sweeps.
        interval_seconds: f64,
        /// First read to last read of this sweep.
        sweep_microseconds: u64,
        /// The pod, its keys beside those above.
        #[serde(flatten)]
        pod: Pod,
    }
    /// One pod.
    Pod {
        /// Absent while no source has named the pod.
        namespace?: String,
        /// Absent while no source has named the pod.
        name?: String,
        /// `metadata.uid` of the API object; absent while unknown.
        uid?: String,
        /// As in the cgroup: for a static pod its hash.
        runtime_uid: String,
        /// From a file on the node.
        #[serde(rename = "static")]
        static_pod: bool,
        /// Uses the node's network.
        host_network: bool,
        /// `status.phase`.
        phase?: String,
        /// `Guaranteed`, `Burstable` or `BestEffort`.
        qos_class?: String,
        /// When the pod was started.
        start_time?: String,
        /// The same instant.
        start_time_unix_nano?: u64,
        /// Who named it; empty while unnamed.
        identity: Vec<Source>,
        /// Its controller.
        owner?: Owner,
        /// Only when `fields` names them.
        labels?: BTreeMap<String, String>,
        /// The chain to its network.
        sandbox?: Sandbox,
        /// Age of the oldest figure of this pod when the document was rendered.
        age_seconds: f64,
        /// The pod's cgroup, pause and overhead included.
        cpu?: Cpu,
        /// The pod's cgroup.
        memory?: Memory,
        /// Leaf devices, reads and writes.
        io?: Io,
        /// Seen from inside the pod.
        network?: Network,
        /// Tasks.
        pids?: Pids,
        /// Pressure stall information.
        pressure?: Pressure,
        /// Of the last 30 s, or as long as `window` asks.
        window?: Window,
        /// Why what is absent is absent.
        unavailable: Reasons,
        /// Containers whose cgroup lives.
        containers: Vec<Container>,
    }
    /// Of the last seconds the most; of CPU also what 95 of 100 samples were below.
    Window {
        /// What it really covers: up to the newest reading.
        seconds: f64,
        /// The highest rate of any sweep.
        cpu_cores_max?: f64,
        /// 95 % of the rates are no higher.
        cpu_cores_p95?: f64,
        /// The largest working set.
        memory_working_set_max_bytes?: u64,
        /// The highest rate of any sweep.
        rx_bytes_per_second_max?: f64,
        /// The highest rate of any sweep.
        tx_bytes_per_second_max?: f64,
    }
    /// `/api/v1/history/{namespace}/{name}`, `/api/v1/history/{uid}`: the last minutes of one pod.
    PodHistory {
        /// The node's name.
        node: String,
        /// The sweep's number.
        tick: u64,
        /// Start of the sweep.
        time: String,
        /// The same instant.
        time_unix_nano: u64,
        /// Time between sweeps.
        interval_seconds: f64,
        /// First read to last read of this sweep.
        sweep_microseconds: u64,
        /// Absent while no source has named the pod.
        namespace?: String,
        /// Absent while no source has named the pod.
        name?: String,
        /// `metadata.uid` of the API object; absent while unknown.
        uid?: String,
        /// As in the cgroup: for a static pod its hash.
        runtime_uid: String,
        /// One a second at most, oldest first.
        samples: Vec<PastSample>,
        /// Each instance of a container that was there, in the order they appeared.
        containers: Vec<ContainerHistory>,
    }
    /// The last minutes of one instance of a container.
    ContainerHistory {
        /// What it is called.
        #[serde(flatten)]
        container: PastContainer,
        /// One a second at most, oldest first.
        samples: Vec<PastSample>,
    }
    /// What a container is, or was, called.
    PastContainer {
        /// In the pod spec; absent while no source has named it.
        name?: String,
        /// What it is to the pod.
        kind?: ContainerKind,
        /// The runtime's id of this instance.
        id: String,
        /// As the pod asks for it.
        image?: String,
        /// Instances before this one.
        restart_count?: u32,
        /// When this instance started.
        started_at?: String,
        /// The same instant.
        started_at_unix_nano?: u64,
    }
    /// What one sweep read of a pod or a container.
    PastSample {
        /// The sweep's number.
        tick: u64,
        /// Start of the sweep.
        time_unix_nano: u64,
        /// CPU time, without limits and requests.
        cpu?: Cpu,
        /// Memory, without limits and requests.
        memory?: Memory,
        /// Block I/O, totals alone.
        io?: PastIo,
        /// Traffic of a pod, totals alone.
        network?: PastNetwork,
        /// Why what is absent is absent.
        unavailable: Reasons,
    }
    /// Block I/O, totals alone.
    PastIo {
        /// When it was read.
        time_unix_nano: u64,
        /// Total.
        read_bytes: u64,
        /// Total.
        write_bytes: u64,
        /// Total.
        read_operations: u64,
        /// Total.
        write_operations: u64,
        /// Over the window.
        read_bytes_per_second?: f64,
        /// Over the window.
        write_bytes_per_second?: f64,
        /// Over the window.
        read_operations_per_second?: f64,
        /// Over the window.
        write_operations_per_second?: f64,
        /// The window.
        window_seconds?: f64,
    }
    /// Traffic, totals alone.
    PastNetwork {
        /// When it was read.
        time_unix_nano: u64,
        /// `netns`, `host_veth` or `netns_ip`.
        source: String,
        /// Total.
        #[serde(flatten)]
        total: Traffic,
        /// Over the window.
        rx_bytes_per_second?: f64,
        /// Over the window.
        tx_bytes_per_second?: f64,
        /// Over the window.
        rx_packets_per_second?: f64,
        /// Over the window.
        tx_packets_per_second?: f64,
        /// The window.
        window_seconds?: f64,
    }
    /// `/api/v1/recent`: what ended in the last minutes.
    Recent {
        /// The node's name.
        node: String,
        /// The sweep's number.
        tick: u64,
        /// Start of the sweep.
        time: String,
        /// The same instant.
        time_unix_nano: u64,
        /// Time between sweeps.
        interval_seconds: f64,
        /// First read to last read of this sweep.
        sweep_microseconds: u64,
        /// How long an end is remembered, if there is room.
        history_seconds: f64,
        /// Pods and containers, in the order they ended.
        ended: Vec<Ended>,
    }
    /// A pod, or one instance of a container, that is no more.
    Ended {
        /// The pod's; absent if no source had named it.
        namespace?: String,
        /// The pod's name; absent if no source had named it.
        pod?: String,
        /// `metadata.uid` of the API object; absent if unknown.
        uid?: String,
        /// The pod's UID as in the cgroup.
        runtime_uid: String,
        /// Which container; absent: the whole pod.
        container?: PastContainer,
        /// What the source of names says (`OOMKilled`, `Completed`); else `container_gone`, or `pod_gone` with
        /// all that was in it.
        cause: String,
        /// The first sweep that did not find it.
        gone_tick: u64,
        /// Start of that sweep.
        gone_time: String,
        /// The same instant.
        gone_time_unix_nano: u64,
        /// The last that was read of it.
        sample: PastSample,
    }
    /// Sandbox, process and network namespace of a pod.
    Sandbox {
        /// Absent until it is settled which child of the pod's cgroup is the sandbox.
        id?: String,
        /// The process whose view of the netns is read.
        pid?: u32,
        /// `st_ino` of its `net/dev`: equal for processes in one netns.
        netns?: u64,
        /// The interface with the default route.
        interface?: String,
        /// The host's end of the pair, where it can be seen.
        host_interface?: String,
    }
    /// CPU time.
    Cpu {
        /// When it was read.
        time_unix_nano: u64,
        /// Since the cgroup was made.
        usage_nanoseconds: u64,
        /// Of that, in user mode.
        user_nanoseconds?: u64,
        /// Of that, in the kernel.
        system_nanoseconds?: u64,
        /// Cores kept busy over the window.
        cores?: f64,
        /// The window.
        window_seconds?: f64,
        /// Absent without a reason: no limit.
        limit_cores?: f64,
        /// From the pod spec.
        request_cores?: f64,
        /// CFS bandwidth control.
        throttling?: Throttling,
        /// Pods: the same summed over the containers that live.
        containers_sum?: CpuSum,
    }
    /// CFS bandwidth control.
    Throttling {
        /// Enforcement periods.
        periods: u64,
        /// Of those, throttled.
        throttled_periods: u64,
        /// Time held back.
        throttled_nanoseconds: u64,
    }
    /// CPU time summed over containers.
    CpuSum {
        /// Counters summed.
        usage_nanoseconds?: u64,
        /// Rates summed.
        cores?: f64,
    }
    /// Memory.
    Memory {
        /// When it was read.
        time_unix_nano: u64,
        /// Everything charged.
        usage_bytes: u64,
        /// Usage − inactive file cache, as the kubelet counts.
        working_set_bytes?: u64,
        /// Anonymous memory. `memory.stat` may lag by 2 s.
        anon_bytes?: u64,
        /// Page cache, tmpfs included.
        file_bytes?: u64,
        /// Page cache dropped first.
        inactive_file_bytes?: u64,
        /// Swapped out.
        swap_bytes?: u64,
        /// Highest usage so far.
        peak_bytes?: u64,
        /// Absent without a reason: no limit.
        limit_bytes?: u64,
        /// From the pod spec.
        request_bytes?: u64,
        /// Page faults.
        page_faults?: u64,
        /// Page faults that read from disk.
        major_page_faults?: u64,
        /// Processes killed for lack of memory.
        oom_kills?: u64,
        /// Pods: the same summed over the containers that live.
        containers_sum?: MemorySum,
    }
    /// Memory summed over containers.
    MemorySum {
        /// Everything charged.
        usage_bytes?: u64,
        /// Working sets.
        working_set_bytes?: u64,
    }
    /// Block I/O.
    Io {
        /// When it was read.
        time_unix_nano: u64,
        /// When this process began to carry the totals; changes when their base is lost.
        since_unix_nano?: u64,
        /// The kernel's present values.
        raw?: IoRaw,
        /// Total.
        read_bytes: u64,
        /// Total.
        write_bytes: u64,
        /// Total.
        read_operations: u64,
        /// Total.
        write_operations: u64,
        /// Over the window.
        read_bytes_per_second?: f64,
        /// Over the window.
        write_bytes_per_second?: f64,
        /// Over the window.
        read_operations_per_second?: f64,
        /// Over the window.
        write_operations_per_second?: f64,
        /// The window.
        window_seconds?: f64,
        /// Each device, stacked ones too.
        devices: Vec<Device>,
    }
    /// Block I/O as the kernel counts it now.
    IoRaw {
        /// Bytes.
        read_bytes: u64,
        /// Bytes.
        write_bytes: u64,
        /// Count.
        read_operations: u64,
        /// Count.
        write_operations: u64,
    }
    /// One block device.
    Device {
        /// For example `vda`; absent if the node no longer has it.
        device?: String,
        /// Device number.
        major: u32,
        /// Device number.
        minor: u32,
        /// Bytes.
        read_bytes: u64,
        /// Bytes.
        write_bytes: u64,
        /// Count.
        read_operations: u64,
        /// Count.
        write_operations: u64,
        /// Rests on other devices that are counted too: not part of the total.
        stacked: bool,
    }
    /// Traffic.
    Network {
        /// When it was read.
        time_unix_nano: u64,
        /// When this process began to carry the totals; changes when their base is lost.
        since_unix_nano?: u64,
        /// The kernel's present values.
        raw?: Traffic,
        /// `netns`, `host_veth` or `netns_ip`; absent for the node.
        source?: String,
        /// The device received nothing for a minute or more while it sent over 1,000 packets: it may not
        /// count what it receives. With `netns_ip` the total's received figures are the IP layer's.
        rx_suspect?: bool,
        /// Total.
        #[serde(flatten)]
        total: Traffic,
        /// Over the window.
        rx_bytes_per_second?: f64,
        /// Over the window.
        tx_bytes_per_second?: f64,
        /// Over the window.
        rx_packets_per_second?: f64,
        /// Over the window.
        tx_packets_per_second?: f64,
        /// The window.
        window_seconds?: f64,
        /// Interfaces may carry each other's traffic and cannot be told apart.
        overlapping?: bool,
        /// More interfaces than are listed; the total covers all.
        interfaces_truncated?: bool,
        /// All interfaces, `lo` too, at most 64.
        interfaces: Vec<Interface>,
    }
    /// The eight counters. Errors and drops are absent when read from the host's end.
    Traffic {
        /// Bytes.
        rx_bytes: u64,
        /// Packets.
        rx_packets: u64,
        /// Packets.
        rx_errors?: u64,
        /// Packets.
        rx_dropped?: u64,
        /// Bytes.
        tx_bytes: u64,
        /// Packets.
        tx_packets: u64,
        /// Packets.
        tx_errors?: u64,
        /// Packets.
        tx_dropped?: u64,
    }
    /// One interface.
    Interface {
        /// As inside the pod; bytes outside printable ASCII as `\xNN`.
        name: String,
        /// Carries the default route.
        primary: bool,
        /// Part of the total.
        counted: bool,
        /// Its counters.
        #[serde(flatten)]
        traffic: Traffic,
    }
    /// Tasks.
    Pids {
        /// Now.
        current: u64,
        /// Absent without a reason: no limit.
        limit?: u64,
    }
    /// Pressure stall information.
    Pressure {
        /// CPU.
        cpu?: Stall,
        /// Memory.
        memory?: Stall,
        /// Block I/O.
        io?: Stall,
    }
    /// Pressure on one resource.
    Stall {
        /// Some task waited.
        some_microseconds: u64,
        /// All tasks waited.
        full_microseconds?: u64,
        /// Percent of the last 10 s in which some task waited.
        some_avg10: f64,
        /// Of the last minute.
        some_avg60?: f64,
        /// Of the last five minutes.
        some_avg300?: f64,
        /// Percent of the last 10 s in which all tasks waited.
        full_avg10?: f64,
        /// Of the last minute.
        full_avg60?: f64,
        /// Of the last five minutes.
        full_avg300?: f64,
    }
    /// One container.
    Container {
        /// In the pod spec; absent while no source has named it.
        name?: String,
        /// What it is to the pod.
        kind?: ContainerKind,
        /// The runtime's id; absent while it waits for its first instance.
        id?: String,
        /// As the pod asks for it.
        image?: String,
        /// What it is doing.
        state?: ContainerState,
        /// Why it waits or ended, in Kubernetes's words: `CrashLoopBackOff`, `OOMKilled`.
        state_reason?: String,
        /// Instances before this one.
        restart_count?: u32,
        /// When this instance started.
        started_at?: String,
        /// The same instant.
        started_at_unix_nano?: u64,
        /// Its cgroup.
        cpu?: Cpu,
        /// Its cgroup.
        memory?: Memory,
        /// Its cgroup.
        io?: Io,
        /// Tasks.
        pids?: Pids,
        /// Pressure.
        pressure?: Pressure,
        /// Why what is absent is absent.
        unavailable: Reasons,
    }
    /// One container with its pod.
    FlatContainer {
        /// The pod's namespace.
        namespace?: String,
        /// The pod's name.
        pod?: String,
        /// The pod's UID as in the cgroup.
        runtime_uid: String,
        /// The container.
        #[serde(flatten)]
        container: Container,
    }
    /// `/api/v1/node`: the node's own figures.
    Node {
        /// The node's name.
        node: String,
        /// The sweep's number.
        tick: u64,
        /// Start of the sweep.
        time: String,
        /// The same instant.
        time_unix_nano: u64,
        /// Time between sweeps.
        interval_seconds: f64,
        /// First read to last read of this sweep.
        sweep_microseconds: u64,
        /// `/proc/stat`.
        cpu?: NodeCpu,
        /// `/proc/meminfo`.
        memory?: NodeMemory,
        /// Whole disks of `/proc/diskstats`, since boot.
        io?: Io,
        /// The NICs in the netns of pid 1.
        network?: Network,
        /// Processes and threads: `/proc/loadavg`, and the smaller of the kernel's two limits.
        pids?: Pids,
        /// `/proc/pressure`.
        pressure?: Pressure,
        /// The node's own, as far as they are seen from where podvitals runs: statvfs(3).
        file_systems?: Vec<FileSystem>,
        /// What the kubelet calls so: the cgroups of all pods together, of the kubelet, of the runtime.
        system_containers: Vec<SystemContainer>,
        /// Why what is absent is absent.
        unavailable: Reasons,
    }
    /// A file system of the node.
    FileSystem {
        /// When it was asked: every few seconds, beside the sweeps.
        time_unix_nano: u64,
        /// What is mounted: `/dev/vda1`.
        device: String,
        /// Its type: `ext4`. A `tmpfs` is memory and no disk.
        #[serde(rename = "type")]
        kind: String,
        /// Where the node has it; absent where only a part of it is seen, from inside a container.
        mount_point?: String,
        /// What lies on it, as far as that can be told: `root`, `kubelet`, `images`, `containers`.
        holds: Vec<String>,
        /// All.
        capacity_bytes: u64,
        /// What all but root may still write.
        available_bytes: u64,
        /// Taken.
        used_bytes: u64,
        /// Inodes; absent where they are made as they are needed.
        inodes?: u64,
        /// Those that are free.
        inodes_free?: u64,
    }
    /// A part of the node beside single pods.
    SystemContainer {
        /// `pods`, `kubelet` or `runtime`.
        name: String,
        /// Its cgroup.
        cpu?: Cpu,
        /// Its cgroup.
        memory?: Memory,
        /// Tasks.
        pids?: Pids,
        /// Pressure.
        pressure?: Pressure,
        /// Why what is absent is absent.
        unavailable: Reasons,
    }
    /// CPU of the node.
    NodeCpu {
        /// When it was read.
        time_unix_nano: u64,
        /// Not idle, since boot.
        usage_nanoseconds: u64,
        /// User mode.
        user_nanoseconds: u64,
        /// Kernel, interrupts included.
        system_nanoseconds: u64,
        /// Cores kept busy over the window.
        cores?: f64,
        /// The window.
        window_seconds?: f64,
        /// CPUs online.
        capacity_cores: u32,
    }
    /// Memory of the node.
    NodeMemory {
        /// When it was read.
        time_unix_nano: u64,
        /// All.
        total_bytes: u64,
        /// Can be had without swapping.
        available_bytes: u64,
        /// Unused.
        free_bytes: u64,
        /// Page cache, buffers and reclaimable slab.
        cached_bytes: u64,
        /// `total` − `available`.
        used_bytes: u64,
        /// `total` − `free` − `inactiveFile`: what the kubelet calls the node's working set.
        working_set_bytes?: u64,
        /// Page cache the kernel drops first.
        inactive_file_bytes?: u64,
        /// Anonymous memory of all processes: `/proc/vmstat`.
        anon_bytes?: u64,
        /// Page faults since boot.
        page_faults?: u64,
        /// Those that waited for a disk.
        major_page_faults?: u64,
        /// Swap in use.
        swap_used_bytes: u64,
        /// Swap.
        swap_total_bytes: u64,
    }
    /// `/api/v1/map`: how each pod was found.
    Map {
        /// The node's name.
        node: String,
        /// Counts changes of the map.
        generation: u64,
        /// The pods.
        pods: Vec<MapPod>,
    }
    /// The chain of one pod.
    MapPod {
        /// Absent while unnamed.
        namespace?: String,
        /// Absent while unnamed.
        name?: String,
        /// Of the API object.
        uid?: String,
        /// As in the cgroup.
        runtime_uid: String,
        /// Who named it.
        identity: Vec<Source>,
        /// The pod's cgroup, below the mount of each hierarchy.
        cgroup: String,
        /// When the newest of its cgroups became a target.
        since_unix_nano: u64,
        /// Whether it is settled which child is the sandbox.
        sandbox_settled: bool,
        /// Sandbox, process and netns.
        sandbox?: Sandbox,
        /// Where the network is read: `netns`, `host_veth`, or the reason why it is not.
        network: String,
        /// Children of the pod's cgroup.
        containers: Vec<MapContainer>,
        /// Link by link.
        evidence: Vec<MapEvidence>,
        /// What the sources of names contradict each other about.
        disagreements: Vec<Disagreement>,
    }
    /// One child of a pod's cgroup.
    MapContainer {
        /// The id in the directory's name.
        id: String,
        /// Absent while unnamed.
        name?: String,
        /// What it is to the pod.
        kind?: ContainerKind,
        /// Below the mount of each hierarchy.
        cgroup: String,
        /// When it became a target.
        since_unix_nano: u64,
    }
    /// Why one link of the chain is believed, or what was not found.
    MapEvidence {
        /// Which link.
        link?: Link,
        /// What was found; absent if nothing was.
        found?: String,
        /// Who says so, or what was tried in vain.
        by: String,
        /// Since when it has been so.
        since_unix_nano: u64,
    }
    /// An error, as RFC 9457 has it: `application/problem+json`.
    Problem {
        /// `about:blank`: the status says it all.
        #[serde(rename = "type")]
        kind: String,
        /// The status in words.
        title: String,
        /// The HTTP status.
        status: u16,
        /// What was wrong, where, and what to do.
        detail: String,
    }
}
