//! TokenReview and SubjectAccessReview: the API server says who a client is and what it may do.
//!
//! <https://kubernetes.io/docs/reference/access-authn-authz/webhook/>, and the kubelet, which asks the
//! same of its own clients. Both reviews need the rights of ClusterRole `system:auth-delegator`:
//! `create` on `tokenreviews.authentication.k8s.io` and `subjectaccessreviews.authorization.k8s.io`.

use std::collections::BTreeMap;
use std::time::Duration;

use http_body_util::BodyExt;
use http_body_util::Limited;
use hyper::Request;
use hyper::header::CONTENT_TYPE;
use k8s_openapi::api::authentication::v1::TokenReview;
use k8s_openapi::api::authentication::v1::TokenReviewSpec;
use k8s_openapi::api::authentication::v1::UserInfo;
use k8s_openapi::api::authorization::v1::NonResourceAttributes;
use k8s_openapi::api::authorization::v1::ResourceAttributes;
use k8s_openapi::api::authorization::v1::SubjectAccessReview;
use k8s_openapi::api::authorization::v1::SubjectAccessReviewSpec;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::client::ApiServer;
use super::client::KubernetesError;
use crate::model::health::Refusal;

/// The whole of one review. A client waits for two or three of them, within its own deadline.
const DEADLINE: Duration = Duration::from_secs(3);

/// The longest answer we take: a review comes back as we sent it, with a few names more.
const LONGEST: usize = 1 << 20;

/// Whom the API server takes a token for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct User {
    /// `system:serviceaccount:monitoring:prometheus`.
    pub name: String,
    /// Of this very account: a namesake made later has another.
    pub uid: Option<String>,
    /// `system:authenticated` and others.
    pub groups: Vec<String>,
    /// What the authenticator adds, such as the pod a token is bound to.
    pub extra: BTreeMap<String, Vec<String>>,
}

/// What a client wants to `get`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Right {
    /// A subresource of a node, `nodes/metrics`.
    Node {
        /// `metrics`, `stats` or `pods`.
        subresource: &'static str,
        /// Which node.
        name: String,
    },
    /// A non-resource URL: the path itself.
    Path(String),
}

/// Why there is no verdict.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct ReviewError {
    /// The kind of failure.
    pub refusal: Refusal,
    /// What was asked of whom, what came, and, where it helps, what to do.
    pub message: String,
}

/// A kind of review.
struct Kind {
    call: &'static str,
    path: &'static str,
    resource: &'static str,
}

const TOKENS: Kind = Kind {
    call: "review a token",
    path: "/apis/authentication.k8s.io/v1/tokenreviews",
    resource: "tokenreviews.authentication.k8s.io",
};
const RIGHTS: Kind = Kind {
    call: "review a right",
    path: "/apis/authorization.k8s.io/v1/subjectaccessreviews",
    resource: "subjectaccessreviews.authorization.k8s.io",
};

impl ApiServer {
    /// Who holds this token; `None`: nobody vouches for it.
    ///
    /// No audience is named: the token must be meant for the API server, as those are that a
    /// ServiceAccount has by default.
    ///
    /// # Errors
    /// The server has not decided.
    pub async fn authenticate(&self, token: &str) -> Result<Option<User>, ReviewError> {
        let spec = TokenReviewSpec { token: Some(token.to_owned()), ..Default::default() };
        let review = TokenReview { spec, ..Default::default() };
        self.review(&TOKENS, &review).await.map(vouched_for)
    }

    /// Whether `user` has that right.
    ///
    /// # Errors
    /// The server has not decided.
    pub async fn authorize(&self, user: &User, right: &Right) -> Result<bool, ReviewError> {
        let review = SubjectAccessReview { spec: access(user, right), ..Default::default() };
        self.review(&RIGHTS, &review).await.map(|review| is_granted(&review))
    }

    /// Creates one review, which the server answers with the same, filled in.
    async fn review<T: Serialize + DeserializeOwned>(
        &self,
        kind: &Kind,
        review: &T,
    ) -> Result<T, ReviewError> {
        let late = |_| ReviewError {
            refusal: Refusal::Timeout,
            message: format!("{}: {}: no answer within {} s", self.url(), kind.call, DEADLINE.as_secs()),
        };
        tokio::time::timeout(DEADLINE, self.review_patiently(kind, review)).await.map_err(late)?
    }

    async fn review_patiently<T>(&self, kind: &Kind, review: &T) -> Result<T, ReviewError>
    where
        T: Serialize + DeserializeOwned,
    {
        match self.review_once(kind, review).await {
            // Our own token may have been replaced just now.
            Err(error) if error.refusal == Refusal::Unauthorized => {
                self.renew().await;
                self.review_once(kind, review).await
            }
            outcome => outcome,
        }
    }

    async fn review_once<T>(&self, kind: &Kind, review: &T) -> Result<T, ReviewError>
    where
        T: Serialize + DeserializeOwned,
    {
        let malformed = |detail: &dyn std::fmt::Display| ReviewError {
            refusal: Refusal::Malformed,
            message: format!("{}: {}: {detail}", self.url(), kind.call),
        };
        let body = serde_json::to_vec(review).map_err(|error| malformed(&error))?;
        let request = Request::post(kind.path).header(CONTENT_TYPE, "application/json").body(body);
        let request = request.map_err(|error| malformed(&error))?;
        let answer = self.send(kind.call, request, DEADLINE).await.map_err(|error| refused(kind, &error))?;
        let body =
            Limited::new(answer.into_body(), LONGEST).collect().await.map_err(|error| malformed(&error))?;
        serde_json::from_slice(&body.to_bytes()).map_err(|error| malformed(&error))
    }
}

/// Whom an answer names as the holder of the token.
pub(super) fn vouched_for(review: TokenReview) -> Option<User> {
    let status = review.status.unwrap_or_default();
    let user = status.user.filter(|_| status.authenticated == Some(true)).map(User::from);
    // A user without a name would be asked for as if it were nobody in particular.
    user.filter(|user| !user.name.is_empty())
}

/// Whether an answer grants the right.
pub(super) fn is_granted(review: &SubjectAccessReview) -> bool {
    review.status.as_ref().is_some_and(|status| status.allowed && status.denied != Some(true))
}

/// Everybody with an account is in it.
pub(super) const EVERYBODY: &str = "system:authenticated";

/// All that is known of the user goes along: an authorizer may look at any of it. But for a path the group
/// of everybody stays behind: Kubernetes binds it to `system:discovery`, which may `get` `/api/*` and
/// `/version` of the API server, and to whom these are granted our pods are not. What is bound to the user,
/// or to any other group, counts.
pub(super) fn access(user: &User, right: &Right) -> SubjectAccessReviewSpec {
    let is_path = matches!(right, Right::Path(_));
    let groups = user.groups.iter().filter(|group| !(is_path && *group == EVERYBODY));
    let verb = Some("get".to_owned());
    let (resource_attributes, non_resource_attributes) = match right {
        Right::Node { subresource, name } => {
            let resource = ResourceAttributes {
                verb,
                version: Some("v1".to_owned()),
                resource: Some("nodes".to_owned()),
                subresource: Some((*subresource).to_owned()),
                name: Some(name.clone()),
                ..Default::default()
            };
            (Some(resource), None)
        }
        Right::Path(path) => (None, Some(NonResourceAttributes { path: Some(path.clone()), verb })),
    };
    SubjectAccessReviewSpec {
        user: Some(user.name.clone()),
        uid: user.uid.clone(),
        groups: Some(groups.cloned().collect()),
        extra: Some(user.extra.clone()),
        resource_attributes,
        non_resource_attributes,
    }
}

impl From<UserInfo> for User {
    fn from(info: UserInfo) -> Self {
        Self {
            name: info.username.unwrap_or_default(),
            uid: info.uid.filter(|uid| !uid.is_empty()),
            groups: info.groups.unwrap_or_default(),
            extra: info.extra.unwrap_or_default(),
        }
    }
}

/// Says which right is missing, if that is what is missing.
fn refused(kind: &Kind, error: &KubernetesError) -> ReviewError {
    let cure = match error.refusal() {
        Refusal::Forbidden => format!(
            "; podvitals's ServiceAccount needs the right to create {}: bind it to ClusterRole system:auth-delegator",
            kind.resource
        ),
        _ => String::new(),
    };
    ReviewError { refusal: error.refusal(), message: format!("{error}{cure}") }
}
