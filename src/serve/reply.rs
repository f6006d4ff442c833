//! Answers: problems, caching headers, and one body in two codings.

use std::io::Write;
use std::sync::OnceLock;

use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use hyper::header::{
    ACCEPT_ENCODING, ALLOW, CACHE_CONTROL, CONNECTION, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE,
    HeaderMap, HeaderValue, RETRY_AFTER, VARY, WWW_AUTHENTICATE, X_CONTENT_TYPE_OPTIONS,
};
use hyper::{Response, StatusCode};

use super::dialect::Dialect;
use super::sheets::Pieces;
use crate::model::time::Monotonic;

/// One answer, complete but for a [`Rest`].
pub(super) type Reply = Response<Bytes>;

/// What follows the body of an answer, beside it: what serves the connection sends both, and the head counts both.
#[derive(Clone, Debug)]
pub(super) struct Rest(pub(super) Bytes);

pub(super) const JSON: &str = "application/json";
pub(super) const TEXT: &str = "text/plain; charset=utf-8";
/// Prometheus's text format, as the kubelet announces it.
pub(super) const PROMETHEUS: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Below this a gzip header costs more than it saves.
const WORTH_ZIPPING: usize = 512;

/// How long an answer may be kept. None may be shown again without asking us.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Keep {
    /// May be kept and shown again once we said that it still holds.
    Revalidate,
    /// Is worth nothing a moment later.
    Never,
}

impl Keep {
    fn header(self) -> HeaderValue {
        HeaderValue::from_static(match self {
            Self::Revalidate => "no-cache",
            Self::Never => "no-store",
        })
    }
}

/// A body, compressed at most once and only if someone asks for it.
#[derive(Debug)]
pub(super) struct Content {
    plain: Pieces,
    zipped: OnceLock<Option<Bytes>>,
    kind: &'static str,
    keep: Keep,
}

impl Content {
    /// `kind` is the media type.
    pub(super) fn new(plain: Bytes, kind: &'static str, keep: Keep) -> Self {
        Self::of(plain.into(), kind, keep)
    }

    /// The same in pieces.
    pub(super) fn of(plain: Pieces, kind: &'static str, keep: Keep) -> Self {
        Self { plain, zipped: OnceLock::new(), kind, keep }
    }

    /// Bytes as rendered.
    pub(super) fn len(&self) -> usize {
        self.plain.len()
    }

    /// The same, and those of the compressed form if there is one.
    pub(super) fn bytes(&self) -> usize {
        self.len() + self.zipped.get().and_then(Option::as_ref).map_or(0, Bytes::len)
    }

    /// Whether an answer still has any of them.
    pub(super) fn is_read(&self) -> bool {
        let Pieces { first, rest } = &self.plain;
        let zipped = self.zipped.get().and_then(Option::as_ref);
        [first, rest].into_iter().chain(zipped).any(|bytes| !bytes.is_empty() && !bytes.is_unique())
    }

    /// As rendered.
    pub(super) fn plain(&self) -> Bytes {
        self.plain.joined()
    }

    /// The same, when nobody else may want it any more.
    pub(super) fn into_plain(self) -> Pieces {
        self.plain
    }

    /// The whole as an answer, in the coding the client prefers.
    pub(super) fn reply(&self, asked: &HeaderMap) -> Reply {
        let worth_it = self.plain.len() >= WORTH_ZIPPING && prefers_gzip(asked);
        if let Some(zipped) = worth_it.then(|| self.zipped()).flatten() {
            let mut reply = bare(StatusCode::OK, zipped.clone(), self.kind, self.keep);
            reply.headers_mut().insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
            return reply;
        }
        let Pieces { first, rest } = self.plain.clone();
        let mut reply = bare(StatusCode::OK, first, self.kind, self.keep);
        if !rest.is_empty() {
            reply.headers_mut().insert(CONTENT_LENGTH, self.len().into());
            reply.extensions_mut().insert(Rest(rest));
        }
        reply
    }

    /// `None` should compression fail: then the bare bytes serve.
    fn zipped(&self) -> Option<&Bytes> {
        let zipped = self.zipped.get_or_init(|| {
            // Level 1: of a document that lives for one second, time matters more than its last tenth.
            let mut encoder = GzEncoder::new(Vec::with_capacity(self.plain.len() / 6), Compression::fast());
            let Pieces { first, rest } = &self.plain;
            let written = encoder.write_all(first).and_then(|()| encoder.write_all(rest));
            written.and_then(|()| encoder.finish()).ok().map(Bytes::from)
        });
        zipped.as_ref()
    }
}

/// A document that was rendered.
#[derive(Debug)]
pub(super) struct Rendered {
    /// Ready to be sent.
    pub(super) content: Content,
    /// When: ages in the document are as of this instant.
    pub(super) at: Monotonic,
}

/// An answer without body: the client has it already.
pub(super) fn not_modified(keep: Keep) -> Reply {
    let mut reply = bare(StatusCode::NOT_MODIFIED, Bytes::new(), TEXT, keep);
    reply.headers_mut().remove(CONTENT_TYPE);
    reply.headers_mut().remove(CONTENT_LENGTH);
    reply
}

/// A short answer that is never compressed.
pub(super) fn bare(status: StatusCode, body: Bytes, kind: &'static str, keep: Keep) -> Reply {
    let length = body.len();
    let mut reply = Response::new(body);
    *reply.status_mut() = status;
    let headers = reply.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    headers.insert(CONTENT_LENGTH, length.into());
    headers.insert(CACHE_CONTROL, keep.header());
    headers.insert(VARY, HeaderValue::from_static("Accept, Accept-Encoding"));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    reply
}

/// Why there is no document: worded as the format has it, on native routes as RFC 9457 does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Refusal {
    status: StatusCode,
    detail: String,
    retry_after: Option<u64>,
    close: bool,
    allow: &'static str,
}

impl Refusal {
    /// `detail` says what was wrong, where, and what to do.
    pub(super) fn new(status: StatusCode, detail: impl Into<String>) -> Self {
        Self { status, detail: detail.into(), retry_after: None, close: false, allow: "GET, HEAD" }
    }

    /// 400.
    pub(super) fn bad_request(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, detail)
    }

    /// 404.
    pub(super) fn not_found(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, detail)
    }

    /// 503 that will pass by itself.
    pub(super) fn unavailable(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, detail).retry_after(1)
    }

    /// Tells the client when to come back, in seconds.
    pub(super) fn retry_after(self, seconds: u64) -> Self {
        Self { retry_after: Some(seconds), ..self }
    }

    /// The methods that are served here, besides those that are everywhere.
    pub(super) fn allowing(self, allow: &'static str) -> Self {
        Self { allow, ..self }
    }

    /// The same with words before its own.
    pub(super) fn before(self, words: &str) -> Self {
        Self { detail: format!("{words}{}", self.detail), ..self }
    }

    /// Ends the connection after the answer: what the client sent after the head is not read.
    pub(super) fn and_close(self) -> Self {
        Self { close: true, ..self }
    }

    /// The problem document.
    pub(super) fn reply(self) -> Reply {
        self.reply_in(Dialect::Problem)
    }

    /// The same in the words that the clients of a format know.
    pub(super) fn reply_in(self, dialect: Dialect) -> Reply {
        let (status, kind, body) = dialect.worded(self.status, self.detail);
        let mut reply = bare(status, body, kind, Keep::Never);
        if let Some(seconds) = self.retry_after {
            reply.headers_mut().insert(RETRY_AFTER, seconds.into());
        }
        if self.close {
            reply.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
        }
        if status == StatusCode::UNAUTHORIZED {
            reply.headers_mut().insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        if status == StatusCode::METHOD_NOT_ALLOWED {
            reply.headers_mut().insert(ALLOW, HeaderValue::from_static(self.allow));
        }
        reply
    }
}

/// JSON with a final line feed, for people at a terminal.
pub(super) fn json<T: serde::Serialize>(document: &T) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(4096);
    // Documents are structs with string keys: there is nothing in them serde_json could refuse.
    if let Err(error) = serde_json::to_writer(&mut bytes, document) {
        tracing::error!(%error, "a document could not be written");
    }
    bytes.push(b'\n');
    bytes
}

/// What a client sent, cut to a length that is fit for an error message.
pub(super) fn quoted(text: &str) -> String {
    const LONGEST: usize = 80;
    match text.char_indices().nth(LONGEST) {
        Some((end, _)) => format!("{:?}…", &text[..end]),
        None => format!("{text:?}"),
    }
}

/// RFC 9110, 12.5.3: the client takes gzip, and does not like the bare bytes better.
pub(super) fn prefers_gzip(asked: &HeaderMap) -> bool {
    let mut gzip = None;
    let mut any = None;
    let mut identity = None;
    let lines = asked.get_all(ACCEPT_ENCODING).iter().filter_map(|line| line.to_str().ok());
    for coding in lines.flat_map(|line| line.split(',')) {
        let (name, weight) = weighted(coding);
        match name.to_ascii_lowercase().as_str() {
            "gzip" | "x-gzip" => gzip = Some(weight),
            "*" => any = Some(weight),
            "identity" => identity = Some(weight),
            _ => {}
        }
    }
    let gzip = gzip.or(any).unwrap_or(0.0);
    gzip > 0.0 && identity.is_none_or(|identity| gzip >= identity)
}

/// `gzip;q=0.5` is ("gzip", 0.5); without a weight 1; a weight that is none from 0 to 1 is 0, a refusal.
pub(super) fn weighted(item: &str) -> (&str, f32) {
    let mut parts = item.split(';').map(str::trim);
    let name = parts.next().unwrap_or_default();
    let weight = parts.find_map(|part| part.strip_prefix("q=").or_else(|| part.strip_prefix("Q=")));
    let weight = weight.map_or(Some(1.0), |weight| weight.parse().ok());
    let weight = weight.filter(|weight| (0.0..=1.0).contains(weight)).unwrap_or(0.0);
    (name, weight)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn takes_gzip(header: &'static str) -> bool {
        prefers_gzip(&HeaderMap::from_iter([(ACCEPT_ENCODING, HeaderValue::from_static(header))]))
    }

    #[test]
    fn gzip_is_sent_to_those_who_take_it_and_to_nobody_else() {
        assert!(takes_gzip("gzip"));
        assert!(takes_gzip("deflate, gzip;q=1.0, *;q=0.5"));
        assert!(takes_gzip("br;q=1, GZIP;q=0.3"));
        assert!(takes_gzip("*"));
        assert!(takes_gzip("identity;q=0.5, gzip;q=0.8"));
        assert!(!takes_gzip("identity;q=0.8, gzip;q=0.5"));
        assert!(!takes_gzip("gzip;q=0"));
        assert!(!takes_gzip("gzip;q=0, *"));
        assert!(!takes_gzip("br"));
        assert!(!takes_gzip(""));
        assert!(!takes_gzip("gzip;q=high"));
        assert!(!prefers_gzip(&HeaderMap::new()));
    }

    #[test]
    fn what_a_client_sent_is_cut_and_escaped() {
        assert_eq!(quoted("a\"b\n"), r#""a\"b\n""#);
        assert!(quoted(&"é".repeat(5000)).len() < 200);
    }
}
