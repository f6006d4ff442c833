//! Which child of a pod's cgroup is the sandbox (pure).

use crate::model::identity::ContainerId;
use crate::model::identity::KnownPod;

/// What is settled about a pod's sandbox.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) enum Sandbox {
    /// Nothing: any child may be it.
    #[default]
    Unsettled,
    /// The runtime uses none (CRI-O without infra containers): every child is a container.
    None,
    /// This child, and who says so.
    Is(ContainerId, &'static str),
}

/// Decides from the children, oldest first, and what the sources of names say.
///
/// A child that no source claims is not the sandbox for that reason alone: a new app container is
/// unclaimed too, for as long as its status takes to get around. So without the runtime's word only the
/// oldest child can be the sandbox, and only when every other child is claimed.
pub(super) fn settle(children: &[ContainerId], known: Option<&KnownPod>) -> Sandbox {
    let Some(known) = known else { return Sandbox::Unsettled };
    let named = known.sandboxes.iter().find(|sandbox| children.contains(&sandbox.id));
    if let Some(sandbox) = named {
        return Sandbox::Is(sandbox.id.clone(), "the runtime");
    }
    let claimed = |id: &ContainerId| known.containers.iter().any(|container| container.id == *id);
    if children.is_empty() || known.containers.is_empty() {
        return Sandbox::Unsettled;
    }
    if children.iter().all(claimed) {
        return Sandbox::None;
    }
    match children {
        [oldest, rest @ ..]
            if known.sandboxes.is_empty()
                && !rest.is_empty()
                && !claimed(oldest)
                && rest.iter().all(claimed) =>
        {
            Sandbox::Is(oldest.clone(), "the oldest child, and every other is a container")
        }
        _ => Sandbox::Unsettled,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::identity::ContainerState;
    use crate::model::identity::KnownContainer;
    use crate::model::identity::KnownSandbox;
    use crate::model::identity::PodUid;
    use crate::model::time::WallTime;

    fn id(digit: char) -> ContainerId {
        ContainerId::new(&digit.to_string().repeat(64)).unwrap()
    }

    fn known(sandbox: Option<char>, containers: &[char]) -> KnownPod {
        KnownPod {
            runtime_uid: PodUid::new("aa-bb").unwrap(),
            uid: None,
            namespace: "default".into(),
            name: "web".into(),
            static_pod: false,
            host_network: None,
            phase: None,
            start_time: None,
            owner: None,
            labels: Default::default(),
            sandboxes: sandbox.map(sandbox_of).into_iter().collect(),
            containers: containers.iter().copied().map(container_of).collect(),
            sources: vec![],
        }
    }

    fn sandbox_of(digit: char) -> KnownSandbox {
        KnownSandbox {
            id: id(digit),
            pid: None,
            ready: true,
            attempt: 0,
            created_at: WallTime::default(),
            network: None,
            runtime_handler: String::new(),
        }
    }

    fn container_of(digit: char) -> KnownContainer {
        KnownContainer {
            id: id(digit),
            name: "app".into(),
            kind: None,
            image: None,
            state: ContainerState::Running,
            restart_count: 0,
            started_at: None,
            cpu_request_cores: None,
            memory_request_bytes: None,
        }
    }

    #[test]
    fn nothing_is_settled_while_nobody_knows_the_pod() {
        assert_eq!(settle(&[id('a'), id('b')], None), Sandbox::Unsettled);
    }

    #[test]
    fn the_runtime_s_word_settles_it() {
        let known = known(Some('b'), &[]);
        assert_eq!(settle(&[id('a'), id('b')], Some(&known)), Sandbox::Is(id('b'), "the runtime"));
    }

    #[test]
    fn a_new_unclaimed_container_is_not_taken_for_the_sandbox() {
        let known = known(None, &['a']);
        assert_eq!(settle(&[id('a'), id('c')], Some(&known)), Sandbox::Unsettled);
    }

    #[test]
    fn the_oldest_child_is_the_sandbox_when_all_others_are_claimed() {
        let known = known(None, &['b', 'c']);
        assert!(
            matches!(settle(&[id('a'), id('b'), id('c')], Some(&known)), Sandbox::Is(sandbox, _) if sandbox == id('a'))
        );
    }

    #[test]
    fn two_unclaimed_children_leave_a_doubt() {
        let known = known(None, &['c']);
        assert_eq!(settle(&[id('a'), id('b'), id('c')], Some(&known)), Sandbox::Unsettled);
    }

    #[test]
    fn a_pod_whose_children_are_all_containers_has_no_sandbox() {
        let known = known(None, &['a', 'b']);
        assert_eq!(settle(&[id('a'), id('b')], Some(&known)), Sandbox::None);
    }
}
