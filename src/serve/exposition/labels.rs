//! Labels, made ready once a document: every family of a pod or a container copies the same bytes.
//!
//! ```text
//! {container="web",id="/kubepods/pod0a1b/dddd",pod="web-5d4"}␠
//! ```
//! A label that only some families have (`device`, `cpu`) goes to its place between two of them.

use std::ops::Range;

/// As many labels as anything on a shelf has; those of a few families are put to them ([`Shelf::with`]).
const MOST: usize = 6;

/// Bytes of most things' labels; memory that is not written to costs nothing.
const OF_A_THING: usize = 320;

/// A label besides those on the shelf.
pub(in crate::serve) type Extra<'a> = (&'a str, &'a str);

/// Things' labels, one after the other.
#[derive(Debug)]
pub(in crate::serve) struct Shelf {
    bytes: Vec<u8>,
    /// Where those of each thing are. A series reads no more than this: thousands of things should fit into
    /// a processor's cache.
    spans: Vec<Range<usize>>,
    /// The same things, label by label.
    things: Vec<Thing>,
    /// Lists of names, of which a document has a few.
    names: Vec<Vec<&'static str>>,
    protobuf: bool,
}

#[derive(Clone, Copy, Debug)]
struct Thing {
    /// Which of the lists.
    names: usize,
    /// Where each label ends.
    ends: [u32; MOST],
}

/// Which thing of a [`Shelf`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::serve) struct Place(usize);

/// The labels of one series, as its form has them before the value.
#[derive(Clone, Copy, Debug)]
pub(in crate::serve) struct Labels<'a>(pub(super) &'a [u8]);

impl Shelf {
    /// For text, with room for so many things.
    pub(super) fn text(things: usize) -> Self {
        Self {
            bytes: Vec::with_capacity(things * OF_A_THING),
            spans: Vec::with_capacity(things),
            things: Vec::with_capacity(things),
            names: Vec::new(),
            protobuf: false,
        }
    }

    /// For protobuf.
    pub(super) fn protobuf(things: usize) -> Self {
        Self { protobuf: true, ..Self::text(things) }
    }

    /// Puts up the labels of one more thing, in the order of their names; those past the sixth are lost.
    pub(in crate::serve) fn put(&mut self, labels: &[(&'static str, &str)]) -> Place {
        debug_assert!(labels.is_sorted_by(|a, b| a.0 < b.0) && labels.len() <= MOST, "{labels:?}");
        let labels = &labels[..labels.len().min(MOST)];
        let start = self.bytes.len();
        let mut ends = [0; MOST];
        for ((name, value), end) in labels.iter().zip(&mut ends) {
            label(&mut self.bytes, start, self.protobuf, name, value);
            *end = u32::try_from(self.bytes.len() - start).unwrap_or(u32::MAX);
        }
        close(&mut self.bytes, start, self.protobuf);
        let names = self.names_of(labels);
        self.spans.push(start..self.bytes.len());
        self.things.push(Thing { names, ends });
        Place(self.things.len() - 1)
    }

    fn names_of(&mut self, labels: &[(&'static str, &str)]) -> usize {
        // Nearly always the same constants as of the thing before, which need not be compared letter by letter.
        let same = |(known, (name, _)): (&&'static str, &(&'static str, &str))| {
            std::ptr::eq(*known, *name) || known == name
        };
        let known = self
            .names
            .iter()
            .position(|names| names.len() == labels.len() && names.iter().zip(labels).all(same));
        known.unwrap_or_else(|| {
            self.names.push(labels.iter().map(|(name, _)| *name).collect());
            self.names.len() - 1
        })
    }

    /// What stands at `place`.
    #[inline]
    pub(in crate::serve) fn at(&self, place: Place) -> Labels<'_> {
        Labels(&self.bytes[self.spans[place.0].clone()])
    }

    /// The same with `extra`, put together in `memory`. They are in the order of their names, and none is
    /// among the labels.
    #[inline]
    pub(in crate::serve) fn with<'a>(
        &'a self,
        place: Place,
        extra: &[Extra<'_>],
        memory: &'a mut Vec<u8>,
    ) -> Labels<'a> {
        if extra.is_empty() {
            return self.at(place);
        }
        self.merge(place, extra, memory);
        Labels(memory)
    }

    fn merge(&self, place: Place, extra: &[Extra<'_>], memory: &mut Vec<u8>) {
        let (bytes, thing) = (&self.bytes[self.spans[place.0].clone()], &self.things[place.0]);
        let names = &self.names[thing.names];
        let end_of = |count: usize| count.checked_sub(1).map_or(0, |last| thing.ends[last] as usize);
        memory.clear();
        let mut written = 0;
        for (name, value) in extra {
            let before = written + names[written..].partition_point(|known| known < name);
            self.append(memory, &bytes[end_of(written)..end_of(before)]);
            label(memory, 0, self.protobuf, name, value);
            written = before;
        }
        self.append(memory, &bytes[end_of(written)..end_of(names.len())]);
        close(memory, 0, self.protobuf);
    }

    /// Labels that are ready; of text only the very first has a brace in front.
    fn append(&self, memory: &mut Vec<u8>, labels: &[u8]) {
        match labels {
            [b'{', labels @ ..] if !self.protobuf && !memory.is_empty() => {
                memory.push(b',');
                memory.extend_from_slice(labels);
            }
            labels => memory.extend_from_slice(labels),
        }
    }
}

/// Labels of things with others besides, put together once for several families.
#[derive(Debug, Default)]
pub(in crate::serve) struct Extended {
    bytes: Vec<u8>,
    spans: Vec<Range<usize>>,
    /// Where labels are put together.
    both: Vec<u8>,
}

impl Extended {
    /// Adds what stands at `place` with `extra`, as [`Shelf::with`] has it.
    pub(in crate::serve) fn add(&mut self, shelf: &Shelf, place: Place, extra: &[Extra<'_>]) {
        let start = self.bytes.len();
        self.bytes.extend_from_slice(shelf.with(place, extra, &mut self.both).0);
        self.spans.push(start..self.bytes.len());
    }

    /// All of them, in the order in which they were added.
    pub(in crate::serve) fn iter(&self) -> impl Iterator<Item = Labels<'_>> {
        self.spans.iter().map(|span| Labels(&self.bytes[span.clone()]))
    }
}

/// One more label of the thing that begins at `start`.
fn label(out: &mut Vec<u8>, start: usize, protobuf: bool, name: &str, value: &str) {
    if protobuf {
        return super::protobuf::label(out, name, value);
    }
    out.push(if out.len() == start { b'{' } else { b',' });
    super::text::label(out, name, value);
}

/// After the last label.
fn close(out: &mut Vec<u8>, start: usize, protobuf: bool) {
    if !protobuf {
        out.extend_from_slice(if out.len() == start { b" " } else { b"} " });
    }
}
