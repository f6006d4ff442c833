//! A document in two pieces, one behind the other: of a large one two threads write a half each, and of what
//! everybody asks for nobody copies the halves together.

use bytes::{Buf, Bytes, BytesMut};

/// What a document is written on, and then the document; of most the second sheet is empty.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sheets(pub [Vec<u8>; 2]);

impl Sheets {
    /// Without what was written on them.
    #[must_use]
    pub fn blank(self) -> Self {
        Self(self.0.map(|mut sheet| {
            sheet.clear();
            sheet
        }))
    }

    /// Whether there is memory to write on.
    pub(super) fn is_there(&self) -> bool {
        self.0.iter().any(|sheet| sheet.capacity() > 0)
    }

    /// In one piece.
    #[must_use]
    pub fn joined(self) -> Vec<u8> {
        let [mut first, second] = self.0;
        first.extend_from_slice(&second);
        first
    }
}

impl From<Vec<u8>> for Sheets {
    fn from(whole: Vec<u8>) -> Self {
        Self([whole, Vec::new()])
    }
}

/// A document that is shared by its readers.
#[derive(Clone, Debug, Default)]
pub(super) struct Pieces {
    /// All of it, if the rest is empty.
    pub(super) first: Bytes,
    /// What follows.
    pub(super) rest: Bytes,
}

impl Pieces {
    /// Bytes of both.
    pub(super) fn len(&self) -> usize {
        self.first.len() + self.rest.len()
    }

    /// In one piece.
    pub(super) fn joined(&self) -> Bytes {
        if self.rest.is_empty() {
            return self.first.clone();
        }
        let mut both = self.first.clone().chain(self.rest.clone());
        both.copy_to_bytes(both.remaining())
    }

    /// The memory of those that nobody else reads, to write on again.
    pub(super) fn into_blank(self) -> Sheets {
        // Or its bytes would be moved, to where they are already.
        let blank = |mut written: BytesMut| {
            written.clear();
            Vec::from(written)
        };
        Sheets([self.first, self.rest].map(|piece| piece.try_into_mut().map_or_else(|_| Vec::new(), blank)))
    }
}

impl From<Sheets> for Pieces {
    fn from(Sheets([first, rest]): Sheets) -> Self {
        Self { first: first.into(), rest: rest.into() }
    }
}

impl From<Bytes> for Pieces {
    fn from(whole: Bytes) -> Self {
        Self { first: whole, rest: Bytes::new() }
    }
}
