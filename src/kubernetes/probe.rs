//! One question to the API server, for somebody who wants to know whether it answers.

use std::time::Duration;

use hyper::Request;

use super::client::ApiServer;
use super::client::Asked;
use super::client::KubernetesError;
use super::json;
use super::pod::PodList;

const CALL: &str = "list pods";

/// Somebody waits for the answer.
const DEADLINE: Duration = Duration::from_secs(10);

impl ApiServer {
    /// Pods that the API server lists under this node's name, from its cache, as `serve` asks.
    ///
    /// # Errors
    /// As for every call.
    pub async fn fetch_pod_count(&self, node: &str) -> Result<usize, KubernetesError> {
        let asked = Asked { server: self.url_shared(), call: CALL };
        // A node's name is a DNS name; anything else would end the query early.
        let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_');
        let node: String = node.chars().filter(|&c| plain(c)).collect();
        let path = format!("/api/v1/pods?fieldSelector=spec.nodeName%3D{node}&resourceVersion=0");
        let request = Request::get(path).body(Vec::new()).map_err(|error| asked.broken(&error))?;
        let answer = self.send(CALL, request, DEADLINE).await?;
        let PodList { items, .. } = json::read(answer, asked, DEADLINE).await?;
        Ok(items.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kubernetes::fake::FakeApi;
    use crate::kubernetes::fake::Reply;
    use crate::model::health::Refusal;

    #[tokio::test]
    async fn the_pods_of_a_node_are_counted_or_the_refusal_is_told() {
        let list = r#"{"metadata":{"resourceVersion":"7"},"items":[{"metadata":{"name":"a"}},{"metadata":{"name":"b"}}]}"#;
        let no = r#"{"message":"pods is forbidden"}"#;
        let api =
            FakeApi::start([Reply::Whole(200, "", list.to_owned()), Reply::Whole(403, "", no.to_owned())])
                .await;
        let server = ApiServer::at(&api.url, None);
        assert_eq!(server.fetch_pod_count("n1&x=y").await.unwrap(), 2);
        let error = server.fetch_pod_count("n1").await.unwrap_err();
        assert_eq!(error.refusal(), Refusal::Forbidden);
        assert!(error.to_string().contains("pods is forbidden"), "{error}");
        assert!(api.asked()[0].contains("spec.nodeName%3Dn1xy&resourceVersion=0"), "{:?}", api.asked());
    }
}
