//! Families of series, written as Prometheus and its relatives read them.
//!
//! ```text
//! # HELP container_memory_cache Page cache.
//! # TYPE container_memory_cache gauge
//! container_memory_cache{container="web",id="/kubepods/pod0a1b/dddd",pod="web-5d4"} 94371840
//! ```
//!
//! Three forms of the same: text 0.0.4, OpenMetrics 1.0 and length-delimited protobuf. A reader says which in
//! `Accept`.
//!
//! # Why not a library
//! A node with a thousand containers has a hundred thousand series, each some 300 bytes of labels that hardly
//! differ from family to family. Here the labels of each thing are escaped once ([`labels`]), and a series
//! costs a few copies and no allocation.
//!
//! <https://prometheus.io/docs/instrumenting/exposition_formats/>
//! <https://prometheus.io/docs/specs/om/open_metrics_spec/>

mod accept;
mod labels;
mod number;
mod protobuf;
#[cfg(test)]
#[path = "../../../tests/http/exposition.rs"]
#[allow(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    reason = "of doubles that are compared"
)]
#[allow(dead_code, clippy::panic, reason = "shared with the tests of the routes")]
mod reader;
#[cfg(test)]
mod tests;
mod text;

use std::time::Duration;

pub(super) use self::accept::Form;
pub(super) use self::labels::{Extended, Extra, Labels, Place, Shelf};
pub(super) use self::protobuf::ProtobufWriter;
pub(super) use self::text::{TextWriter, label};
use super::time::nanoseconds;
use crate::model::time::WallTime;

/// What a family counts or measures.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Only grows, until it starts anew.
    Counter,
    /// Goes up and down.
    Gauge,
    /// Always 1: its labels are what it tells.
    Info,
}

/// Series of one name.
#[derive(Clone, Copy, Debug)]
pub(super) struct Family {
    /// Of its samples, `_total` included.
    pub(super) name: &'static str,
    /// One sentence.
    pub(super) help: &'static str,
    /// What it is.
    pub(super) kind: Kind,
}

impl Family {
    /// Of this name, meaning and kind.
    pub(super) const fn new(kind: Kind, name: &'static str, help: &'static str) -> Self {
        Self { name, help, kind }
    }

    /// Whether its samples may say when they began: OpenMetrics names that after a name with `_total`.
    fn has_beginning(&self) -> bool {
        self.kind == Kind::Counter && self.name.ends_with("_total")
    }

    /// The base unit the name ends with, if it does.
    pub(super) fn unit(&self) -> Option<&'static str> {
        let stem = self.name.strip_suffix("_total").unwrap_or(self.name);
        ["seconds", "bytes", "cores"]
            .into_iter()
            .find(|unit| stem.strip_suffix(unit).is_some_and(|rest| rest.ends_with('_')))
    }
}

/// One number.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Value {
    /// In full, whatever its size; protobuf knows doubles only.
    Integer(u64),
    /// Shown in seconds, exactly.
    Nanoseconds(u64),
    /// The shortest digits that read back as the same number.
    Float(f64),
}

impl Value {
    /// Seconds since 1970.
    pub(super) const fn instant(at: WallTime) -> Self {
        Self::Nanoseconds(at.as_unix_nanos())
    }

    /// Seconds, of which there are never as many as the five centuries that this can hold.
    pub(super) fn seconds(time: Duration) -> Self {
        Self::Nanoseconds(nanoseconds(time))
    }

    /// As protobuf carries it.
    #[expect(clippy::cast_precision_loss, reason = "the format has nothing but doubles")]
    pub(super) fn as_f64(&self) -> f64 {
        match self {
            Self::Integer(value) => *value as f64,
            Self::Nanoseconds(value) => Duration::from_nanos(*value).as_secs_f64(),
            Self::Float(value) => *value,
        }
    }
}

/// One number and its times.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Sample {
    /// The number.
    pub(super) value: Value,
    /// When it was read; `None` leaves it to the reader's own clock.
    pub(super) at: Option<WallTime>,
    /// When this counter began.
    pub(super) created: Option<WallTime>,
}

/// Writes families one after the other. One without samples is left out.
pub(super) trait Writer: Sized {
    /// How labels are to be prepared for such a writer, of about so many things.
    fn shelf(things: usize) -> Shelf;

    /// The samples that follow are of this family.
    fn family(&mut self, family: &Family);

    /// One more sample of the family, of the thing with these labels.
    fn sample(&mut self, labels: Labels<'_>, sample: Sample);

    /// What was written; `last` if nothing follows in the document.
    fn finish(self, last: bool) -> Vec<u8>;
}
