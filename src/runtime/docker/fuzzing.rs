//! What the Docker Engine answers, under any bytes: whatever the sieve lets through bollard reads, and every
//! container of a list is a sandbox, a container of a pod, refused, or nobody's.

use bollard::models::ContainerInspectResponse;
use bollard::models::ContainerSummary;
use bollard::models::SystemVersion;
use serde::de::DeserializeOwned;

use super::super::fuzzing::assemble;
use super::rows;
use super::sieve::MOST_ROWS;
use super::sieve::Question;
use super::sieve::Sieve;
use crate::model::identity::Source;

/// What is left of an answer that comes in pieces.
fn sift(question: Question, bytes: &[u8]) -> Option<Vec<u8>> {
    let mut sieve = Sieve::new(question);
    for piece in bytes.chunks(97) {
        sieve.pour(piece).ok()?;
    }
    sieve.finish().ok()
}

/// What is left of an answer, as bollard reads it.
fn sifted<T: DeserializeOwned>(question: Question, bytes: &[u8]) -> Option<T> {
    let kept = sift(question, bytes)?;
    assert!(kept.len() <= 2 * bytes.len() + 16, "{} bytes of {}", kept.len(), bytes.len());
    let again = sift(question, &kept);
    assert!(again.as_ref() == Some(&kept), "what was kept is kept: {}", String::from_utf8_lossy(&kept));
    let read = serde_json::from_slice::<T>(&kept);
    assert!(read.is_ok(), "{:?}: {}", read.err(), String::from_utf8_lossy(&kept));
    read.ok()
}

/// `/containers/json`.
pub fn docker_list(bytes: &[u8]) {
    let Some(list) = sifted::<Vec<ContainerSummary>>(Question::List, bytes) else { return };
    let length = list.len();
    assert!(length <= MOST_ROWS + 1);
    let is_nobodys = |row: &ContainerSummary| {
        row.id.is_some() && row.labels.as_ref().is_none_or(|labels| !labels.contains_key(super::TYPE))
    };
    let nobodys = list.iter().filter(|row| is_nobodys(row)).count();
    let listed = rows::listed(list);
    assert_eq!(listed.sandboxes.len() + listed.containers.len() + listed.refused + nobodys, length);
    assemble(Source::Docker, listed.sandboxes, listed.containers);
}

/// `/containers/{id}/json` and `/version`.
pub fn docker_inspect(bytes: &[u8]) {
    if let Some(container) = sifted::<ContainerInspectResponse>(Question::Inspect, bytes) {
        assert_ne!(rows::sandbox_detail(&container).pid, Some(0));
        let detail = rows::container_detail(&container);
        assert!(detail.started_at.is_none_or(|at| at.as_unix_nanos() > 0));
        assert!(detail.image.is_none_or(|image| !image.is_empty() && image.len() <= 1024));
    }
    let _ = sifted::<SystemVersion>(Question::Version, bytes);
}
