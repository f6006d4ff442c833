//! Who may ask what, on https addresses.
//!
//! 1. `/livez`, `/readyz` and `/healthz` need nothing: they say whether podvitals works, and the
//!    kubelet asks them without credentials.
//! 2. A client certificate of the operator's own authority opens everything.
//! 3. A bearer token is shown to the API server (TokenReview), and whoever holds it needs the right to
//!    `get` what he asks for (SubjectAccessReview): `nodes/metrics` for `/metrics`, `nodes/stats` for
//!    `/stats`, `nodes/pods` for `/pods`, as the kubelet asks for the same routes; or, for these and
//!    for any other path, the path itself as a non-resource URL.
//!
//! What the API server said is kept for a while: [`reviews`].

pub(super) mod bearer;
mod clients;
mod memory;
mod outage;
mod pace;
mod reviews;
pub(super) mod right;

use std::future::Future;
use std::net::IpAddr;
use std::sync::Arc;

use hyper::header::HeaderMap;
use hyper::{Request, StatusCode};
use rustls::pki_types::CertificateDer;

use self::reviews::{Reviews, Verdict};
use super::reply::{Refusal, quoted};
use super::tls::Tls;
use crate::kubernetes::client::ApiServer;
use crate::kubernetes::review::{ReviewError, Right, User};
use crate::model::health::{Decision, Health};

/// Who is asked about tokens and rights.
pub(super) trait Reviewer: Clone + Send + Sync + 'static {
    /// Who holds this token; `None`: nobody vouches for it.
    fn authenticate(&self, token: &str) -> impl Future<Output = Result<Option<User>, ReviewError>> + Send;

    /// Whether `user` has that right.
    fn authorize(&self, user: &User, right: &Right)
    -> impl Future<Output = Result<bool, ReviewError>> + Send;
}

impl Reviewer for ApiServer {
    async fn authenticate(&self, token: &str) -> Result<Option<User>, ReviewError> {
        Self::authenticate(self, token).await
    }

    async fn authorize(&self, user: &User, right: &Right) -> Result<bool, ReviewError> {
        Self::authorize(self, user, right).await
    }
}

/// Guards the https addresses.
pub(super) struct Guard {
    /// `None`: no API server; only certificates open.
    reviews: Option<Reviews<ApiServer>>,
    node_name: Arc<str>,
    health: Arc<Health>,
}

/// A client at a guarded address.
#[derive(Clone)]
pub(super) struct Visitor {
    pub(super) guard: Arc<Guard>,
    /// Where it connects from.
    pub(super) address: IpAddr,
    pub(super) tls: Arc<Tls>,
    /// The client's certificates, its own first; empty without one.
    pub(super) certificates: Arc<[CertificateDer<'static>]>,
}

impl Guard {
    pub(super) fn new(api_server: Option<ApiServer>, node_name: Arc<str>, health: Arc<Health>) -> Self {
        let reviews = api_server.map(|server| Reviews::new(server, health.clone()));
        Self { reviews, node_name, health }
    }
}

impl Visitor {
    /// Lets a request pass.
    ///
    /// # Errors
    /// Who asks is unknown, may not, or cannot be looked up now.
    pub(super) async fn admit<B>(&self, request: &Request<B>) -> Result<(), Refusal> {
        let path = request.uri().path();
        if right::is_open(path) {
            return Ok(());
        }
        let (decision, outcome) = self.decide(path, request.headers()).await;
        self.guard.health.decided(decision);
        outcome
    }

    async fn decide(&self, path: &str, headers: &HeaderMap) -> (Decision, Result<(), Refusal>) {
        // Looked at again for each request: the connection may be older than the end of the
        // certificate, or than a change of the authorities.
        if self.tls.vouches_for(&self.certificates) {
            return (Decision::Allowed, Ok(()));
        }
        let unauthenticated = |refusal| (Decision::Unauthenticated, Err(refusal));
        let token = match bearer::token(headers) {
            Ok(Some(token)) => token,
            Ok(None) => {
                return unauthenticated(unauthorized(
                    "no bearer token: send `Authorization: Bearer …` with a token of the API server, or use a client \
                     certificate",
                ));
            }
            Err(why) => return unauthenticated(Refusal::bad_request(why)),
        };
        let Some(reviews) = &self.guard.reviews else {
            return unauthenticated(unauthorized(
                "tokens are not taken: no API server is configured to ask about them; use a client certificate",
            ));
        };
        let rights = right::rights(path, &self.guard.node_name);
        match reviews.decide(token, self.address, &rights).await {
            Verdict::Allowed => (Decision::Allowed, Ok(())),
            Verdict::Denied(user) => (Decision::Denied, Err(forbidden(&user, &rights))),
            Verdict::Unauthenticated => unauthenticated(unauthorized(
                "the API server does not accept this token: it is invalid or expired",
            )),
            // Why is in the log: it names the API server, and whoever sends any token comes here.
            Verdict::Unavailable => {
                let detail = "this token cannot be checked now: the API server does not review it; the log of podvitals \
                              says why";
                (Decision::Unavailable, Err(Refusal::unavailable(detail)))
            }
            Verdict::TooMany => {
                let detail = "too many requests that need a review by the API server; come back in a second";
                let refusal = Refusal::new(StatusCode::TOO_MANY_REQUESTS, detail).retry_after(1);
                (Decision::Throttled, Err(refusal))
            }
        }
    }
}

fn unauthorized(detail: &str) -> Refusal {
    Refusal::new(StatusCode::UNAUTHORIZED, detail)
}

/// In the words of the API server.
fn forbidden(user: &User, rights: &[Right]) -> Refusal {
    let wanted: Vec<String> = rights
        .iter()
        .map(|right| match right {
            Right::Node { subresource, name } => {
                format!(
                    "get resource \"nodes/{subresource}\" of {name:?} in API group \"\" at the cluster scope"
                )
            }
            Right::Path(path) => format!("get path {}", quoted(path)),
        })
        .collect();
    let name: String = user.name.chars().take(253).collect();
    Refusal::new(StatusCode::FORBIDDEN, format!("User {name:?} cannot {}", wanted.join(", nor ")))
}
