//! Labels, made ready once a document: every family of a pod or a container copies the same bytes.
//!
//! ```text
//! {container="web",id="/kubepods/pod0a1b/dddd",pod="web-5d4"}␠
//! ```
//! A label that only some families have (`device`, `cpu`) goes to its place between two of them.

use std::ops::Range;

/// More labels than anything here has.
const MOST: usize = 10;

/// Things' labels, one after the other.
#[derive(Debug)]
pub(in crate::serve) struct Shelf {
    bytes: Vec<u8>,
    /// Of each thing: where its bytes begin and its labels end.
    things: Vec<Thing>,
    protobuf: bool,
}

#[derive(Clone, Copy, Debug)]
struct Thing {
    start: usize,
    end: usize,
    count: usize,
    ends: [u32; MOST],
    names: [&'static str; MOST],
}

/// Which thing of a [`Shelf`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::serve) struct Place(usize);

/// The labels of one thing.
#[derive(Clone, Copy, Debug)]
pub(in crate::serve) struct Labels<'a> {
    bytes: &'a [u8],
    thing: &'a Thing,
}

impl Shelf {
    /// For text.
    pub(super) fn text() -> Self {
        Self { bytes: Vec::new(), things: Vec::new(), protobuf: false }
    }

    /// For protobuf.
    pub(super) fn protobuf() -> Self {
        Self { protobuf: true, ..Self::text() }
    }

    /// Puts up the labels of one more thing, in the order of their names; those past the tenth are lost.
    pub(in crate::serve) fn put(&mut self, labels: &[(&'static str, &str)]) -> Place {
        debug_assert!(labels.is_sorted_by(|a, b| a.0 < b.0) && labels.len() <= MOST, "{labels:?}");
        let start = self.bytes.len();
        let (mut ends, mut names) = ([0; MOST], [""; MOST]);
        let count = labels.len().min(MOST);
        for (at, (name, value)) in labels.iter().take(MOST).enumerate() {
            if self.protobuf {
                super::protobuf::label(&mut self.bytes, name, value);
            } else {
                self.bytes.push(if at == 0 { b'{' } else { b',' });
                super::text::label(&mut self.bytes, name, value);
            }
            ends[at] = u32::try_from(self.bytes.len() - start).unwrap_or(u32::MAX);
            names[at] = name;
        }
        if !self.protobuf {
            self.bytes.extend_from_slice(if count == 0 { b" " } else { b"} " });
        }
        self.things.push(Thing { start, end: self.bytes.len(), count, ends, names });
        Place(self.things.len() - 1)
    }

    /// What stands at `place`.
    pub(in crate::serve) fn at(&self, place: Place) -> Labels<'_> {
        let thing = &self.things[place.0];
        Labels { bytes: &self.bytes[thing.start..thing.end], thing }
    }
}

impl<'a> Labels<'a> {
    /// All of them, as they are written where there are no others.
    pub(super) fn whole(self) -> &'a [u8] {
        self.bytes
    }

    /// Whether there are none.
    pub(super) fn is_empty(self) -> bool {
        self.thing.count == 0
    }

    /// How many come before a label of that name.
    pub(super) fn before(self, name: &str) -> usize {
        self.thing.names[..self.thing.count].partition_point(|known| *known < name)
    }

    /// How many there are.
    pub(super) fn count(self) -> usize {
        self.thing.count
    }

    /// The bytes of the labels in `range`, without what opens the first or follows the last.
    pub(super) fn part(self, range: Range<usize>) -> &'a [u8] {
        let end_of = |count: usize| match count {
            0 => 0,
            count => self.thing.ends[count - 1] as usize,
        };
        &self.bytes[end_of(range.start)..end_of(range.end)]
    }

    /// What follows the first `count` labels.
    pub(super) fn rest(self, count: usize) -> &'a [u8] {
        let start = if count == 0 { 0 } else { self.thing.ends[count - 1] as usize };
        &self.bytes[start..]
    }
}
