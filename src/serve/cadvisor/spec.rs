//! What a cgroup is and may use, in the words of cAdvisor (pure).

use std::collections::BTreeMap;

use serde::Serialize;

use super::super::docker::names::Identity;
use super::super::node_cgroup;
use super::super::time::{microseconds, rfc3339};
use super::cgroups::{Cgroup, What};
use super::sample::Sample;
use super::stat::Stat;
use crate::model::counters::Limits;
use crate::model::identity::RuntimeKind;
use crate::model::machine::Machine;
use crate::model::snapshot::Snapshot;
use crate::model::time::WallTime;

/// What cAdvisor makes of `max`.
const MAX: u64 = u64::MAX;

/// A container of v1.
#[derive(Debug, Serialize)]
pub(super) struct Container {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) id: Option<String>,
    pub(super) name: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) aliases: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) namespace: Option<&'static str>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) subcontainers: Vec<Reference>,
    pub(super) spec: Spec,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) stats: Vec<Stat>,
}

#[derive(Debug, Serialize)]
pub(super) struct Reference {
    pub(super) name: String,
}

/// A container of v2.1.
#[derive(Debug, Serialize)]
pub(super) struct Info {
    pub(super) spec: Spec,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) stats: Vec<Stat>,
}

/// What it is and may use. Of `aliases` and `namespace` v2 alone knows here.
#[derive(Debug, Serialize)]
#[expect(clippy::struct_excessive_bools, reason = "as they stand on the wire")]
pub(super) struct Spec {
    #[serde(skip_serializing_if = "Option::is_none")]
    creation_time: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    start_time: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    aliases: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    namespace: Option<&'static str>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    labels: BTreeMap<&'static str, String>,
    has_cpu: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    cpu: Option<Cpu>,
    has_memory: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    memory: Option<MemoryLimits>,
    has_hugetlb: bool,
    has_network: bool,
    has_processes: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    processes: Option<Limit>,
    has_filesystem: bool,
    has_diskio: bool,
    has_custom_metrics: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    image: Option<String>,
}

/// Shares; quota and period in microseconds where there is a quota.
#[derive(Debug, Serialize)]
struct Cpu {
    #[serde(skip_serializing_if = "Option::is_none")]
    limit: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    quota: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    period: Option<u64>,
}

#[derive(Debug, Serialize)]
struct MemoryLimits {
    #[serde(skip_serializing_if = "Option::is_none")]
    limit: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reservation: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    swap_limit: Option<u64>,
}

#[derive(Debug, Serialize)]
struct Limit {
    #[serde(skip_serializing_if = "Option::is_none")]
    limit: Option<u64>,
}

impl Spec {
    /// In v1 its other names stand beside it.
    pub(super) fn new(snapshot: &Snapshot, machine: &Machine, cgroup: &Cgroup<'_>, with_names: bool) -> Self {
        let (now, limits) = (Sample::now(snapshot, cgroup), limits(snapshot, cgroup));
        let started_at = started_at(snapshot, cgroup).map(rfc3339);
        let known = cgroup.identity.as_ref().and_then(|identity| identity.known());
        let has = |part: fn(&Sample) -> bool| now.as_ref().is_some_and(part);
        let (has_cpu, has_memory) = (has(|now| now.cpu.is_some()), has(|now| now.memory.is_some()));
        let cpu = limits.filter(|_| has_cpu).map(|limits| Cpu {
            limit: limits.cpu_shares,
            quota: limits.cpu_quota.map(|quota| microseconds(quota.quota)),
            period: limits.cpu_quota.map(|quota| microseconds(quota.period)),
        });
        let no_limit = machine.unlimited_memory_bytes.unwrap_or(MAX);
        let limit = |value: Option<u64>, known: bool| known.then(|| value.unwrap_or(no_limit));
        let memory = limits.filter(|_| has_memory).map(|limits| MemoryLimits {
            limit: limit(limits.memory_bytes, limits.unknown.memory_bytes.is_none()),
            reservation: limit(limits.reservation_bytes, limits.unknown.reservation_bytes.is_none()),
            swap_limit: limit(limits.swap.map(|swap| swap.as_told), limits.unknown.swap.is_none()),
        });
        let has_processes = has(|now| now.tasks.is_some());
        let processes = limits
            .filter(|_| has_processes)
            .map(|limits| Limit { limit: limits.unknown.pids.is_none().then(|| limits.pids.unwrap_or(MAX)) });
        Self {
            // A kubelet starts what it makes, and nobody tells the two times apart.
            creation_time: started_at.clone(),
            start_time: started_at,
            aliases: if with_names { aliases(cgroup) } else { Vec::new() },
            namespace: namespace(cgroup).filter(|_| with_names),
            labels: labels(cgroup),
            has_cpu,
            cpu,
            has_memory,
            memory,
            has_hugetlb: false,
            has_network: has(|now| now.network.is_some()),
            has_processes,
            processes,
            has_filesystem: has(|now| now.file_systems.is_some()),
            has_diskio: has(|now| now.disks.is_some()),
            has_custom_metrics: false,
            image: known.and_then(|known| known.image.as_deref()).map(str::to_owned),
        }
    }
}

fn limits(snapshot: &Snapshot, cgroup: &Cgroup<'_>) -> Option<Limits> {
    match cgroup.what {
        What::Node => Some(node_cgroup::now(snapshot).limits),
        What::Pod(pod) => Some(pod.figures.cgroup.limits),
        What::Container(_, read, _) => Some(read.cgroup.limits),
        What::Sandbox(..) | What::Slice => None,
    }
}

fn started_at(snapshot: &Snapshot, cgroup: &Cgroup<'_>) -> Option<WallTime> {
    match cgroup.what {
        What::Node => snapshot.node.booted_at,
        What::Pod(pod) => pod.target.known.as_ref()?.start_time,
        What::Container(..) | What::Sandbox(..) => cgroup.identity.as_ref()?.started_at(),
        What::Slice => None,
    }
}

/// Its other names: Docker's, and its id.
pub(super) fn aliases(cgroup: &Cgroup<'_>) -> Vec<String> {
    let name = cgroup.identity.as_ref().map(Identity::name);
    name.into_iter().chain(cgroup.id().map(ToString::to_string)).collect()
}

/// Whose container it is.
pub(super) fn namespace(cgroup: &Cgroup<'_>) -> Option<&'static str> {
    runtime(cgroup).map(|runtime| match runtime {
        RuntimeKind::Containerd => "containerd",
        RuntimeKind::CriO => "crio",
        RuntimeKind::Docker => "docker",
    })
}

/// Of a sandbox it is that of any container beside it.
fn runtime(cgroup: &Cgroup<'_>) -> Option<RuntimeKind> {
    cgroup.id()?;
    let of_pod = cgroup.pod()?.target.known.as_ref()?;
    let own = cgroup.identity.as_ref().and_then(|identity| identity.known()?.runtime);
    own.or_else(|| of_pod.containers.iter().find_map(|known| known.runtime))
}

fn labels(cgroup: &Cgroup<'_>) -> BTreeMap<&'static str, String> {
    let mut labels = match &cgroup.identity {
        Some(identity) => identity.labels(),
        None => return BTreeMap::new(),
    };
    // Docker's way to say what containerd says in its own.
    let kind = labels.remove("io.kubernetes.docker.type");
    match (runtime(cgroup), kind) {
        (Some(RuntimeKind::Docker), Some(kind)) => drop(labels.insert("io.kubernetes.docker.type", kind)),
        (Some(RuntimeKind::Containerd), Some(kind)) => {
            let kind = if kind == "podsandbox" { "sandbox" } else { "container" };
            labels.insert("io.cri-containerd.kind", kind.to_owned());
        }
        _ => {}
    }
    labels
}
