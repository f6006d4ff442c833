//! The native documents: pure functions from a snapshot to the nouns of [`crate::model::document`].
//!
//! What is absent in the snapshot is absent in the document; [`Reasons`] carries the word for it
//! under the dotted path of the absent key.

pub(super) mod cgroup;
pub(super) mod map;
pub(super) mod network;
pub(super) mod node;
pub(super) mod past;
pub(super) mod pods;
pub(super) mod window;

use std::ops::Range;

use crate::model::document::Reasons;
use crate::model::sweep::{Reading, Stamped};
use crate::model::unavailable::Unavailable;

/// A finite number, or nothing: JSON knows neither NaN nor infinity.
pub(super) fn finite(value: f64) -> Option<f64> {
    value.is_finite().then_some(value)
}

/// Notes each of `paths` as absent for `why`.
fn absent(reasons: &mut Reasons, paths: &[&str], why: Unavailable) {
    for path in paths {
        reasons.insert((*path).to_owned(), why);
    }
}

/// The figure, or its reason under `path`.
fn figure<'a, T>(reading: &'a Reading<T>, path: &str, reasons: &mut Reasons) -> Option<&'a Stamped<T>> {
    match reading {
        Ok(stamped) => Some(stamped),
        Err(why) => {
            absent(reasons, &[path], *why);
            None
        }
    }
}

/// The rows that `range` names; none if it is out of bounds.
pub(super) fn rows<'a, T>(all: &'a [T], range: &Range<u32>) -> std::slice::Iter<'a, T> {
    let index = |at: u32| usize::try_from(at).unwrap_or(usize::MAX);
    all.get(index(range.start)..index(range.end)).unwrap_or_default().iter()
}
