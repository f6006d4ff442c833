//! The kubelet's list, and what stands in its way.

use super::*;
use crate::kubernetes::fake::FakeApi;
use crate::kubernetes::fake::Reply;
use crate::kubernetes::fake::list;
use crate::kubernetes::fake::pod;
use crate::kubernetes::fake::status;

async fn asking(replies: impl IntoIterator<Item = Reply>) -> (Kubelet, FakeApi) {
    let server = FakeApi::start(replies).await;
    (Kubelet::at(&server.url, Arc::default()), server)
}

#[tokio::test]
async fn an_answer_of_several_megabytes_is_read_whole() {
    let huge = format!("\"annotations\":{{\"a\":\"{}\"}},\"namespace\"", "x".repeat(60 << 10));
    let pods: Vec<_> =
        (0..100).map(|n| pod(&format!("web-{n}"), '1', 1).replace("\"namespace\"", &huge)).collect();
    let (mut kubelet, server) = asking([list(0, &pods)]).await;
    let pods = kubelet.fetch_pods().await.unwrap();
    assert_eq!((pods.len(), &*pods[99].name), (100, "web-99"));
    assert_eq!(pods[99].sources, [Source::Kubelet]);
    assert_eq!(server.asked(), ["/pods"]);
}

#[tokio::test]
async fn a_refusal_is_told_in_the_kubelet_s_words() {
    let plain = "Forbidden (user=system:serviceaccount:vit:pv, verb=get, resource=nodes, subresource(s)=[pods proxy])";
    let (mut kubelet, server) =
        asking([Reply::Whole(403, "", plain.into()), status(401, "Unauthorized"), list(0, &[])]).await;
    let error = kubelet.fetch_pods().await.unwrap_err();
    assert_eq!(error.refusal(), Refusal::Forbidden);
    assert_eq!(error.to_string(), format!("{}: list pods: 403: {plain}", server.url));
    assert_eq!(kubelet.fetch_pods().await.unwrap_err().refusal(), Refusal::Unauthorized);
    assert_eq!(kubelet.fetch_pods().await.unwrap().len(), 0);
    assert_eq!(kubelet.health.counted(Room::Kubernetes, Trouble::Denied), 2);
}

#[tokio::test]
async fn a_pod_that_cannot_be_named_is_counted_once_not_at_each_answer() {
    let answer = list(0, &["{}".into(), pod("web", '1', 1)]);
    let (mut kubelet, _server) = asking([answer.clone(), answer]).await;
    for _ in 0..2 {
        assert_eq!(kubelet.fetch_pods().await.unwrap().len(), 1);
    }
    assert_eq!(kubelet.health.counted(Room::Kubernetes, Trouble::Malformed), 1);
}

#[test]
fn an_authority_that_is_no_file_is_refused_at_the_start() {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let _inside = runtime.enter();
    let url = "https://127.0.0.1:10250".to_owned();
    let address = KubeletAddress { url, ca: Some("/nowhere/ca.crt".into()), insecure_tls: false };
    let error = Kubelet::new(&address, None, Arc::default()).err().unwrap();
    assert!(error.to_string().contains("PODVITALS_KUBELET_CA"), "{error}");
}
