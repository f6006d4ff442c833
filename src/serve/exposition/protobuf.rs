//! Length-delimited `io.prometheus.client.MetricFamily`.
//!
//! ```text
//! message MetricFamily { string name = 1; string help = 2; MetricType type = 3; repeated Metric metric = 4; string unit = 5; }
//! message Metric       { repeated LabelPair label = 1; Gauge gauge = 2; Counter counter = 3; int64 timestamp_ms = 6; }
//! message LabelPair    { string name = 1; string value = 2; }
//! message Gauge        { double value = 1; }
//! message Counter      { double value = 1; google.protobuf.Timestamp created_timestamp = 3; }
//! ```
//! <https://github.com/prometheus/client_model/blob/master/io/prometheus/client/metrics.proto>

use super::labels::{Labels, Shelf};
use super::{Family, Kind, Sample, Writer};

const BYTES: u8 = 2;
const VARINT: u8 = 0;
const DOUBLE: u8 = 1;

/// The length of a family, which is known at its end, has this room at its beginning: a varint may have more
/// bytes than it needs, and with a copy of each family a document would take half as long again.
const LENGTH: usize = 5;

/// Writes protobuf.
#[derive(Debug)]
pub(in crate::serve) struct ProtobufWriter {
    out: Vec<u8>,
    family: Family,
    /// Where what follows the family's length begins, once it has a sample.
    start: Option<usize>,
    /// The value of one metric, and its times.
    one: Vec<u8>,
}

impl ProtobufWriter {
    /// Writes after what `out` has.
    pub(in crate::serve) fn new(out: Vec<u8>) -> Self {
        Self { out, family: Family::new(Kind::Gauge, "", ""), start: None, one: Vec::new() }
    }

    fn open_family(&mut self) {
        let Family { name, help, kind } = self.family;
        let out = &mut self.out;
        out.extend_from_slice(&[0; LENGTH]);
        self.start = Some(out.len());
        string(out, 1, name);
        string(out, 2, help);
        tag(out, 3, VARINT);
        varint(out, u64::from(kind != Kind::Counter));
    }

    fn close_family(&mut self) {
        let Some(start) = self.start.take() else { return };
        if let Some(word) = self.family.unit() {
            string(&mut self.out, 5, word);
        }
        let mut length = u64::try_from(self.out.len() - start).unwrap_or(u64::MAX);
        for byte in &mut self.out[start - LENGTH..start] {
            *byte = (length & 0x7f) as u8 | 0x80;
            length >>= 7;
        }
        self.out[start - 1] &= 0x7f;
    }
}

fn varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push((value & 0x7f) as u8 | 0x80);
        value >>= 7;
    }
    out.push((value & 0x7f) as u8);
}

fn length(out: &mut Vec<u8>, value: usize) {
    varint(out, u64::try_from(value).unwrap_or(u64::MAX));
}

fn tag(out: &mut Vec<u8>, field: u8, wire_type: u8) {
    out.push(field << 3 | wire_type);
}

fn bytes(out: &mut Vec<u8>, field: u8, value: &[u8]) {
    tag(out, field, BYTES);
    length(out, value.len());
    out.extend_from_slice(value);
}

fn string(out: &mut Vec<u8>, field: u8, value: &str) {
    bytes(out, field, value.as_bytes());
}

fn varint_length(value: usize) -> usize {
    let bits = usize::BITS - value.leading_zeros();
    bits.max(1).div_ceil(7) as usize
}

/// One `LabelPair` of a `Metric`.
pub(super) fn label(out: &mut Vec<u8>, name: &str, value: &str) {
    let of = |text: &str| 1 + varint_length(text.len()) + text.len();
    tag(out, 1, BYTES);
    length(out, of(name) + of(value));
    string(out, 1, name);
    string(out, 2, value);
}

/// The `Gauge` or `Counter` of a `Metric`, and its time.
fn number(out: &mut Vec<u8>, family: &Family, sample: Sample) {
    let mut created = Vec::new();
    if let Some(at) = sample.created.filter(|_| family.has_beginning()) {
        let nanos = at.as_unix_nanos();
        tag(&mut created, 1, VARINT);
        varint(&mut created, nanos / 1_000_000_000);
        tag(&mut created, 2, VARINT);
        varint(&mut created, nanos % 1_000_000_000);
    }
    let more = if created.is_empty() { 0 } else { 2 + created.len() };
    tag(out, if family.kind == Kind::Counter { 3 } else { 2 }, BYTES);
    length(out, 9 + more);
    tag(out, 1, DOUBLE);
    out.extend_from_slice(&sample.value.as_f64().to_le_bytes());
    if !created.is_empty() {
        bytes(out, 3, &created);
    }
    if let Some(at) = sample.at {
        tag(out, 6, VARINT);
        varint(out, at.as_unix_nanos() / 1_000_000);
    }
}

impl Writer for ProtobufWriter {
    fn shelf(things: usize) -> Shelf {
        Shelf::protobuf(things)
    }

    fn family(&mut self, family: &Family) {
        self.close_family();
        self.family = *family;
    }

    #[inline]
    fn sample(&mut self, labels: Labels<'_>, sample: Sample) {
        if self.start.is_none() {
            self.open_family();
        }
        let Self { out, one, family, .. } = self;
        one.clear();
        number(one, family, sample);
        tag(out, 4, BYTES);
        length(out, labels.0.len() + one.len());
        out.extend_from_slice(labels.0);
        out.extend_from_slice(one);
    }

    fn finish(mut self, _: bool) -> Vec<u8> {
        self.close_family();
        self.out
    }
}
