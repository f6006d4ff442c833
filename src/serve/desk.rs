//! The routes without a socket: the same answers for a caller in this process.

use bytes::Bytes;
use http_body_util::{BodyExt, Empty};
use hyper::Request;
use std::sync::Arc;
use tower::ServiceExt;

use super::Published;
use super::app::App;
use super::reply::Rest;
use super::routes::{self, Routes};
use super::sheets::Pieces;

/// What a route answered.
#[derive(Clone, Debug)]
pub struct Answer {
    /// The HTTP status.
    pub status: u16,
    /// The document, or what is wrong, as RFC 9457 has it.
    pub body: Bytes,
}

/// Where a caller in this process asks.
pub struct Desk(Routes);

impl Desk {
    /// A desk that shows what is published.
    pub fn new(published: Published) -> Self {
        Self(routes::routes(Arc::new(App::new(published))))
    }

    /// What `GET` of this path, with its query, answers. A path that is none answers 400.
    pub async fn answer(&self, path: &str) -> Answer {
        let refused = |status| Answer { status, body: Bytes::new() };
        let Ok(request) = Request::get(path).body(Empty::<Bytes>::new()) else { return refused(400) };
        let Ok(response) = warp::service(self.0.clone()).oneshot(request).await;
        let status = response.status().as_u16();
        let rest = response.extensions().get::<Rest>().map(|Rest(rest)| rest.clone()).unwrap_or_default();
        match response.into_body().collect().await {
            Ok(first) => Answer { status, body: Pieces { first: first.to_bytes(), rest }.joined() },
            Err(_) => refused(500),
        }
    }
}
