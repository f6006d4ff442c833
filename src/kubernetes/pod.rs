//! A pod as the API server and the kubelet write it, the fields we use and no more (pure).
//!
//! <https://kubernetes.io/docs/reference/kubernetes-api/workload-resources/pod-v1/>. Two thirds of a pod's
//! 9.6 KB are skipped: `managedFields`, environments, volumes, conditions.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::Deserialize;

use crate::model::identity::PodUid;
use crate::model::time::WallTime;

use super::lenient::FullContainerId;
use super::lenient::Object;
use super::lenient::lenient;
use super::quantity::Quantity;

macro_rules! objects {
    ($($(#[$doc:meta])* $name:ident { $($(#[$field:meta])* $part:ident: $type:ty,)* })*) => {$(
        $(#[$doc])*
        #[derive(Clone, Debug, Default, Deserialize)]
        #[serde(rename_all = "camelCase", default)]
        pub(super) struct $name {
            $($(#[$field])* #[serde(deserialize_with = "lenient")] pub(super) $part: $type,)*
        }

        impl Object for $name {}
    )*};
}

objects! {
    /// The whole.
    Pod {
        metadata: Metadata,
        spec: Spec,
        status: Status,
    }

    Metadata {
        name: Option<Arc<str>>,
        namespace: Option<Arc<str>>,
        uid: Option<PodUid>,
        resource_version: Option<Arc<str>>,
        creation_timestamp: Option<WallTime>,
        deletion_timestamp: Option<WallTime>,
        labels: BTreeMap<String, String>,
        annotations: Annotations,
        owner_references: Vec<OwnerReference>,
    }

    /// What the kubelet notes on a pod it did not get from the API server.
    Annotations {
        #[serde(rename = "kubernetes.io/config.mirror")]
        mirror: Option<PodUid>,
        #[serde(rename = "kubernetes.io/config.hash")]
        hash: Option<PodUid>,
        #[serde(rename = "kubernetes.io/config.source")]
        source: Option<Arc<str>>,
    }

    OwnerReference {
        kind: Option<Arc<str>>,
        name: Option<Arc<str>>,
        controller: Option<bool>,
    }

    Spec {
        node_name: Option<Arc<str>>,
        host_network: Option<bool>,
        runtime_class_name: Option<Arc<str>>,
        containers: Vec<SpecContainer>,
        init_containers: Vec<SpecContainer>,
        ephemeral_containers: Vec<SpecContainer>,
        resources: Resources,
        overhead: Amounts,
    }

    SpecContainer {
        name: Option<Arc<str>>,
        image: Option<Arc<str>>,
        restart_policy: Option<Arc<str>>,
        resources: Resources,
    }

    Resources {
        requests: Amounts,
    }

    Amounts {
        cpu: Option<Quantity>,
        memory: Option<Quantity>,
    }

    Status {
        phase: Option<Arc<str>>,
        start_time: Option<WallTime>,
        container_statuses: Vec<ContainerStatus>,
        init_container_statuses: Vec<ContainerStatus>,
        ephemeral_container_statuses: Vec<ContainerStatus>,
    }

    ContainerStatus {
        name: Option<Arc<str>>,
        image: Option<Arc<str>>,
        #[serde(rename = "containerID")]
        container_id: Option<FullContainerId>,
        restart_count: Option<u32>,
        state: State,
        last_state: State,
        resources: Resources,
        allocated_resources: Amounts,
    }

    /// At most one of the three is there.
    State {
        waiting: Option<Waiting>,
        running: Option<Running>,
        terminated: Option<Terminated>,
    }

    Waiting {
        reason: Option<Arc<str>>,
    }

    Running {
        started_at: Option<WallTime>,
    }

    Terminated {
        reason: Option<Arc<str>>,
        started_at: Option<WallTime>,
        #[serde(rename = "containerID")]
        container_id: Option<FullContainerId>,
    }

    /// The answer to a list: of the API server with its version, of the kubelet without.
    PodList {
        metadata: ListMetadata,
        items: Vec<Pod>,
    }

    ListMetadata {
        resource_version: Option<Arc<str>>,
    }
}
