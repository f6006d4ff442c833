//! The token of a request, before anybody is asked about it (pure).
//!
//! <https://www.rfc-editor.org/rfc/rfc6750#section-2.1>
//! ```text
//! Authorization: Bearer eyJhbGciOiJSUzI1NiIsImtpZCI6…
//! ```

use hyper::header::{AUTHORIZATION, HeaderMap};

/// Tokens of ServiceAccounts have about 1 KiB, those of people with many groups a few.
const LONGEST: usize = 6 * 1024;

/// The token; `None` if there is none, or credentials of another kind.
///
/// # Errors
/// What cannot be a token, and why.
pub(in crate::serve) fn token(headers: &HeaderMap) -> Result<Option<&str>, &'static str> {
    let mut lines = headers.get_all(AUTHORIZATION).iter();
    let Some(line) = lines.next() else { return Ok(None) };
    if lines.next().is_some() {
        return Err("several Authorization headers: which one counts?");
    }
    if line.len() > LONGEST {
        return Err("Authorization is longer than 6 KiB: no token is");
    }
    let line = line.to_str().map_err(|_| "Authorization holds other bytes than visible ASCII")?;
    let (scheme, token) = line.split_once(' ').unwrap_or((line, ""));
    if !scheme.eq_ignore_ascii_case("bearer") {
        return Ok(None);
    }
    let token = token.trim_matches(' ');
    if token.is_empty() || !token.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err("Authorization: Bearer wants one token without spaces");
    }
    Ok(Some(token))
}

#[cfg(test)]
mod tests {
    use super::*;
    use hyper::header::HeaderValue;

    fn of(lines: &[&[u8]]) -> Result<Option<String>, &'static str> {
        let line = |line: &&[u8]| (AUTHORIZATION, HeaderValue::from_bytes(line).unwrap());
        token(&lines.iter().map(line).collect()).map(|token| token.map(str::to_owned))
    }

    #[test]
    fn a_token_is_taken_as_it_is() {
        assert_eq!(of(&[b"Bearer eyJ.eyI.x-_~+/=="]), Ok(Some("eyJ.eyI.x-_~+/==".to_owned())));
        assert_eq!(of(&[b"bEARER   a "]), Ok(Some("a".to_owned())));
    }

    #[test]
    fn other_credentials_are_none() {
        assert_eq!(of(&[]), Ok(None));
        for other in [&b"Basic dXNlcjpwYXNz"[..], b"Bearerx y", b"", b"Negotiate"] {
            assert_eq!(of(&[other]), Ok(None));
        }
    }

    #[test]
    fn what_cannot_be_a_token_is_refused_unseen() {
        let long = [b"Bearer ".as_slice(), &[b'a'; LONGEST]].concat();
        for bad in [&b"Bearer"[..], b"Bearer ", b"Bearer a b", b"Bearer a\tb", b"Bearer \xff", &long] {
            assert!(of(&[bad]).is_err(), "{}", String::from_utf8_lossy(bad));
        }
        assert!(of(&[b"Bearer a", b"Bearer a"]).is_err());
        assert!(of(&[b"Bearer a", b"Basic b"]).is_err());
    }
}
