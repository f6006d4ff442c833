//! The cgroups that are shown, by their absolute paths as on the node (pure).
//!
//! ```text
//! /                                              the node
//! /kubepods/burstable/podf7db0a25-…              a pod
//! /kubepods/burstable/podf7db0a25-…/2606f2…      a container of it, or its sandbox
//! /docker/2606f2…                                the same container, for whom the runtime is Docker
//! ```
//!
//! Between the node and its pods nothing is read: such a name leads to what is below it, and has no figures.

use std::collections::{BTreeMap, BTreeSet};

use super::super::docker::names::{Identity, Lost, called, items};
use super::super::native::pods::{NamedPod, in_order};
use super::super::reply::{Refusal, quoted};
use super::sample::Sample;
use crate::model::identity::ContainerId;
use crate::model::snapshot::{ContainerFigures, Snapshot};
use crate::model::target::ContainerTarget;

/// Where Docker has its containers, and nobody else.
pub(super) const DOCKER: &str = "/docker";

/// One cgroup under the name it is shown by.
#[derive(Clone)]
pub(super) struct Cgroup<'a> {
    pub(super) name: String,
    pub(super) what: What<'a>,
    /// As Docker's clients know it, once it is known what it is.
    pub(super) identity: Option<Identity>,
}

#[derive(Clone, Copy)]
pub(super) enum What<'a> {
    Node,
    Pod(NamedPod<'a>),
    Container(NamedPod<'a>, &'a ContainerFigures, &'a ContainerTarget),
    Sandbox(NamedPod<'a>, &'a ContainerTarget),
    /// Something between.
    Slice,
}

impl<'a> Cgroup<'a> {
    fn new(name: String, what: What<'a>) -> Self {
        Self { name, what, identity: None }
    }

    pub(super) fn pod(&self) -> Option<NamedPod<'a>> {
        match self.what {
            What::Node | What::Slice => None,
            What::Pod(pod) | What::Container(pod, ..) | What::Sandbox(pod, _) => Some(pod),
        }
    }

    /// `None`: it is none of a runtime's.
    pub(super) fn id(&self) -> Option<&'a ContainerId> {
        match self.what {
            What::Node | What::Pod(_) | What::Slice => None,
            What::Container(_, _, child) | What::Sandbox(_, child) => Some(&child.container_id),
        }
    }

    /// Whether the pod's network is shown here: where the sandbox has no cgroup, or nobody tells which it is, the
    /// pod's own stands for it.
    pub(super) fn has_the_network(&self) -> bool {
        match self.what {
            What::Node | What::Sandbox(..) => true,
            What::Pod(pod) => pod.target.sandbox.is_none(),
            What::Container(..) | What::Slice => false,
        }
    }
}

/// All of them: the node, and pod by pod the pod, its containers and its sandbox.
pub(super) fn all(snapshot: &Snapshot) -> Vec<Cgroup<'_>> {
    let mut identities: BTreeMap<ContainerId, Identity> =
        items(snapshot, false).into_iter().map(|item| (item.identity.id.clone(), item.identity)).collect();
    let mut all = vec![Cgroup::new("/".to_owned(), What::Node)];
    for pod in in_order(snapshot) {
        all.push(Cgroup::new(pod.target.cgroup.path.absolute(), What::Pod(pod)));
        let mut add = |child: &'_ ContainerTarget, what| {
            let identity = identities.remove(&child.container_id);
            all.push(Cgroup { identity, ..Cgroup::new(child.cgroup.path.absolute(), what) });
        };
        for (read, child) in pod.children(snapshot) {
            add(child, What::Container(pod, read, child));
        }
        if let Some(child) = &pod.target.sandbox {
            add(child, What::Sandbox(pod, child));
        }
    }
    all
}

/// The one of this name.
///
/// # Errors
/// There is none.
pub(super) fn find<'a>(snapshot: &'a Snapshot, name: &str) -> Result<Cgroup<'a>, Refusal> {
    let mut all = all(snapshot);
    if let Some(at) = all.iter().position(|cgroup| cgroup.name == name) {
        return Ok(all.swap_remove(at));
    }
    let leads_on = name == DOCKER || all.iter().any(|cgroup| is_below(&cgroup.name, name));
    if leads_on {
        return Ok(Cgroup::new(name.to_owned(), What::Slice));
    }
    let unknown = || Refusal::bad_request(format!("unknown container {}", quoted(name)));
    let wanted = name.strip_prefix(DOCKER).and_then(|rest| rest.strip_prefix('/')).ok_or_else(unknown)?;
    let found = of_docker(all, wanted).map_err(|_| unknown())?;
    // Whoever asks for a name looks for it in the answer.
    Ok(Cgroup { name: name.to_owned(), ..found })
}

/// It and all below it. What has no figures is left out: readers take the last of them.
///
/// # Errors
/// There is none.
pub(super) fn find_recursive<'a>(snapshot: &'a Snapshot, name: &str) -> Result<Vec<Cgroup<'a>>, Refusal> {
    if name == DOCKER {
        let mut containers = containers(snapshot);
        for cgroup in &mut containers {
            cgroup.name = docker_name(cgroup);
        }
        return Ok(containers);
    }
    let mut below = all(snapshot);
    below.retain(|cgroup| {
        cgroup.name == name || is_below(&cgroup.name, name) && has_figures(snapshot, cgroup)
    });
    if below.is_empty() { find(snapshot, name).map(|found| vec![found]) } else { Ok(below) }
}

/// Containers and sandboxes: those that Docker would have. What has no figures is left out, as above.
pub(super) fn containers(snapshot: &Snapshot) -> Vec<Cgroup<'_>> {
    with_id(snapshot).into_iter().filter(|cgroup| has_figures(snapshot, cgroup)).collect()
}

/// Containers and sandboxes, with figures or without.
pub(super) fn with_id(snapshot: &Snapshot) -> Vec<Cgroup<'_>> {
    all(snapshot).into_iter().filter(|cgroup| cgroup.id().is_some()).collect()
}

/// All that lies there, with figures or without.
pub(super) fn at_or_below<'a>(snapshot: &'a Snapshot, name: &str) -> Vec<Cgroup<'a>> {
    let all = all(snapshot).into_iter();
    all.filter(|cgroup| cgroup.name == name || is_below(&cgroup.name, name)).collect()
}

/// Of a sandbox nothing is read but the network, which is not its own on the node's, and may be absent.
fn has_figures(snapshot: &Snapshot, cgroup: &Cgroup<'_>) -> bool {
    !matches!(cgroup.what, What::Sandbox(..)) || Sample::now(snapshot, cgroup).is_some()
}

/// The container that a client of Docker calls so, whoever runs it.
///
/// # Errors
/// There is none, or there are several whose ids begin so.
pub(super) fn find_docker<'a>(snapshot: &'a Snapshot, wanted: &str) -> Result<Cgroup<'a>, Refusal> {
    of_docker(all(snapshot), wanted).map_err(|lost| {
        let why = match lost {
            Lost::Unknown => "there is none",
            Lost::Ambiguous => "several ids begin so",
        };
        let shown = quoted(wanted);
        Refusal::bad_request(format!("unable to find Docker container {shown}: {why}"))
    })
}

fn of_docker<'a>(all: Vec<Cgroup<'a>>, wanted: &str) -> Result<Cgroup<'a>, Lost> {
    called(all, wanted, written_id, |cgroup| cgroup.identity.as_ref().map(Identity::name))
}

/// Its container's id, or nothing.
fn written_id<'t>(cgroup: &'t Cgroup<'_>) -> &'t str {
    cgroup.id().map_or("", ContainerId::as_str)
}

fn docker_name(cgroup: &Cgroup<'_>) -> String {
    format!("{DOCKER}/{}", written_id(cgroup))
}

/// What lies directly below a cgroup, whether anything is read of it or not.
pub(super) fn children(all: &[Cgroup<'_>], of: &Cgroup<'_>) -> Vec<String> {
    if of.id().is_some() {
        return Vec::new();
    }
    if of.name == DOCKER {
        return all.iter().filter(|cgroup| cgroup.id().is_some()).map(docker_name).collect();
    }
    let start = of.name.trim_end_matches('/').len() + 1;
    let child = |cgroup: &Cgroup<'_>| {
        let end = cgroup.name[start..].find('/').map_or(cgroup.name.len(), |at| start + at);
        cgroup.name[..end].to_owned()
    };
    let below = all.iter().filter(|cgroup| is_below(&cgroup.name, &of.name));
    below.map(child).collect::<BTreeSet<String>>().into_iter().collect()
}

/// Whether one absolute path is strictly below another.
pub(super) fn is_below(path: &str, of: &str) -> bool {
    path.strip_prefix(of.trim_end_matches('/')).is_some_and(|rest| rest.len() > 1 && rest.starts_with('/'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn below_is_by_whole_parts_of_a_path() {
        for (path, of) in [("/a", "/"), ("/a/b", "/a"), ("/a/b/c", "/a"), ("/a/b", "/a/")] {
            assert!(is_below(path, of), "{path} {of}");
        }
        for (path, of) in [("/", "/"), ("/a", "/a"), ("/ab", "/a"), ("/b", "/a"), ("/a/", "/a")] {
            assert!(!is_below(path, of), "{path} {of}");
        }
    }
}
