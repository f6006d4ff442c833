//! The first minute after `helm install`.

use std::sync::Arc;

use podvitals::model::identity::Source;

use crate::stage::NAMESPACE;
use crate::stage::Stage;

pub(crate) async fn the_daemon_is_installed_and_names_itself(stage: Arc<Stage>) {
    let name = stage.daemon_pod().await;
    let (_forward, reader) = stage.port_forward().await;
    let list = reader.next_list().await;
    assert_eq!(list.node, stage.cluster.node_name());
    let own = list.pods.iter().find(|pod| pod.name.as_deref() == Some(&name)).unwrap();
    assert_eq!((own.namespace.as_deref(), own.phase.as_deref()), (Some(NAMESPACE), Some("Running")));
    assert_eq!(own.identity, [Source::Kube], "the default profile has no other source");
    assert!(own.cpu.as_ref().unwrap().usage_nanoseconds > 0);
    assert!(own.network.is_some(), "{:?}", own.unavailable);
}
