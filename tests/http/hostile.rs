//! Names that are made to break a document, a path, or a terminal.

use std::sync::Arc;

use podvitals::model::counters::InterfaceName;
use podvitals::model::identity::{KnownContainer, KnownPod};
use podvitals::model::snapshot::Snapshot;
use podvitals::model::target::PodTarget;
use proptest::prelude::*;

/// Whatever there is, and often what some format would take for its own.
pub(crate) fn hostile() -> impl Strategy<Value = String> {
    prop_oneof![
        any::<String>(),
        Just("\"},{\"Id\":\"x".to_owned()),
        Just("\"}],\"x\":[{\"".to_owned()),
        Just("a\nb\r\0\u{1b}[2J\\".to_owned()),
        Just("../../%2e%2e".to_owned()),
        Just("metrics/cpu".to_owned()),
        Just("\u{202e}\u{feff}\u{10ffff}+ ".to_owned()),
        Just("db\",namespace=\"shop\",pod=\"db\"} 1 1\n# EOF\n".to_owned()),
        Just("pod=".to_owned()),
    ]
}

/// What default/web, its app container, its first interface and a label of its own are called.
#[derive(Clone, Debug)]
pub(crate) struct Called {
    pub(crate) pod: String,
    pub(crate) namespace: String,
    pub(crate) container: String,
    pub(crate) image: String,
    pub(crate) interface: Vec<u8>,
    /// Its name and its value.
    pub(crate) label: String,
}

/// All of them something hostile.
pub(crate) fn called() -> impl Strategy<Value = Called> {
    let interface =
        prop_oneof![proptest::collection::vec(any::<u8>(), 1..=15), Just(b"\\x41\\\\\"\xff,\n".to_vec()),];
    (hostile(), hostile(), hostile(), hostile(), interface, hostile()).prop_map(
        |(pod, namespace, container, image, interface, label)| Called {
            pod,
            namespace,
            container,
            image,
            interface,
            label,
        },
    )
}

/// Gives them these names, as [`super::node::after`] does something to the pod.
pub(crate) fn rename(web: &mut PodTarget, snapshot: &mut Snapshot, called: &Called) {
    let mut pod = KnownPod::clone(web.known.as_ref().unwrap());
    (pod.name, pod.namespace) = (called.pod.as_str().into(), called.namespace.as_str().into());
    pod.labels.insert(called.label.clone(), called.label.clone());
    let app = &mut web.containers[0];
    let mut container = KnownContainer::clone(app.known.as_ref().unwrap());
    (container.name, container.image) =
        (called.container.as_str().into(), Some(called.image.as_str().into()));
    *pod.containers.iter_mut().find(|listed| listed.id == container.id).unwrap() = container.clone();
    (web.known, app.known) = (Some(Arc::new(pod)), Some(Arc::new(container)));
    let figures = snapshot.pods.iter().find(|pod| pod.target == 0).unwrap();
    // Before it is the loopback.
    let first = figures.network.as_ref().unwrap().value.interfaces.start + 1;
    snapshot.interfaces[first as usize].name = InterfaceName::new(&called.interface).unwrap();
}
