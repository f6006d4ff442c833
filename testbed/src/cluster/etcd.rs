//! What is asked of etcd itself: whether it is there, and to forget.
//!
//! Over its JSON gateway, `POST /v3/…`: <https://etcd.io/docs/v3.4/dev-guide/api_grpc_gateway/>.

use std::net::SocketAddrV4;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

const PATIENCE: Duration = Duration::from_secs(30);

/// The newest revision.
pub(super) async fn fetch_revision(etcd: SocketAddrV4) -> Result<u64> {
    let status = post(etcd, "/v3/maintenance/status", &json!({})).await?;
    // The gateway writes 64-bit numbers as strings.
    let revision = status["header"]["revision"].as_str().and_then(|text| text.parse().ok());
    revision.with_context(|| format!("etcd's status has no revision: {status}"))
}

/// Drops every revision but the newest; returns that.
pub(super) async fn compact(etcd: SocketAddrV4) -> Result<u64> {
    let revision = fetch_revision(etcd).await?;
    let request = json!({ "revision": revision.to_string(), "physical": true });
    post(etcd, "/v3/kv/compaction", &request).await?;
    Ok(revision)
}

async fn post(etcd: SocketAddrV4, path: &str, body: &Value) -> Result<Value> {
    let shown = || format!("etcd {etcd}{path}");
    let ask = async {
        let mut stream = TcpStream::connect(etcd).await?;
        let body = body.to_string();
        // 1.0: the answer then comes in one piece and ends with the connection.
        let request = format!("POST {path} HTTP/1.0\r\nContent-Length: {}\r\n\r\n{body}", body.len());
        stream.write_all(request.as_bytes()).await?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await?;
        std::io::Result::Ok(answer)
    };
    let answer = timeout(PATIENCE, ask).await.with_context(shown)?.with_context(shown)?;
    let (head, body) = answer.split_once("\r\n\r\n").with_context(shown)?;
    ensure!(head.split(' ').nth(1) == Some("200"), "{}: {answer}", shown());
    serde_json::from_str(body).with_context(shown)
}
