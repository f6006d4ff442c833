//! The target made of a pod as it is now: what the sampler reads, and under which names it is shown.

use std::sync::Arc;

use crate::model::health::Health;
use crate::model::identity::KnownPod;
use crate::model::target::CgroupRole;
use crate::model::target::CgroupTarget;
use crate::model::target::ContainerTarget;
use crate::model::target::PodTarget;
use crate::model::time::ClockPair;

use super::Host;
use super::evidence;
use super::pod::Child;
use super::pod::PodState;
use super::sandbox::Sandbox;

impl PodState {
    /// The target as it is now, with the evidence for every link of it.
    pub(super) fn make_target(
        &mut self,
        host: &Host,
        known: Option<&Arc<KnownPod>>,
        now: ClockPair,
        health: &Health,
    ) -> PodTarget {
        let (sandbox, containers): (Vec<_>, Vec<_>) = self
            .children
            .iter()
            .map(|child| self.container_target(child, known))
            .partition(|container| container.cgroup.role == CgroupRole::Sandbox);
        let (network, host_network) = self.network(host, known.map(Arc::as_ref), now, health);
        let old = self.target.as_ref().map(|target| target.evidence.clone());
        let evidence = evidence::write(
            self,
            host,
            known.map(Arc::as_ref),
            &network,
            old.as_deref().map_or(&[], Vec::as_slice),
            now.wall,
        );
        let since =
            self.children.iter().map(|child| child.cgroup.since).max().unwrap_or(self.first_seen.wall);
        PodTarget {
            id: self.network_id,
            runtime_uid: self.directory.uid.clone(),
            known: known.cloned(),
            cgroup: self.cgroup.clone(),
            containers,
            sandbox: sandbox.into_iter().next(),
            sandbox_settled: self.sandbox != Sandbox::Unsettled,
            qos_class: self.directory.qos_class,
            host_network,
            process: self.found.as_ref().map(|found| found.process.clone()),
            network,
            interface: self.interface,
            host_interface: self.host_interface.clone(),
            runtime_vm: self.children.iter().any(|child| child.directory.virtual_machine)
                || known.is_some_and(|known| runs_in_vm(known)),
            evidence: Arc::new(evidence),
            since,
        }
    }

    fn container_target(&self, child: &Child, known: Option<&Arc<KnownPod>>) -> ContainerTarget {
        let id = &child.directory.id;
        let is_sandbox = matches!(&self.sandbox, Sandbox::Is(sandbox, _) if sandbox == id);
        // The pod names its containers; each gets a share of that one value, not a copy of it.
        let named = known.and_then(|known| known.container(id));
        ContainerTarget {
            cgroup: CgroupTarget {
                role: if is_sandbox { CgroupRole::Sandbox } else { CgroupRole::Container },
                ..child.cgroup.clone()
            },
            container_id: id.clone(),
            known: named.map(|container| Arc::new(container.clone())),
        }
    }
}

/// Whether the runtime's handler, or the class that stands for it, is one of those that run containers
/// inside a virtual machine. Classes are the cluster's own words; these are the ones their projects give.
fn runs_in_vm(known: &KnownPod) -> bool {
    let handler = known.sandboxes.first().map(|sandbox| sandbox.runtime_handler.as_str());
    let named = [handler, known.runtime_class.as_deref()];
    named.into_iter().flatten().any(|name| ["kata", "runsc", "gvisor"].iter().any(|vm| name.contains(vm)))
}

/// Whether the names in the target are not the ones known now.
pub(super) fn differs(target: &PodTarget, known: Option<&Arc<KnownPod>>) -> bool {
    match (&target.known, known) {
        (Some(then), Some(now)) => !Arc::ptr_eq(then, now) && then != now,
        (None, None) => false,
        _ => true,
    }
}
