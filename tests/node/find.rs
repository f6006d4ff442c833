//! What a test looks for in a document.

use podvitals::model::document::Container;
use podvitals::model::document::Pod;
use podvitals::model::document::PodList;

/// The pod of this UID.
pub(crate) fn pod<'a>(list: &'a PodList, uid: &str) -> &'a Pod {
    list.pods.iter().find(|pod| pod.runtime_uid == uid).unwrap_or_else(|| {
        let there: Vec<_> = list.pods.iter().map(|pod| pod.runtime_uid.as_str()).collect();
        panic!("no pod {uid} among {there:?}")
    })
}

/// The container of this id.
pub(crate) fn container(list: &PodList, id: &str) -> Container {
    let mut all = list.pods.iter().flat_map(|pod| &pod.containers);
    all.find(|container| container.id.as_deref() == Some(id))
        .unwrap_or_else(|| panic!("no container {id}"))
        .clone()
}
