//! `/metrics/cadvisor` and `/metrics/pods`: a snapshot as families of series.
//!
//! A table says which families there are and, of each, which number of a row stands in it. Rows are pods,
//! containers and the node; their labels are made ready once. What is absent in the snapshot is absent here.

pub(super) mod cadvisor;
mod cadvisor_node;
mod cadvisor_table;
mod halves;
pub(super) mod pods;
mod pods_table;
mod row;
mod unavailable;

use std::collections::BTreeMap;

use self::row::{Of, Row};
use super::exposition::{
    Extra, Family, Form, Kind, Labels, Place, ProtobufWriter, Sample, Shelf, TextWriter, Value, Writer,
};
use super::sheets::Sheets;
use crate::model::counters::DeviceNumber;
use crate::model::snapshot::Snapshot;
use crate::model::time::{Monotonic, WallTime};

/// A document that can be written in each form.
trait Document {
    /// How long it most likely is.
    fn length(&self) -> usize;

    /// All of it, by a writer, or two, on sheets.
    fn write<W: Writer>(&self, writer: impl Fn(Vec<u8>) -> W + Sync, sheets: Sheets) -> Sheets;
}

/// Writes it on `sheets`, or what there is of those.
fn render(document: &impl Document, form: Form, sheets: Sheets) -> Sheets {
    let length = document.length();
    // Memory that is not written to costs nothing.
    let on = |mut sheet: Vec<u8>| {
        if sheet.capacity() == 0 {
            sheet.reserve(length);
        }
        sheet
    };
    match form {
        Form::Text => document.write(|sheet| TextWriter::new(false, on(sheet)), sheets),
        Form::OpenMetrics => document.write(|sheet| TextWriter::new(true, on(sheet)), sheets),
        Form::Protobuf => document.write(|sheet| ProtobufWriter::new(on(sheet)), sheets),
    }
}

/// One number of a row.
struct Read {
    value: Value,
    at: Option<Monotonic>,
    created: Option<WallTime>,
}

impl Read {
    /// A number that belongs to no read of the kernel.
    fn plain(value: Value) -> Self {
        Self { value, at: None, created: None }
    }
}

/// A family and its numbers.
struct Series {
    family: Family,
    parts: &'static [Part],
}

/// One of the numbers that a row has in a family.
struct Part {
    extra: &'static [Extra<'static>],
    /// Only in the full profile.
    full: bool,
    of: Of,
}

impl Part {
    /// In series: one that says when it began is two, and labels that are put together cost as much as one.
    fn cost(&self) -> usize {
        1 + usize::from(self.of.has_beginning()) + usize::from(!self.extra.is_empty())
    }
}

const fn series(kind: Kind, name: &'static str, help: &'static str, parts: &'static [Part]) -> Series {
    Series { family: Family::new(kind, name, help), parts }
}

const fn lean(of: Of) -> Part {
    Part { extra: &[], full: false, of }
}

const fn full(of: Of) -> Part {
    Part { extra: &[], full: true, of }
}

/// Writes samples with or without their times.
struct Scribe<'a, W> {
    writer: W,
    snapshot: &'a Snapshot,
    timestamps: bool,
    full: bool,
    /// Numbers of the families that are being written.
    numbers: Vec<Option<Value>>,
}

impl<'a, W: Writer> Scribe<'a, W> {
    /// Everything there is, without times.
    fn new(writer: W, snapshot: &'a Snapshot) -> Self {
        Self { writer, snapshot, timestamps: false, full: true, numbers: Vec::new() }
    }

    fn finish(self, last: bool) -> Vec<u8> {
        self.writer.finish(last)
    }
}

/// Rows, each with the place of its labels.
type Rows<'a> = Vec<(Place, Row<'a>)>;

type Section<'a, W> = halves::Section<'a, Scribe<'a, W>>;

/// Numbers of a row that are fetched together, of one family or of several. The figures of many rows do not fit into
/// a processor's cache beside their labels: they are walked through once for so many numbers, not once for each.
/// More would make columns that do not fit either, and halves that are less alike.
const TOGETHER: usize = 8;

/// Rows of which one number after the other is fetched, while their figures are at hand.
const ROWS: usize = 16;

/// The numbers of families, a column for each of their parts.
fn fetch<'t, T>(
    parts: impl Iterator<Item = &'t Part> + Clone,
    rows: &[(T, Row<'_>)],
    numbers: &mut Vec<Option<Value>>,
) {
    numbers.clear();
    numbers.resize(parts.clone().count() * rows.len(), None);
    for start in (0..rows.len()).step_by(ROWS) {
        let some = &rows[start..rows.len().min(start + ROWS)];
        for (part, column) in parts.clone().zip(numbers.chunks_mut(rows.len())) {
            part.of.fetch(some, &mut column[start..]);
        }
    }
}

/// Families one after the other that have so many parts, but at least one.
fn runs(mut table: &'static [Series]) -> impl Iterator<Item = &'static [Series]> {
    std::iter::from_fn(move || {
        let mut parts = 0;
        let fits = |series: &&Series| {
            parts += series.parts.len();
            parts <= TOGETHER
        };
        let families = table.iter().take_while(fits).count().max(1);
        let (run, rest) = table.split_at_checked(families)?;
        table = rest;
        Some(run)
    })
}

/// The families of a table, of all rows, as sections.
fn sections<'a, W: Writer>(
    table: &'static [Series],
    shelf: &'a Shelf,
    rows: &'a [(Place, Row<'a>)],
) -> impl Iterator<Item = Section<'a, W>> {
    runs(table).map(move |table| {
        let cost: usize = table.iter().flat_map(|series| series.parts).map(Part::cost).sum();
        Section::new(cost * rows.len(), move |scribe| scribe.series(table, shelf, rows))
    })
}

impl<W: Writer> Scribe<'_, W> {
    fn series(&mut self, table: &'static [Series], shelf: &Shelf, rows: &[(Place, Row<'_>)]) {
        if rows.is_empty() {
            return;
        }
        let (everything, mut labels) = (self.full, Vec::new());
        let parts = |of: &'static Series| of.parts.iter().filter(move |part| everything || !part.full);
        let mut numbers = std::mem::take(&mut self.numbers);
        fetch(table.iter().flat_map(parts), rows, &mut numbers);
        let mut columns = numbers.chunks(rows.len());
        for series in table {
            self.writer.family(&series.family);
            let columns: Vec<_> = parts(series).zip(&mut columns).collect();
            for (index, (place, row)) in rows.iter().enumerate() {
                for (part, column) in &columns {
                    if let Some(value) = column[index] {
                        let at = if self.timestamps { part.of.at(row) } else { None };
                        let read = Read { value, at, created: part.of.created(row) };
                        self.sample(shelf.with(*place, part.extra, &mut labels), read);
                    }
                }
            }
        }
        self.numbers = numbers;
    }

    #[inline]
    fn sample(&mut self, labels: Labels<'_>, read: Read) {
        let Read { value, at, created } = read;
        let at = at.filter(|_| self.timestamps).map(|at| self.snapshot.clock.wall_of(at));
        self.writer.sample(labels, Sample { value, at, created });
    }
}

/// `/dev/<name>` of each disk that has a name: the kernel writes `!` for a `/` within one.
pub(super) fn device_paths(snapshot: &Snapshot) -> BTreeMap<DeviceNumber, String> {
    let path = |name: &str| format!("/dev/{}", name.replace('!', "/"));
    snapshot.device_names.0.iter().map(|(number, name)| (*number, path(name))).collect()
}

/// A number, if it is one: limits and requests come from files and quantities of others.
fn finite(value: f64) -> Option<Value> {
    value.is_finite().then_some(Value::Float(value))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_are_all_families_in_order_none_with_too_many_parts() {
        for table in [cadvisor_table::PER_CGROUP, pods_table::OF_PODS] {
            let all: Vec<_> = runs(table).collect();
            let names = all.iter().flat_map(|run| run.iter()).map(|series| series.family.name);
            assert!(names.eq(table.iter().map(|series| series.family.name)));
            for run in &all {
                let parts: usize = run.iter().map(|series| series.parts.len()).sum();
                assert!(parts <= TOGETHER || run.len() == 1, "{parts} of {} families", run.len());
            }
            assert!(all.len() > 1 && all.len() < table.len(), "{} runs", all.len());
        }
    }
}
