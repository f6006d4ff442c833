//! System containers: the cgroups that the kubelet reports beside pods, where their place is known.
//!
//! All pods together lie in `kubepods`; the kubelet and the runtime in the units that systemd runs them in. No
//! process is looked for by its name: any pod may call one `kubelet`. Where several cgroups could be meant
//! there is none.

use crate::host::cgroup::layout::Layout;
use crate::model::target::CgroupPath;
use crate::model::target::CgroupRole;
use crate::model::target::CgroupTarget;
use crate::model::target::SystemContainer;
use crate::model::target::SystemTarget;
use crate::model::time::ClockPair;

use super::Host;

const SYSTEM_SLICE: &str = "system.slice";

/// A system container as it was last found.
pub(super) struct Found {
    pub(super) target: SystemTarget,
    /// Identity of this life of its cgroup.
    inode: u64,
}

/// Brings `found` up to date; whether anything is new or gone.
pub(super) fn look(found: &mut Vec<Found>, host: &mut Host, kubepods: &[CgroupPath], now: ClockPair) -> bool {
    let places = places(&host.layout, kubepods);
    let before = found.len();
    found.retain(|known| {
        places.iter().any(|place| known.inode == place.inode && known.target.cgroup.path == place.path)
    });
    let mut changed = found.len() != before;
    for Place { name, path, inode } in places {
        if found.iter().any(|known| known.target.name == name) {
            continue;
        }
        changed = true;
        let cgroup = CgroupTarget {
            id: host.fresh_id(),
            path,
            role: CgroupRole::Pod,
            first_seen: now.monotonic,
            since: now.wall,
        };
        found.push(Found { target: SystemTarget { name, cgroup }, inode });
    }
    found.sort_by_key(|known| known.target.name);
    changed
}

struct Place {
    name: SystemContainer,
    path: CgroupPath,
    inode: u64,
}

fn places(layout: &Layout, kubepods: &[CgroupPath]) -> Vec<Place> {
    let place = |name, path: CgroupPath| Some(Place { name, inode: layout.inode(&path)?, path });
    let unit = |name, unit: &str| place(name, CgroupPath::new(SYSTEM_SLICE).child(unit));
    let pods = match kubepods {
        [one] => place(SystemContainer::Pods, one.clone()),
        _ => None,
    };
    let runtime = |name| unit(SystemContainer::Runtime, name);
    // Docker has a containerd of its own: where the kubelet speaks to Docker its runtime is Docker.
    let runtime = match runtime("cri-docker.service") {
        Some(_) => runtime("docker.service"),
        None => match (runtime("containerd.service"), runtime("crio.service")) {
            (Some(one), None) | (None, Some(one)) => Some(one),
            _ => None,
        },
    };
    [pods, unit(SystemContainer::Kubelet, "kubelet.service"), runtime].into_iter().flatten().collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::fixture::Node;

    fn found(node: &Node, kubepods: &[&str]) -> Vec<(&'static str, String)> {
        let layout = Layout::detect(&node.root()).unwrap();
        let kubepods: Vec<_> = kubepods.iter().map(|path| CgroupPath::new(*path)).collect();
        let places = places(&layout, &kubepods);
        places.iter().map(|place| (place.name.word(), place.path.to_string())).collect()
    }

    #[test]
    fn units_of_systemd_are_known_and_doubt_is_absence() {
        let node = Node::v2();
        let unit = |name: &str| node.make(&format!("cgroup/system.slice/{name}"));
        node.make("cgroup/kubepods.slice");
        node.make("cgroup/nested/kubepods");
        let pods = ("pods", "kubepods.slice".to_owned());
        assert_eq!(found(&node, &["kubepods.slice"]), std::slice::from_ref(&pods));
        assert_eq!(found(&node, &["kubepods.slice", "nested/kubepods"]), [], "whose pods?");
        unit("kubelet.service");
        unit("containerd.service");
        let kubelet = ("kubelet", "system.slice/kubelet.service".to_owned());
        let runtime = |unit: &str| ("runtime", format!("system.slice/{unit}.service"));
        let all = [pods, kubelet.clone(), runtime("containerd")];
        assert_eq!(found(&node, &["kubepods.slice"]), all);
        unit("docker.service");
        assert_eq!(found(&node, &[]), [kubelet.clone(), runtime("containerd")], "somebody else's Docker");
        unit("cri-docker.service");
        assert_eq!(found(&node, &[]), [kubelet.clone(), runtime("docker")]);
        node.remove("cgroup/system.slice/cri-docker.service");
        unit("crio.service");
        assert_eq!(found(&node, &[]), [kubelet], "two runtimes");
    }
}
