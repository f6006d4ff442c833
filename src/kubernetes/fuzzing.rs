//! What the API server and the kubelet answer, under any bytes: read or refused, never a panic, and nothing
//! in it that nobody told.

use std::collections::BTreeSet;
use std::net::Ipv6Addr;
use std::sync::LazyLock;

use hyper::Uri;
use k8s_openapi::api::authentication::v1::TokenReview;
use k8s_openapi::api::authorization::v1::SubjectAccessReview;
use serde_json::Value;
use tokio::runtime::Builder;
use tokio::runtime::Runtime;

use super::client::ApiServer;
use super::identity::is_cut;
use super::index::Index;
use super::pod::Pod;
use super::pod::PodList;
use super::quantity::Quantity;
use super::review::EVERYBODY;
use super::review::Right;
use super::review::access;
use super::review::is_granted;
use super::review::vouched_for;
use super::watch::heard;
use crate::config::Config;
use crate::model::identity::KnownPod;

/// A quantity, `100m`, `64Mi`.
pub fn quantity(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    if let Some(quantity) = Quantity::parse(text) {
        assert!(quantity.number().is_finite() && quantity.number() >= 0.0);
        let twice = quantity.plus(quantity);
        assert!(twice >= quantity && twice.whole() >= quantity.whole());
        // The same number in other words.
        let plain = text.trim_start_matches('+').bytes().all(|byte| byte.is_ascii_digit());
        if plain && let Ok(number) = text.trim_start_matches('+').parse::<u64>() {
            assert_eq!(quantity.whole(), number);
            let milli = Quantity::parse(&format!("{number}000m"));
            assert!(milli.is_none_or(|milli| milli == quantity));
        }
    }
}

/// One pod as JSON.
pub fn pod_json(bytes: &[u8]) {
    if let Ok(pod) = serde_json::from_slice::<Pod>(bytes) {
        let mut index = Index::default();
        let named = index.put(&pod).is_ok();
        let all = index.all();
        assert_eq!(all.len(), usize::from(named));
        all.iter().for_each(|pod| is_bounded(pod));
        assert!(all.iter().all(|known| is_cut(&pod) || known.containers.len() <= 2 * 256));
        assert!(!index.put(&pod).unwrap_or(false), "told again it is no news");
        assert_eq!(index.remove(&pod), named);
        assert!(index.all().is_empty());
    }
}

/// A list of pods.
pub fn pod_list(bytes: &[u8]) {
    let Ok(PodList { metadata, items }) = serde_json::from_slice::<PodList>(bytes) else { return };
    let mut index = Index::default();
    let nameless = index.swap(&items, metadata.resource_version.as_deref());
    let uids: BTreeSet<_> = items.iter().filter_map(|pod| pod.metadata.uid.as_ref()).collect();
    let pods = index.all();
    assert!(pods.len() <= uids.len() && nameless <= items.len());
    pods.iter().for_each(|pod| is_bounded(pod));
    // What an empty list leaves is what it cannot know of.
    index.forget_versions();
    index.swap(&[], None);
    assert!(index.all().is_empty());
}

/// What no answer may make longer than a name can be.
fn is_bounded(pod: &KnownPod) {
    let texts = [Some(&pod.name), Some(&pod.namespace), pod.phase.as_ref(), pod.runtime_class.as_ref()];
    assert!(texts.into_iter().flatten().all(|text| text.len() <= 1024));
    assert!(pod.labels.len() <= 128);
    assert!(pod.labels.iter().all(|(key, value)| key.len() <= 1024 && value.len() <= 1024));
    let cores = pod.requests.cpu_cores.map(|cores| cores.get());
    assert!(cores.is_none_or(|cores| cores.is_finite() && cores >= 0.0));
}

/// An API server that is never asked anything, and what its client wants to live in.
static ASIDE: LazyLock<Option<(Runtime, ApiServer)>> = LazyLock::new(|| {
    let runtime = Builder::new_current_thread().enable_all().build().ok()?;
    let api = runtime.block_on(async { ApiServer::anonymous("http://127.0.0.1:1") }).ok()?;
    Some((runtime, api))
});

/// The body of a watch, which the network may cut anywhere.
pub fn watch_stream(bytes: &[u8]) {
    let aside = ASIDE.as_ref();
    assert!(aside.is_some(), "a client can be made");
    let Some((runtime, api)) = aside else { return };
    let told = |size: usize| runtime.block_on(heard(api, bytes.chunks(size)));
    let (whole, ended) = told(bytes.len().max(1));
    for size in [1, 7, 64] {
        let (pods, broken) = told(size);
        assert_eq!(broken, ended, "in pieces of {size}");
        assert_eq!(pods, whole, "in pieces of {size}");
    }
    whole.iter().for_each(|pod| is_bounded(pod));
    let lines = bytes.split(|&byte| byte == b'\n').filter(|line| !line.trim_ascii().is_empty());
    let events: Result<Vec<Value>, _> = lines.map(serde_json::from_slice).collect();
    // This other parser also refuses what ours has no need to look at.
    let Ok(events) = events else { return };
    let uid = |event: &Value| event["object"]["metadata"]["uid"].as_str().map(str::to_owned);
    let told: BTreeSet<_> = events.iter().filter_map(uid).collect();
    let own = |pod: &KnownPod| pod.uid.as_ref().is_some_and(|uid| told.contains(uid.as_str()));
    assert!(whole.iter().all(|pod| own(pod)), "a pod that nobody told of");
}

/// What the API server says of a token, and of a right. Read by another parser it says the same.
pub fn reviews(bytes: &[u8]) {
    // That one also refuses what ours has no need to look at.
    let told = || serde_json::from_slice::<Value>(bytes).ok().map(|mut review| review["status"].take());
    if let Ok(review) = serde_json::from_slice::<TokenReview>(bytes)
        && let Some(user) = vouched_for(review)
    {
        assert!(!user.name.is_empty());
        let asked = |right: &Right| access(&user, right).groups.unwrap_or_default();
        let node = asked(&Right::Node { subresource: "metrics", name: "n1".to_owned() });
        assert_eq!(node, user.groups);
        let path = asked(&Right::Path("/api/v1/pods".to_owned()));
        assert!(path.iter().all(|group| group != EVERYBODY && user.groups.contains(group)));
        if let Some(told) = told() {
            assert_eq!(told["authenticated"], true);
            assert_eq!(told["user"]["username"], *user.name);
            assert_eq!(user.groups.len(), told["user"]["groups"].as_array().map_or(0, Vec::len));
        }
    }
    if let Ok(review) = serde_json::from_slice::<SubjectAccessReview>(bytes)
        && is_granted(&review)
        && let Some(told) = told()
    {
        assert_eq!(told["allowed"], true);
        assert_ne!(told["denied"], true);
    }
}

/// Where the kubelet is: what the setting takes, the client connects to, and nowhere else.
pub fn kubelet_url(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let told = |variable: &str| (variable == "PODVITALS_KUBELET_URL").then(|| text.to_owned());
    let Ok(Some(kubelet)) = Config::from_vars(told).map(|config| config.kubelet) else { return };
    let uri = kubelet.url.parse::<Uri>();
    assert!(uri.is_ok(), "{}: {uri:?}", kubelet.url);
    let Ok(uri) = uri else { return };
    assert_eq!((uri.scheme_str(), uri.path()), (Some("https"), "/"));
    let host = uri.host().unwrap_or_default().trim_matches(['[', ']']);
    assert!(!host.is_empty() && (text.contains(host) || host.parse::<Ipv6Addr>().is_ok()), "{uri}");
    let port = text.trim_end_matches('/').rsplit(':').next().and_then(|port| port.parse::<u16>().ok());
    assert!(port.is_some() && uri.port_u16() == port, "{uri}");
}
