//! Which child of a pod's cgroup is the sandbox (pure).

use std::time::Duration;

use crate::model::identity::ContainerId;
use crate::model::identity::KnownPod;
use crate::model::identity::KnownPods;
use crate::model::identity::Source;

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

impl Sandbox {
    /// Whether what was settled before holds while nothing says otherwise.
    ///
    /// That there is none holds while a sandbox is told that has no cgroup, or, where nobody tells of sandboxes, while
    /// the oldest child is a container: sandboxes are older than their containers, so whoever came after it is none.
    pub(super) fn stands(&self, children: &[ContainerId], known: Option<&KnownPod>) -> bool {
        match (self, known) {
            (Self::Is(id, _), _) => children.contains(id),
            (Self::None, Some(known)) if known.sandboxes.is_empty() => {
                children.first().is_some_and(|oldest| known.container(oldest).is_some())
            }
            (Self::None, Some(known)) => {
                known.sandboxes.iter().any(|sandbox| sandbox.ready && !children.contains(&sandbox.id))
            }
            (Self::None, None) | (Self::Unsettled, _) => false,
        }
    }
}

/// A child that no source claims for this long, while one that lists containers is heard, is none: a
/// pod's status tells of a new container within ten seconds. Without this rule a pod whose containers
/// crash at once would never be settled, for each is gone before its status names it.
pub(super) const UNCLAIMED: Duration = Duration::from_secs(30);

/// Whether a source that lists every container, but no sandboxes, is heard now.
pub(super) fn is_claimed_for(known: &KnownPods) -> bool {
    known.current.iter().any(|source| matches!(source, Source::Kube | Source::Kubelet))
}

/// Decides from the children, oldest first, and what the sources of names say. `unclaimed` is how long
/// the oldest could have been claimed.
///
/// A child that no source claims is not the sandbox for that reason alone: a new app container is
/// unclaimed too, for as long as its status takes to get around. But a status that lists one container
/// lists all that were there before it. So without the runtime's word the sandbox is the one child that
/// is older than every claimed one, if there is exactly one such.
pub(super) fn settle(children: &[ContainerId], known: Option<&KnownPod>, unclaimed: Duration) -> Sandbox {
    let Some(known) = known else { return Sandbox::Unsettled };
    let named = known.sandboxes.iter().find(|sandbox| children.contains(&sandbox.id));
    if let Some(sandbox) = named {
        return Sandbox::Is(sandbox.id.clone(), "the runtime");
    }
    let claimed = |id: &ContainerId| known.container(id).is_some();
    let [oldest, rest @ ..] = children else { return Sandbox::Unsettled };
    if children.iter().all(claimed) {
        return Sandbox::None;
    }
    // A runtime that names sandboxes has just not named this one.
    if claimed(oldest) || !known.sandboxes.is_empty() || known.containers.is_empty() {
        return Sandbox::Unsettled;
    }
    match rest.first() {
        Some(next) if claimed(next) => {
            Sandbox::Is(oldest.clone(), "the one child that is older than every container with a name")
        }
        None if unclaimed >= UNCLAIMED => {
            Sandbox::Is(oldest.clone(), "the only child, and no container of the pod's in all this time")
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
    use crate::model::identity::Requests;
    use crate::model::time::WallTime;

    fn id(digit: char) -> ContainerId {
        ContainerId::new(&digit.to_string().repeat(64)).unwrap()
    }

    fn known(sandbox: Option<char>, containers: &[char]) -> KnownPod {
        KnownPod {
            sandboxes: sandbox.map(sandbox_of).into_iter().collect(),
            containers: containers.iter().copied().map(container_of).collect(),
            ..KnownPod::named(PodUid::new("aa-bb").unwrap(), "default", "web", Source::Kube)
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
            id: Some(id(digit)),
            runtime: None,
            name: "app".into(),
            kind: None,
            image: None,
            state: ContainerState::Running,
            state_reason: None,
            restart_count: 0,
            started_at: None,
            requests: Requests::default(),
        }
    }

    #[test]
    fn a_new_container_of_a_pod_without_a_sandbox_unsettles_nothing() {
        let mut told = known(None, &['a', 'b']);
        assert_eq!(settle(&[id('a'), id('b')], Some(&told), Duration::ZERO), Sandbox::None);
        // The second is started anew; its new id is in no status yet.
        assert!(Sandbox::None.stands(&[id('a'), id('c')], Some(&told)));
        // The first is, too: who is left was never claimed, and may be a sandbox.
        assert!(!Sandbox::None.stands(&[id('c'), id('d')], Some(&told)));
        assert!(!Sandbox::None.stands(&[], Some(&told)));
        assert!(!Sandbox::None.stands(&[id('a')], None));
        // A runtime that tells of sandboxes knows better.
        told.sandboxes = vec![sandbox_of('e')];
        assert!(Sandbox::None.stands(&[id('a'), id('c')], Some(&told)), "it has no cgroup");
        told.sandboxes[0].ready = false;
        assert!(!Sandbox::None.stands(&[id('a'), id('c')], Some(&told)));
        assert!(!Sandbox::Unsettled.stands(&[id('a')], Some(&told)));
    }

    #[test]
    fn nothing_is_settled_while_nobody_knows_the_pod() {
        assert_eq!(settle(&[id('a'), id('b')], None, Duration::ZERO), Sandbox::Unsettled);
    }

    #[test]
    fn the_runtime_s_word_settles_it() {
        let known = known(Some('b'), &[]);
        assert_eq!(
            settle(&[id('a'), id('b')], Some(&known), Duration::ZERO),
            Sandbox::Is(id('b'), "the runtime")
        );
    }

    #[test]
    fn a_new_unclaimed_container_is_not_taken_for_the_sandbox() {
        let known = known(None, &['a']);
        assert_eq!(settle(&[id('a'), id('c')], Some(&known), Duration::ZERO), Sandbox::Unsettled);
    }

    #[test]
    fn the_one_child_older_than_every_claimed_one_is_the_sandbox() {
        let known = known(None, &['b', 'c']);
        assert!(
            matches!(settle(&[id('a'), id('b'), id('c')], Some(&known), Duration::ZERO), Sandbox::Is(sandbox, _) if sandbox == id('a'))
        );
    }

    #[test]
    fn a_container_too_new_to_be_claimed_does_not_unsettle_that() {
        let known = known(None, &['b']);
        let settled = settle(&[id('a'), id('b'), id('c')], Some(&known), Duration::ZERO);
        assert!(matches!(settled, Sandbox::Is(sandbox, _) if sandbox == id('a')));
    }

    #[test]
    fn two_unclaimed_children_leave_a_doubt() {
        let known = known(None, &['c']);
        assert_eq!(settle(&[id('a'), id('b'), id('c')], Some(&known), Duration::ZERO), Sandbox::Unsettled);
    }

    #[test]
    fn a_pod_whose_children_are_all_containers_has_no_sandbox() {
        let known = known(None, &['a', 'b']);
        assert_eq!(settle(&[id('a'), id('b')], Some(&known), Duration::ZERO), Sandbox::None);
    }

    #[test]
    fn an_only_child_is_the_sandbox_once_nobody_has_claimed_it_for_long() {
        let known = known(None, &['c']);
        let child = [id('a')];
        let after = |age| settle(&child, Some(&known), age);
        assert_eq!(after(UNCLAIMED - Duration::from_millis(1)), Sandbox::Unsettled);
        assert!(matches!(after(UNCLAIMED), Sandbox::Is(sandbox, _) if sandbox == id('a')));
    }

    #[test]
    fn time_alone_settles_nothing_among_two_unclaimed_children() {
        let known = known(None, &['c']);
        assert_eq!(settle(&[id('a'), id('b')], Some(&known), UNCLAIMED * 2), Sandbox::Unsettled);
    }
}
