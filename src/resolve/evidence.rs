//! Writes down why each link of a pod's chain is believed, and what was looked for in vain.

use crate::model::identity::KnownPod;
use crate::model::target::Evidence;
use crate::model::target::Link;
use crate::model::target::NetworkTarget;
use crate::model::time::WallTime;

use super::Host;
use super::pod::PodState;
use super::sandbox::Sandbox;

/// The chain of one pod, link by link. A link that stands as it did in `before` keeps its instant.
pub(super) fn write(
    pod: &PodState,
    host: &Host,
    known: Option<&KnownPod>,
    network: &NetworkTarget,
    before: &[Evidence],
    now: WallTime,
) -> Vec<Evidence> {
    let mut chain = vec![
        name(known),
        found(Link::RuntimeUid, pod.directory.uid.to_string(), "the name of the pod's cgroup"),
        found(
            Link::PodCgroup,
            pod.path().to_string(),
            format!("a listing of {}", host.layout.watched().display()),
        ),
    ];
    chain.extend(pod.children.iter().map(|child| container(child.directory.id.as_str(), pod, known)));
    chain.push(sandbox(pod));
    chain.push(process(pod));
    chain.push(netns(pod, host));
    chain.push(interfaces(pod, network));
    chain.push(host_interface(pod, host));
    for link in &mut chain {
        let same = |old: &&Evidence| old.link == link.link && old.found == link.found && old.by == link.by;
        link.since = before.iter().find(same).map_or(now, |old| old.since);
    }
    chain
}

fn found(link: Link, found: impl Into<String>, by: impl Into<String>) -> Evidence {
    Evidence { link, found: Some(found.into()), by: by.into(), since: WallTime::default() }
}

fn missing(link: Link, by: impl Into<String>) -> Evidence {
    Evidence { link, found: None, by: by.into(), since: WallTime::default() }
}

fn name(known: Option<&KnownPod>) -> Evidence {
    match known {
        Some(known) => {
            let sources: Vec<_> = known.sources.iter().map(|source| source.word()).collect();
            let by = match &known.uid {
                // A static pod: its object at the API server is a mirror with a UID of its own.
                Some(uid) if *uid != known.runtime_uid => {
                    format!("{}; metadata.uid {uid}", sources.join(", "))
                }
                _ => sources.join(", "),
            };
            found(Link::Pod, format!("{}/{}", known.namespace, known.name), by)
        }
        None => missing(Link::Pod, "no source of names has told of this UID"),
    }
}

fn container(id: &str, pod: &PodState, known: Option<&KnownPod>) -> Evidence {
    let named = known.and_then(|known| {
        known.containers.iter().find(|container| container.id.as_ref().is_some_and(|it| it.as_str() == id))
    });
    match (&pod.sandbox, named) {
        (Sandbox::Is(sandbox, _), _) if sandbox.as_str() == id => {
            found(Link::Containers, id, "a child of the pod's cgroup: the sandbox")
        }
        (_, Some(named)) => {
            found(Link::Containers, id, format!("a child of the pod's cgroup: container {}", named.name))
        }
        (_, None) => found(Link::Containers, id, "a child of the pod's cgroup that no source has named"),
    }
}

fn sandbox(pod: &PodState) -> Evidence {
    match &pod.sandbox {
        Sandbox::Is(id, by) => found(Link::Sandbox, id.as_str(), *by),
        Sandbox::None => {
            missing(Link::Sandbox, "every child of the pod's cgroup is a container: there is none")
        }
        Sandbox::Unsettled => missing(Link::Sandbox, "no source says which child it is"),
    }
}

fn process(pod: &PodState) -> Evidence {
    match &pod.found {
        Some(it) => found(
            Link::Process,
            it.process.pid.to_string(),
            format!("{}; /proc/{}/cgroup names {}", it.origin, it.process.pid, it.container),
        ),
        None => missing(Link::Process, pod.vain.tried.join("; ")),
    }
}

fn netns(pod: &PodState, host: &Host) -> Evidence {
    let Some(it) = &pod.found else { return missing(Link::Netns, "no process to read it through") };
    let (netns, pid) = (it.process.netns, it.process.pid);
    let of_init = match host.init_netns {
        Some(init) if init == netns => "the same as pid 1's: the node's own".to_owned(),
        Some(init) => format!("pid 1 has {init}"),
        None => "pid 1's cannot be read".to_owned(),
    };
    let shared =
        if pod.contested { "; a process of another pod is in it too, or was, so it is not read" } else { "" };
    found(Link::Netns, netns.to_string(), format!("the inode of /proc/{pid}/net/dev; {of_init}{shared}"))
}

fn interfaces(pod: &PodState, network: &NetworkTarget) -> Evidence {
    match (network, pod.interface) {
        (NetworkTarget::Absent(why), _) => missing(Link::Interfaces, why.word()),
        (_, Some(primary)) => found(Link::Interfaces, primary.to_string(), "the default route in net/route"),
        (_, None) => missing(
            Link::Interfaces,
            "net/route has no default route: every interface is listed, none is primary",
        ),
    }
}

fn host_interface(pod: &PodState, host: &Host) -> Evidence {
    match (&pod.host_interface, &host.links) {
        (Some(end), _) => found(
            Link::HostInterface,
            end.name.to_string(),
            format!("IFLA_LINK and IFLA_LINK_NETNSID of link {}", end.index),
        ),
        (None, Some(_)) => {
            missing(Link::HostInterface, "no link of the host's is the other end of this pod's")
        }
        (None, None) => missing(Link::HostInterface, "this process is not in the host's network namespace"),
    }
}
