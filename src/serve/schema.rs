//! The native documents as a table: every object, every key, its type and what it says.
//!
//! `/openapi.json` is made of it, and `?fields=` and `?sort=` are checked against it. It is kept by
//! hand beside [`crate::model::document`]; a test holds the two together.

use crate::model::file_systems::Holds;

use self::Type::{Flag, Integer, List, Map, Number, Object, Text, Time, Word};

/// What a key holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Type {
    /// A string.
    Text,
    /// RFC 3339 with nanoseconds.
    Time,
    /// A whole number, not negative.
    Integer,
    /// A finite number.
    Number,
    /// `true` or `false`.
    Flag,
    /// One of a fixed list.
    Word(&'static [&'static str]),
    /// Another object of this table.
    Object(&'static str),
    /// Any number of these.
    List(&'static Type),
    /// Keys that are data.
    Map(&'static Type),
}

/// One key.
#[derive(Clone, Copy, Debug)]
pub(super) struct Field {
    pub(super) name: &'static str,
    pub(super) holds: Type,
    pub(super) required: bool,
    pub(super) help: &'static str,
}

/// One object.
#[derive(Clone, Copy, Debug)]
pub(super) struct Schema {
    pub(super) name: &'static str,
    pub(super) help: &'static str,
    parts: &'static [&'static [Field]],
}

impl Schema {
    /// All keys.
    pub(super) fn fields(&self) -> impl Iterator<Item = &'static Field> + use<> {
        self.parts.iter().flat_map(|part| part.iter())
    }
}

/// What the object `name` holds under `key`.
pub(super) fn field(name: &str, key: &str) -> Option<&'static Field> {
    SCHEMAS.iter().find(|schema| schema.name == name)?.fields().find(|field| field.name == key)
}

const fn always(name: &'static str, holds: Type, help: &'static str) -> Field {
    Field { name, holds, required: true, help }
}

const fn optional(name: &'static str, holds: Type, help: &'static str) -> Field {
    Field { name, holds, required: false, help }
}

const fn schema(name: &'static str, help: &'static str, parts: &'static [&'static [Field]]) -> Schema {
    Schema { name, help, parts }
}

const SOURCES: &[&str] = &["kube", "kubelet", "cri", "docker"];
const KINDS: &[&str] = &["app", "init", "sidecar", "ephemeral"];
const STATES: &[&str] = &["waiting", "running", "terminated"];
const SUBJECTS: &[&str] = &["name", "uid", "hostNetwork", "containerName"];
const LINKS: &[&str] = &[
    "pod",
    "runtimeUid",
    "podCgroup",
    "containers",
    "sandbox",
    "process",
    "netns",
    "interfaces",
    "hostInterface",
];
const REASONS: &[&str] = &[
    "host_network",
    "no_process",
    "netns_gone",
    "controller_off",
    "kernel_without_psi",
    "blkio_not_accounted",
    "hidepid",
    "permission",
    "runtime_vm",
    "not_yet",
];

const ENVELOPE: &[Field] = &[
    always("node", Text, "The node's name."),
    always("tick", Integer, "The sweep's number."),
    always("time", Time, "Start of the sweep."),
    always("timeUnixNano", Integer, "The same instant."),
    always("intervalSeconds", Number, "Time between sweeps."),
    always("sweepMicroseconds", Integer, "First read to last read of this sweep."),
];

const POD: &[Field] = &[
    optional("namespace", Text, "Absent while no source has named the pod."),
    optional("name", Text, "Absent while no source has named the pod."),
    optional("uid", Text, "metadata.uid of the API object; absent while unknown."),
    always("runtimeUid", Text, "As in the cgroup: for a static pod its hash."),
    always("static", Flag, "From a file on the node."),
    always("hostNetwork", Flag, "Uses the node's network."),
    optional("phase", Text, "status.phase."),
    optional("qosClass", Text, "Guaranteed, Burstable or BestEffort."),
    optional("startTime", Time, "When the pod was started."),
    optional("startTimeUnixNano", Integer, "The same instant."),
    always("identity", List(&Word(SOURCES)), "Who named it; empty while unnamed."),
    optional("owner", Object("Owner"), "Its controller."),
    optional("labels", Map(&Text), "Only when fields names them."),
    optional("sandbox", Object("Sandbox"), "The chain to its network."),
    always("ageSeconds", Number, "Age of the oldest figure of this pod when the document was rendered."),
    optional("cpu", Object("Cpu"), "The pod's cgroup, pause and overhead included."),
    optional("memory", Object("Memory"), "The pod's cgroup."),
    optional("io", Object("Io"), "Leaf devices, reads and writes."),
    optional("network", Object("Network"), "Seen from inside the pod."),
    optional("pids", Object("Pids"), "Tasks."),
    optional("pressure", Object("Pressure"), "Pressure stall information."),
    optional("window", Object("Window"), "Of the last 30 s, or as long as window asks."),
    always("unavailable", Map(&Word(REASONS)), "Why what is absent is absent."),
    always(
        "containers",
        List(&Object("Container")),
        "Containers, also those that wait or have ended: of each the last instance.",
    ),
];

const CONTAINER: &[Field] = &[
    optional("name", Text, "In the pod spec; absent while no source has named it."),
    optional("kind", Word(KINDS), "What it is to the pod."),
    optional("id", Text, "The runtime's id; absent while it waits for its first instance."),
    optional("image", Text, "As the pod asks for it."),
    optional("state", Word(STATES), "What it is doing."),
    optional(
        "stateReason",
        Text,
        "Why it waits or ended, in Kubernetes's words: CrashLoopBackOff, OOMKilled.",
    ),
    optional("restartCount", Integer, "Instances before this one."),
    optional("startedAt", Time, "When this instance started."),
    optional("startedAtUnixNano", Integer, "The same instant."),
    optional("cpu", Object("Cpu"), "Its cgroup."),
    optional("memory", Object("Memory"), "Its cgroup."),
    optional("io", Object("Io"), "Its cgroup."),
    optional("pids", Object("Pids"), "Tasks."),
    optional("pressure", Object("Pressure"), "Pressure."),
    always("unavailable", Map(&Word(REASONS)), "Why what is absent is absent."),
];

const PAST_CONTAINER: &[Field] = &[
    optional("name", Text, "In the pod spec; absent while no source has named it."),
    optional("kind", Word(KINDS), "What it is to the pod."),
    always("id", Text, "The runtime's id of this instance."),
    optional("image", Text, "As the pod asks for it."),
    optional("restartCount", Integer, "Instances before this one."),
    optional("startedAt", Time, "When this instance started."),
    optional("startedAtUnixNano", Integer, "The same instant."),
];

const TRAFFIC: &[Field] = &[
    always("rxBytes", Integer, "Bytes."),
    always("rxPackets", Integer, "Packets."),
    optional("rxErrors", Integer, "Packets."),
    optional("rxDropped", Integer, "Packets."),
    always("txBytes", Integer, "Bytes."),
    always("txPackets", Integer, "Packets."),
    optional("txErrors", Integer, "Packets."),
    optional("txDropped", Integer, "Packets."),
];

/// Every object of the native documents.
pub(super) const SCHEMAS: &[Schema] = &[
    schema(
        "PodList",
        "/api/v1/pods: every pod of the node, from one sweep.",
        &[
            ENVELOPE,
            &[always("pods", List(&Object("Pod")), "The pods, by namespace and name, unnamed ones last.")],
        ],
    ),
    schema(
        "ContainerList",
        "/api/v1/containers: the same, flat.",
        &[
            ENVELOPE,
            &[always(
                "containers",
                List(&Object("FlatContainer")),
                "Each container with the pod it belongs to.",
            )],
        ],
    ),
    schema(
        "SinglePod",
        "/api/v1/pods/{namespace}/{name}, /api/v1/pods/{uid}: one pod and the sweep it is from.",
        &[ENVELOPE, POD],
    ),
    schema("Pod", "One pod.", &[POD]),
    schema(
        "Window",
        "Of the last seconds the most; of CPU also what 95 of 100 samples were below.",
        &[&[
            always("seconds", Number, "What it really covers: up to the newest reading."),
            optional("cpuCoresMax", Number, "The highest rate of any sweep."),
            optional("cpuCoresP95", Number, "95 % of the rates are no higher."),
            optional("memoryWorkingSetMaxBytes", Integer, "The largest working set."),
            optional("rxBytesPerSecondMax", Number, "The highest rate of any sweep."),
            optional("txBytesPerSecondMax", Number, "The highest rate of any sweep."),
        ]],
    ),
    schema(
        "PodHistory",
        "/api/v1/history/{namespace}/{name}, /api/v1/history/{uid}: the last minutes of one pod.",
        &[
            ENVELOPE,
            &[
                optional("namespace", Text, "Absent while no source has named the pod."),
                optional("name", Text, "Absent while no source has named the pod."),
                optional("uid", Text, "metadata.uid of the API object; absent while unknown."),
                always("runtimeUid", Text, "As in the cgroup: for a static pod its hash."),
                always("samples", List(&Object("PastSample")), "One a second at most, oldest first."),
                always(
                    "containers",
                    List(&Object("ContainerHistory")),
                    "Each instance of a container that was there, in the order they appeared.",
                ),
            ],
        ],
    ),
    schema(
        "ContainerHistory",
        "The last minutes of one instance of a container.",
        &[
            PAST_CONTAINER,
            &[always("samples", List(&Object("PastSample")), "One a second at most, oldest first.")],
        ],
    ),
    schema("PastContainer", "What a container is, or was, called.", &[PAST_CONTAINER]),
    schema(
        "PastSample",
        "What one sweep read of a pod or a container.",
        &[&[
            always("tick", Integer, "The sweep's number."),
            always("timeUnixNano", Integer, "Start of the sweep."),
            optional("cpu", Object("Cpu"), "CPU time, without limits and requests."),
            optional("memory", Object("Memory"), "Memory, without limits and requests."),
            optional("io", Object("PastIo"), "Block I/O, totals alone."),
            optional("network", Object("PastNetwork"), "Traffic of a pod, totals alone."),
            always("unavailable", Map(&Word(REASONS)), "Why what is absent is absent."),
        ]],
    ),
    schema(
        "PastIo",
        "Block I/O, totals alone.",
        &[&[
            always("timeUnixNano", Integer, "When it was read."),
            always("readBytes", Integer, "Total."),
            always("writeBytes", Integer, "Total."),
            always("readOperations", Integer, "Total."),
            always("writeOperations", Integer, "Total."),
            optional("readBytesPerSecond", Number, "Over the window."),
            optional("writeBytesPerSecond", Number, "Over the window."),
            optional("readOperationsPerSecond", Number, "Over the window."),
            optional("writeOperationsPerSecond", Number, "Over the window."),
            optional("windowSeconds", Number, "The window."),
        ]],
    ),
    schema(
        "PastNetwork",
        "Traffic, totals alone.",
        &[
            &[
                always("timeUnixNano", Integer, "When it was read."),
                always("source", Text, "netns, host_veth or netns_ip."),
                optional("rxBytesPerSecond", Number, "Over the window."),
                optional("txBytesPerSecond", Number, "Over the window."),
                optional("rxPacketsPerSecond", Number, "Over the window."),
                optional("txPacketsPerSecond", Number, "Over the window."),
                optional("windowSeconds", Number, "The window."),
            ],
            TRAFFIC,
        ],
    ),
    schema(
        "Recent",
        "/api/v1/recent: what ended in the last minutes.",
        &[
            ENVELOPE,
            &[
                always("historySeconds", Number, "How long an end is remembered, if there is room."),
                always("ended", List(&Object("Ended")), "Pods and containers, in the order they ended."),
            ],
        ],
    ),
    schema(
        "Ended",
        "A pod, or one instance of a container, that is no more.",
        &[&[
            optional("namespace", Text, "The pod's; absent if no source had named it."),
            optional("pod", Text, "The pod's name; absent if no source had named it."),
            optional("uid", Text, "metadata.uid of the API object; absent if unknown."),
            always("runtimeUid", Text, "The pod's UID as in the cgroup."),
            optional("container", Object("PastContainer"), "Which container; absent: the whole pod."),
            always(
                "cause",
                Text,
                "What the source of names says (OOMKilled, Completed); else container_gone, or pod_gone with \
                     all that was in it.",
            ),
            always("goneTick", Integer, "The first sweep that did not find it."),
            always("goneTime", Time, "Start of that sweep."),
            always("goneTimeUnixNano", Integer, "The same instant."),
            always("sample", Object("PastSample"), "The last that was read of it."),
        ]],
    ),
    schema(
        "Sandbox",
        "Sandbox, process and network namespace of a pod.",
        &[&[
            optional(
                "id",
                Text,
                "Absent until it is settled which child of the pod's cgroup is the sandbox.",
            ),
            optional("pid", Integer, "The process whose view of the netns is read."),
            optional("netns", Integer, "st_ino of its net/dev: equal for processes in one netns."),
            optional("interface", Text, "The interface with the default route."),
            optional("hostInterface", Text, "The host's end of the pair, where it can be seen."),
        ]],
    ),
    schema(
        "Cpu",
        "CPU time.",
        &[&[
            always("timeUnixNano", Integer, "When it was read."),
            always("usageNanoseconds", Integer, "Since the cgroup was made."),
            optional("userNanoseconds", Integer, "Of that, in user mode."),
            optional("systemNanoseconds", Integer, "Of that, in the kernel."),
            optional("cores", Number, "Cores kept busy over the window."),
            optional("windowSeconds", Number, "The window."),
            optional("limitCores", Number, "Absent without a reason: no limit."),
            optional("requestCores", Number, "From the pod spec."),
            optional("throttling", Object("Throttling"), "CFS bandwidth control."),
            optional(
                "containersSum",
                Object("CpuSum"),
                "Pods: the same summed over the containers that live.",
            ),
        ]],
    ),
    schema(
        "Throttling",
        "CFS bandwidth control.",
        &[&[
            always("periods", Integer, "Enforcement periods."),
            always("throttledPeriods", Integer, "Of those, throttled."),
            always("throttledNanoseconds", Integer, "Time held back."),
        ]],
    ),
    schema(
        "CpuSum",
        "CPU time summed over containers.",
        &[&[
            optional("usageNanoseconds", Integer, "Counters summed."),
            optional("cores", Number, "Rates summed."),
        ]],
    ),
    schema(
        "Memory",
        "Memory.",
        &[&[
            always("timeUnixNano", Integer, "When it was read."),
            always("usageBytes", Integer, "Everything charged."),
            optional("workingSetBytes", Integer, "Usage − inactive file cache, as the kubelet counts."),
            optional("anonBytes", Integer, "Anonymous memory. memory.stat may lag by 2 s."),
            optional("fileBytes", Integer, "Page cache, tmpfs included."),
            optional("inactiveFileBytes", Integer, "Page cache dropped first."),
            optional("swapBytes", Integer, "Swapped out."),
            optional("peakBytes", Integer, "Highest usage so far."),
            optional("limitBytes", Integer, "Absent without a reason: no limit."),
            optional("requestBytes", Integer, "From the pod spec."),
            optional("pageFaults", Integer, "Page faults."),
            optional("majorPageFaults", Integer, "Page faults that read from disk."),
            optional("oomKills", Integer, "Processes killed for lack of memory."),
            optional(
                "containersSum",
                Object("MemorySum"),
                "Pods: the same summed over the containers that live.",
            ),
        ]],
    ),
    schema(
        "MemorySum",
        "Memory summed over containers.",
        &[&[
            optional("usageBytes", Integer, "Everything charged."),
            optional("workingSetBytes", Integer, "Working sets."),
        ]],
    ),
    schema(
        "Io",
        "Block I/O.",
        &[&[
            always("timeUnixNano", Integer, "When it was read."),
            optional(
                "sinceUnixNano",
                Integer,
                "When this process began to carry the totals; changes when their base is lost.",
            ),
            optional("raw", Object("IoRaw"), "The kernel's present values."),
            always("readBytes", Integer, "Total."),
            always("writeBytes", Integer, "Total."),
            always("readOperations", Integer, "Total."),
            always("writeOperations", Integer, "Total."),
            optional("readBytesPerSecond", Number, "Over the window."),
            optional("writeBytesPerSecond", Number, "Over the window."),
            optional("readOperationsPerSecond", Number, "Over the window."),
            optional("writeOperationsPerSecond", Number, "Over the window."),
            optional("windowSeconds", Number, "The window."),
            always("devices", List(&Object("Device")), "Each device, stacked ones too."),
        ]],
    ),
    schema(
        "IoRaw",
        "Block I/O as the kernel counts it now.",
        &[&[
            always("readBytes", Integer, "Bytes."),
            always("writeBytes", Integer, "Bytes."),
            always("readOperations", Integer, "Count."),
            always("writeOperations", Integer, "Count."),
        ]],
    ),
    schema(
        "Device",
        "One block device.",
        &[&[
            optional("device", Text, "For example vda; absent if the node no longer has it."),
            always("major", Integer, "Device number."),
            always("minor", Integer, "Device number."),
            always("readBytes", Integer, "Bytes."),
            always("writeBytes", Integer, "Bytes."),
            always("readOperations", Integer, "Count."),
            always("writeOperations", Integer, "Count."),
            always("stacked", Flag, "Rests on other devices that are counted too: not part of the total."),
        ]],
    ),
    schema(
        "Network",
        "Traffic.",
        &[
            &[
                always("timeUnixNano", Integer, "When it was read."),
                optional(
                    "sinceUnixNano",
                    Integer,
                    "When this process began to carry the totals; changes when their base is lost.",
                ),
                optional("raw", Object("Traffic"), "The kernel's present values."),
                optional("source", Text, "netns, host_veth or netns_ip; absent for the node."),
                optional(
                    "rxSuspect",
                    Flag,
                    "The device received nothing for a minute or more while it sent over 1,000 packets: it \
                     may not count what it receives. With netns_ip the total's received figures are the IP \
                     layer's, without link headers.",
                ),
            ],
            TRAFFIC,
            &[
                optional("rxBytesPerSecond", Number, "Over the window."),
                optional("txBytesPerSecond", Number, "Over the window."),
                optional("rxPacketsPerSecond", Number, "Over the window."),
                optional("txPacketsPerSecond", Number, "Over the window."),
                optional("windowSeconds", Number, "The window."),
                optional(
                    "overlapping",
                    Flag,
                    "Interfaces may carry each other's traffic and cannot be told apart.",
                ),
                optional(
                    "interfacesTruncated",
                    Flag,
                    "More interfaces than are listed; the total covers all.",
                ),
                always("interfaces", List(&Object("Interface")), "All interfaces, lo too, at most 64."),
            ],
        ],
    ),
    schema(
        "Traffic",
        "The eight counters. Errors and drops are absent when read from the host's end.",
        &[TRAFFIC],
    ),
    schema(
        "Interface",
        "One interface.",
        &[
            &[
                always("name", Text, "As inside the pod; bytes outside printable ASCII as \\xNN."),
                always("primary", Flag, "Carries the default route."),
                always("counted", Flag, "Part of the total."),
            ],
            TRAFFIC,
        ],
    ),
    schema(
        "Pids",
        "Tasks.",
        &[&[
            always("current", Integer, "Now."),
            optional("limit", Integer, "Absent without a reason: no limit."),
        ]],
    ),
    schema(
        "Pressure",
        "Pressure stall information.",
        &[&[
            optional("cpu", Object("Stall"), "CPU."),
            optional("memory", Object("Stall"), "Memory."),
            optional("io", Object("Stall"), "Block I/O."),
        ]],
    ),
    schema(
        "Stall",
        "Pressure on one resource.",
        &[&[
            always("someMicroseconds", Integer, "Some task waited."),
            optional("fullMicroseconds", Integer, "All tasks waited."),
            always("someAvg10", Number, "Percent of the last 10 s in which some task waited."),
            optional("someAvg60", Number, "Of the last minute."),
            optional("someAvg300", Number, "Of the last five minutes."),
            optional("fullAvg10", Number, "Percent of the last 10 s in which all tasks waited."),
            optional("fullAvg60", Number, "Of the last minute."),
            optional("fullAvg300", Number, "Of the last five minutes."),
        ]],
    ),
    schema("Container", "One container.", &[CONTAINER]),
    schema(
        "FlatContainer",
        "One container with its pod.",
        &[
            &[
                optional("namespace", Text, "The pod's namespace."),
                optional("pod", Text, "The pod's name."),
                always("runtimeUid", Text, "The pod's UID as in the cgroup."),
            ],
            CONTAINER,
        ],
    ),
    schema(
        "Node",
        "/api/v1/node: the node's own figures.",
        &[
            ENVELOPE,
            &[
                optional("cpu", Object("NodeCpu"), "/proc/stat."),
                optional("memory", Object("NodeMemory"), "/proc/meminfo."),
                optional("io", Object("Io"), "Whole disks of /proc/diskstats, since boot."),
                optional("network", Object("Network"), "The NICs in the netns of pid 1."),
                optional("pids", Object("Pids"), "Processes and threads of /proc/loadavg."),
                optional("pressure", Object("Pressure"), "/proc/pressure."),
                optional(
                    "fileSystems",
                    List(&Object("FileSystem")),
                    "The node's own, as far as they are seen from where podvitals runs: statvfs(3).",
                ),
                always(
                    "systemContainers",
                    List(&Object("SystemContainer")),
                    "The cgroups of all pods together, of the kubelet, of the runtime, where they are known.",
                ),
                always("unavailable", Map(&Word(REASONS)), "Why what is absent is absent."),
            ],
        ],
    ),
    schema(
        "FileSystem",
        "A file system of the node.",
        &[&[
            always("timeUnixNano", Integer, "When it was asked: every few seconds, beside the sweeps."),
            always("device", Text, "What is mounted: /dev/vda1."),
            always("type", Text, "Its type: ext4. A tmpfs is memory and no disk."),
            optional("mountPoint", Text, "Where the node has it; absent where only a part of it is seen."),
            always("holds", List(&Word(&Holds::WORDS)), "What lies on it, as far as that can be told."),
            always("capacityBytes", Integer, "All."),
            always("availableBytes", Integer, "What all but root may still write."),
            always("usedBytes", Integer, "Taken."),
            optional("inodes", Integer, "Inodes; absent where they are made as they are needed."),
            optional("inodesFree", Integer, "Those that are free."),
        ]],
    ),
    schema(
        "SystemContainer",
        "A part of the node beside single pods.",
        &[&[
            always("name", Word(&["pods", "kubelet", "runtime"]), "What the kubelet calls it."),
            optional("cpu", Object("Cpu"), "Its cgroup."),
            optional("memory", Object("Memory"), "Its cgroup."),
            optional("pids", Object("Pids"), "Tasks."),
            optional("pressure", Object("Pressure"), "Pressure."),
            always("unavailable", Map(&Word(REASONS)), "Why what is absent is absent."),
        ]],
    ),
    schema(
        "NodeCpu",
        "CPU of the node.",
        &[&[
            always("timeUnixNano", Integer, "When it was read."),
            always("usageNanoseconds", Integer, "Not idle, since boot."),
            always("userNanoseconds", Integer, "User mode."),
            always("systemNanoseconds", Integer, "Kernel, interrupts included."),
            optional("cores", Number, "Cores kept busy over the window."),
            optional("windowSeconds", Number, "The window."),
            always("capacityCores", Integer, "CPUs online."),
        ]],
    ),
    schema(
        "NodeMemory",
        "Memory of the node.",
        &[&[
            always("timeUnixNano", Integer, "When it was read."),
            always("totalBytes", Integer, "All."),
            always("availableBytes", Integer, "Can be had without swapping."),
            always("freeBytes", Integer, "Unused."),
            always("cachedBytes", Integer, "Page cache, buffers and reclaimable slab."),
            always("usedBytes", Integer, "total − available."),
            optional("workingSetBytes", Integer, "total − free − inactiveFile, as the kubelet has it."),
            optional("inactiveFileBytes", Integer, "Page cache the kernel drops first."),
            optional("anonBytes", Integer, "Anonymous memory of all processes: /proc/vmstat."),
            optional("pageFaults", Integer, "Page faults since boot."),
            optional("majorPageFaults", Integer, "Those that waited for a disk."),
            always("swapUsedBytes", Integer, "Swap in use."),
            always("swapTotalBytes", Integer, "Swap."),
        ]],
    ),
    schema(
        "Map",
        "/api/v1/map: how each pod was found.",
        &[&[
            always("node", Text, "The node's name."),
            always("generation", Integer, "Counts changes of the map."),
            always("pods", List(&Object("MapPod")), "The pods."),
        ]],
    ),
    schema(
        "MapPod",
        "The chain of one pod.",
        &[&[
            optional("namespace", Text, "Absent while unnamed."),
            optional("name", Text, "Absent while unnamed."),
            optional("uid", Text, "Of the API object."),
            always("runtimeUid", Text, "As in the cgroup."),
            always("identity", List(&Word(SOURCES)), "Who named it."),
            always("cgroup", Text, "The pod's cgroup, below the mount of each hierarchy."),
            always("sinceUnixNano", Integer, "When the newest of its cgroups became a target."),
            always("sandboxSettled", Flag, "Whether it is settled which child is the sandbox."),
            optional("sandbox", Object("Sandbox"), "Sandbox, process and netns."),
            always(
                "network",
                Text,
                "Where the network is read: netns, host_veth, or the reason why it is not.",
            ),
            always("containers", List(&Object("MapContainer")), "Children of the pod's cgroup."),
            always("evidence", List(&Object("MapEvidence")), "Link by link."),
            always(
                "disagreements",
                List(&Object("Disagreement")),
                "What the sources of names contradict each other about.",
            ),
        ]],
    ),
    schema(
        "Disagreement",
        "Two sources of names that do not say the same. The first is believed, but for hostNetwork.",
        &[&[
            always("about", Word(SUBJECTS), "About what."),
            always("first", Object("Said"), "The source that comes first: kube, kubelet, cri, docker."),
            always("second", Object("Said"), "The other."),
        ]],
    ),
    schema(
        "Said",
        "What one source says.",
        &[&[always("source", Word(SOURCES), "Who says so."), always("says", Text, "What.")]],
    ),
    schema(
        "MapContainer",
        "One child of a pod's cgroup.",
        &[&[
            always("id", Text, "The id in the directory's name."),
            optional("name", Text, "Absent while unnamed."),
            optional("kind", Word(KINDS), "What it is to the pod."),
            always("cgroup", Text, "Below the mount of each hierarchy."),
            always("sinceUnixNano", Integer, "When it became a target."),
        ]],
    ),
    schema(
        "MapEvidence",
        "Why one link of the chain is believed, or what was not found.",
        &[&[
            optional("link", Word(LINKS), "Which link."),
            optional("found", Text, "What was found; absent if nothing was."),
            always("by", Text, "Who says so, or what was tried in vain."),
            always("sinceUnixNano", Integer, "Since when it has been so."),
        ]],
    ),
    schema(
        "Problem",
        "An error, as RFC 9457 has it: application/problem+json.",
        &[&[
            always("type", Text, "about:blank: the status says it all."),
            always("title", Text, "The status in words."),
            always("status", Integer, "The HTTP status."),
            always("detail", Text, "What was wrong, where, and what to do."),
        ]],
    ),
    schema(
        "Owner",
        "The controller of a pod.",
        &[&[always("kind", Text, "For example ReplicaSet."), always("name", Text, "Its name.")]],
    ),
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::document;
    use serde::Serialize;
    use serde::de::DeserializeOwned;
    use serde_json::Value;

    fn sample(holds: Type) -> Value {
        match holds {
            Text => "x".into(),
            Time => "1970-01-01T00:00:00.000000000Z".into(),
            Integer => 7.into(),
            Number => 0.5.into(),
            Flag => true.into(),
            Word(words) => words[0].into(),
            Object(name) => object(name),
            List(of) => vec![sample(*of)].into(),
            Map(of) => [("key".to_owned(), sample(*of))].into_iter().collect(),
        }
    }

    fn object(name: &str) -> Value {
        let schema = SCHEMAS.iter().find(|schema| schema.name == name).unwrap_or_else(|| panic!("{name}"));
        schema.fields().map(|field| (field.name.to_owned(), sample(field.holds))).collect()
    }

    /// What a document drops is not one of its fields; what it adds is missing in the table.
    fn holds_just_these<T: Serialize + DeserializeOwned>(name: &str) {
        let written = object(name);
        let read: T =
            serde_json::from_value(written.clone()).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!(serde_json::to_value(read).unwrap(), written, "{name}");
    }

    #[test]
    fn every_key_of_the_table_is_a_field_of_its_document() {
        holds_just_these::<document::PodList>("PodList");
        holds_just_these::<document::ContainerList>("ContainerList");
        holds_just_these::<document::SinglePod>("SinglePod");
        holds_just_these::<document::Node>("Node");
        holds_just_these::<document::Map>("Map");
        holds_just_these::<document::Problem>("Problem");
    }

    #[test]
    fn every_field_of_the_documents_is_a_key_of_the_table() {
        let source = include_str!("../model/document.rs");
        let (_, source) = source.split_once("\ndocuments! {\n").unwrap();
        let (mut name, mut renamed, mut seen) = ("", None, 0);
        for line in source.lines() {
            let text = line.trim();
            if let Some(object) = text.strip_suffix(" {") {
                name = object;
            } else if let Some(as_name) = text.strip_prefix("#[serde(rename = \"") {
                renamed = as_name.split('"').next();
            } else if text == "#[serde(flatten)]" {
                renamed = Some("");
            } else if let Some((rust, _)) = text.split_once(": ").filter(|_| !text.starts_with("//")) {
                let camel = camel_case(rust.trim_end_matches('?'));
                let key = renamed.take().unwrap_or(&camel);
                assert!(key.is_empty() || field(name, key).is_some(), "{name}.{key} is not in the table");
                seen += 1;
            }
        }
        assert!(seen > 150, "only {seen} fields were found: has the macro changed?");
    }

    fn camel_case(rust: &str) -> String {
        let mut words = rust.split('_');
        let first = words.next().unwrap_or_default().to_owned();
        words.fold(first, |name, word| name + &word[..1].to_uppercase() + &word[1..])
    }

    #[test]
    fn the_words_are_those_of_the_model() {
        use crate::model::unavailable::Unavailable;
        for word in REASONS {
            let reason: Unavailable = serde_json::from_value((*word).into()).unwrap();
            assert_eq!(reason.word(), *word);
        }
        let accepts = |words: &[&str], ok: fn(Value) -> bool| words.iter().all(|word| ok((*word).into()));
        assert!(
            accepts(SOURCES, |word| serde_json::from_value::<crate::model::identity::Source>(word).is_ok())
        );
        assert!(accepts(KINDS, |word| serde_json::from_value::<crate::model::identity::ContainerKind>(word)
            .is_ok()));
        assert!(accepts(STATES, |word| serde_json::from_value::<crate::model::identity::ContainerState>(
            word
        )
        .is_ok()));
        assert!(accepts(LINKS, |word| serde_json::from_value::<crate::model::target::Link>(word).is_ok()));
    }
}
