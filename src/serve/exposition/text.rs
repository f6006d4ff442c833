//! Text 0.0.4 and OpenMetrics 1.0, which differ in a few words.
//!
//! ```text
//! # TYPE podvitals_pod_network_receive_bytes_total counter      # TYPE podvitals_pod_network_receive_bytes counter
//!                                                               # UNIT podvitals_pod_network_receive_bytes bytes
//! podvitals_pod_network_receive_bytes_total{pod="web"} 7        podvitals_pod_network_receive_bytes_total{pod="web"} 7
//! podvitals_pod_network_receive_bytes_created{pod="web"} 1.5    podvitals_pod_network_receive_bytes_created{pod="web"} 1.5
//!                                                               # EOF
//! ```
//! In text 0.0.4 the `_created` are gauges of their own, after the counters.
//!
//! OpenMetrics allows a counter no other name than `…_total`. The few of cAdvisor's that have another keep it
//! and are of type `unknown` there: rules and dashboards know them by their names.

use super::labels::{Labels, Shelf};
use super::{Family, Kind, Sample, Value, Writer, number};
use crate::model::time::WallTime;

/// Writes either text.
#[derive(Debug)]
pub(in crate::serve) struct TextWriter {
    out: Vec<u8>,
    open: bool,
    family: Family,
    name: Name,
    /// Of the series that say when the counters of this family began.
    created_name: Name,
    head_written: bool,
    /// Text 0.0.4: the gauges that follow this family.
    created: Vec<u8>,
}

impl TextWriter {
    /// Writes OpenMetrics if `open`, else text 0.0.4, after what `out` has.
    pub(in crate::serve) fn new(open: bool, out: Vec<u8>) -> Self {
        let family = Family::new(Kind::Gauge, "", "");
        let (name, created_name) = (Name::default(), Name::default());
        Self { out, open, family, name, created_name, head_written: true, created: Vec::new() }
    }

    fn stem(&self) -> &'static str {
        self.family.name.strip_suffix("_total").unwrap_or(self.family.name)
    }

    fn head(&mut self) {
        self.head_written = true;
        let Family { name, help, kind } = self.family;
        let stem = self.stem();
        self.name = Name::of(name.to_owned());
        self.created_name = Name::of(format!("{stem}_created"));
        let (named, word) = match (self.open, kind) {
            (_, Kind::Gauge) | (false, Kind::Info) => (name, "gauge"),
            (false, Kind::Counter) => (name, "counter"),
            (true, Kind::Counter) if stem == name => (name, "unknown"),
            (true, Kind::Counter) => (stem, "counter"),
            (true, Kind::Info) => (name.strip_suffix("_info").unwrap_or(name), "info"),
        };
        let unit = self.family.unit().filter(|_| self.open);
        head(&mut self.out, named, help, word, unit);
    }

    #[inline(never)]
    fn write_time(&mut self, at: WallTime) {
        self.out.push(b' ');
        let milliseconds = at.as_unix_nanos() / 1_000_000;
        if self.open {
            number::milliseconds_as_seconds(&mut self.out, milliseconds);
        } else {
            number::integer(&mut self.out, milliseconds);
        }
    }

    #[inline(never)]
    fn write_created(&mut self, labels: Labels<'_>, created: WallTime) {
        if self.family.has_beginning() {
            let out = if self.open { &mut self.out } else { &mut self.created };
            self.created_name.put(out);
            out.extend_from_slice(labels.0);
            number::write(out, Value::instant(created));
            out.push(b'\n');
        }
    }

    fn close_family(&mut self) {
        if !self.created.is_empty() {
            head(
                &mut self.out,
                &self.created_name.text,
                "When the counter of this name began, since 1970.",
                "gauge",
                None,
            );
            self.out.append(&mut self.created);
        }
    }
}

fn head(out: &mut Vec<u8>, name: &str, help: &str, word: &str, unit: Option<&str>) {
    let mut line = |keyword: &str, text: &str| {
        for part in ["# ", keyword, " ", name, " ", text, "\n"] {
            out.extend_from_slice(part.as_bytes());
        }
    };
    line("HELP", help);
    line("TYPE", word);
    if let Some(unit) = unit {
        line("UNIT", unit);
    }
}

/// `name="value"`, with what would end the value escaped.
pub(in crate::serve) fn label(out: &mut Vec<u8>, name: &str, value: &str) {
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b"=\"");
    let mut rest = value.as_bytes();
    while let Some(at) = memchr::memchr3(b'"', b'\\', b'\n', rest) {
        out.extend_from_slice(&rest[..at]);
        out.extend_from_slice(match rest[at] {
            b'"' => b"\\\"",
            b'\\' => b"\\\\",
            _ => b"\\n",
        });
        rest = &rest[at + 1..];
    }
    out.extend_from_slice(rest);
    out.push(b'"');
}

/// The name of a series, on which nearly every line begins.
#[derive(Debug, Default)]
struct Name {
    text: String,
    /// The same, if it is short enough, as all here are.
    padded: Option<[u8; 64]>,
}

impl Name {
    fn of(text: String) -> Self {
        let mut padded = [0; 64];
        let short = padded.get_mut(..text.len()).map(|place| place.copy_from_slice(text.as_bytes()));
        Self { padded: short.map(|()| padded), text }
    }

    #[inline]
    fn put(&self, out: &mut Vec<u8>) {
        let Some(padded) = &self.padded else { return out.extend_from_slice(self.text.as_bytes()) };
        // A copy of fixed length needs no call; what is too much of it is cut off.
        let end = out.len() + self.text.len();
        out.extend_from_slice(padded);
        out.truncate(end);
    }
}

impl Writer for TextWriter {
    fn shelf(things: usize) -> Shelf {
        Shelf::text(things)
    }

    fn family(&mut self, family: &Family) {
        self.close_family();
        self.family = *family;
        self.head_written = false;
    }

    #[inline]
    fn sample(&mut self, labels: Labels<'_>, sample: Sample) {
        if !self.head_written {
            self.head();
        }
        let Sample { value, at, created } = sample;
        self.name.put(&mut self.out);
        self.out.extend_from_slice(labels.0);
        number::write(&mut self.out, value);
        if let Some(at) = at {
            self.write_time(at);
        }
        self.out.push(b'\n');
        if let Some(created) = created {
            self.write_created(labels, created);
        }
    }

    fn finish(mut self, last: bool) -> Vec<u8> {
        self.close_family();
        if self.open && last {
            self.out.extend_from_slice(b"# EOF\n");
        }
        self.out
    }
}
