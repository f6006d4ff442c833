//! The memory that documents are written on, used again from sweep to sweep.
//!
//! # Why
//! A document of a large node has many megabytes. On memory that is new to the process the kernel's page
//! faults cost more than all the writing; what the last document of the kind was written on is at hand as soon
//! as its last reader has gone.

use bytes::{Bytes, BytesMut};

/// In sweeps that somebody asked in: more than the minute between two scrapes.
const KEPT_IDLE: u32 = 90;

/// The paper of one kind of document, or none.
#[derive(Debug, Default)]
pub(super) struct Paper {
    memory: Vec<u8>,
    /// Sweeps that have passed without a document on it.
    idle: u32,
}

impl Paper {
    /// Empty memory to write on.
    pub(super) fn take(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.memory)
    }

    /// What there is a sweep later: the memory of `written` if nobody reads that any more, or else this paper,
    /// for as long as a next document may be expected.
    pub(super) fn next(self, written: Option<Bytes>) -> Self {
        match written.and_then(blank) {
            Some(memory) => Self { memory, idle: 0 },
            None if self.idle < KEPT_IDLE => Self { idle: self.idle + 1, ..self },
            None => Self::default(),
        }
    }
}

/// The memory of a body, empty; `None` while there is another reader.
fn blank(body: Bytes) -> Option<Vec<u8>> {
    let mut body: BytesMut = body.try_into_mut().ok()?;
    // Or its bytes would be moved, to where they are already.
    body.clear();
    Some(body.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written() -> Bytes {
        let mut body = Vec::with_capacity(4096);
        body.extend_from_slice(b"a document");
        body.into()
    }

    #[test]
    fn the_memory_of_a_document_that_nobody_reads_is_used_again() {
        let document = written();
        let place = document.as_ptr();
        let mut paper = Paper::default().next(Some(document));
        let memory = paper.take();
        assert_eq!((memory.as_ptr(), memory.len()), (place, 0));
        assert!(memory.capacity() >= 4096, "{}", memory.capacity());
        assert_eq!(paper.take().capacity(), 0, "it cannot be taken twice");
    }

    #[test]
    fn what_a_reader_still_holds_is_left_to_it() {
        let (document, paper) = (written(), Paper::default());
        let reader = document.clone();
        assert_eq!(paper.next(Some(document)).take().capacity(), 0);
        assert_eq!(reader, &b"a document"[..]);
    }

    #[test]
    fn paper_of_a_document_that_nobody_asks_for_is_given_back() {
        let mut paper = Paper::default().next(Some(written()));
        for _ in 0..KEPT_IDLE {
            paper = paper.next(None);
        }
        assert_ne!(paper.memory.capacity(), 0);
        assert_eq!(paper.next(None).take().capacity(), 0);
    }
}
