//! Where documents come from: a podvitals that serves, or the stages started in this very process.
//! The paths, the queries and the answers are the same.

use bytes::Bytes;
use serde::de::DeserializeOwned;

use crate::config::Config;
use crate::model::document::Problem;
use crate::pipeline::Local;

use super::CommandError;
use super::server::Server;

/// Where documents come from.
pub enum Origin {
    /// A podvitals that serves.
    Server(Server),
    /// This host itself: no daemon needed.
    Direct(Local),
}

impl Origin {
    /// Starts the stages in this process and waits for their second sweep.
    ///
    /// # Errors
    /// They do not start.
    pub async fn direct(config: Config) -> Result<Self, CommandError> {
        Ok(Self::Direct(Local::start(config).await?))
    }

    /// The body of `GET path`.
    ///
    /// # Errors
    /// There is no answer, or it is a refusal; what the refusal says is in the error.
    pub(super) async fn fetch(&self, path: &str) -> Result<Bytes, CommandError> {
        let (status, body) = match self {
            Self::Server(server) => server.fetch(path).await?,
            Self::Direct(local) => {
                let answer = local.answer(path).await;
                (answer.status, answer.body)
            }
        };
        if status == 200 { Ok(body) } else { Err(refusal(path, status, &body)) }
    }

    /// The document behind `path`.
    ///
    /// # Errors
    /// As [`Self::fetch`], or the answer is not such a document.
    pub(super) async fn document<T: DeserializeOwned>(&self, path: &str) -> Result<T, CommandError> {
        parse(path, &self.fetch(path).await?)
    }
}

/// Reads the document that `path` answered.
pub(super) fn parse<T: DeserializeOwned>(path: &str, body: &[u8]) -> Result<T, CommandError> {
    serde_json::from_slice(body).map_err(|source| CommandError::Malformed { path: path.to_owned(), source })
}

/// What a server that speaks RFC 9457 says of its no; of any other, the status.
fn refusal(path: &str, status: u16, body: &[u8]) -> CommandError {
    let path = path.split('?').next().unwrap_or(path).to_owned();
    let detail = match serde_json::from_slice::<Problem>(body) {
        Ok(problem) if problem.detail.is_empty() => problem.title,
        Ok(problem) => problem.detail,
        Err(_) => "no reason given; is this a podvitals?".to_owned(),
    };
    CommandError::Refused { path, status, detail }
}

/// `text` as a value of a query: RFC 3986 leaves the unreserved characters as they are.
pub(super) fn encoded(text: &str) -> String {
    let mut value = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                value.push(char::from(byte))
            }
            _ => value.push_str(&format!("%{byte:02X}")),
        }
    }
    value
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_carries_what_the_server_said() {
        let body =
            br#"{"type":"about:blank","title":"Not Found","status":404,"detail":"no pod default/web"}"#;
        let error = refusal("/api/v1/pods?sort=x", 404, body);
        assert_eq!(error.to_string(), "/api/v1/pods: 404: no pod default/web");
    }

    #[test]
    fn a_refusal_from_somebody_else_says_that_it_is_odd() {
        let error = refusal("/api/v1/pods", 502, b"<html>");
        assert_eq!(error.to_string(), "/api/v1/pods: 502: no reason given; is this a podvitals?");
    }

    #[test]
    fn what_is_reserved_in_a_query_is_encoded() {
        assert_eq!(encoded("app in (web,db)"), "app%20in%20%28web%2Cdb%29");
        assert_eq!(encoded("a=b&c"), "a%3Db%26c");
        assert_eq!(encoded("ä"), "%C3%A4");
    }
}
