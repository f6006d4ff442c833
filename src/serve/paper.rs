//! The memory that documents are written on, used again from sweep to sweep.
//!
//! # Why
//! A document of a large node has many megabytes. On memory that is new to the process the kernel's page
//! faults cost more than all the writing; what the last document of the kind was written on is at hand as soon
//! as its last reader has gone.

use super::sheets::{Pieces, Sheets};

/// In sweeps that somebody asked in: more than the minute between two scrapes.
const KEPT_IDLE: u32 = 90;

/// The paper of one kind of document, or none.
#[derive(Debug, Default)]
pub(super) struct Paper {
    memory: Sheets,
    /// How much of it was written on: more may be reserved.
    bytes: usize,
    /// Sweeps that have passed without a document on it.
    idle: u32,
}

impl Paper {
    /// Empty memory to write on.
    pub(super) fn take(&mut self) -> Sheets {
        self.bytes = 0;
        std::mem::take(&mut self.memory)
    }

    /// How much memory that is.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// What there is a sweep later: the memory of `written` if nobody reads that any more, or else this paper,
    /// for as long as a next document may be expected.
    pub(super) fn next(self, written: Option<Pieces>) -> Self {
        let bytes = written.as_ref().map_or(0, Pieces::len);
        match written.map(Pieces::into_blank).filter(Sheets::is_there) {
            Some(memory) => Self { memory, bytes, idle: 0 },
            None if self.idle < KEPT_IDLE => Self { idle: self.idle + 1, ..self },
            None => Self::default(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Of so large sheets.
    const LARGE: usize = 4096;

    fn written() -> Pieces {
        let sheet = |text: &[u8]| {
            let mut sheet = Vec::with_capacity(LARGE);
            sheet.extend_from_slice(text);
            sheet
        };
        Sheets([sheet(b"a document"), sheet(b" in two")]).into()
    }

    fn capacities(Sheets(sheets): Sheets) -> [usize; 2] {
        sheets.map(|sheet| sheet.capacity())
    }

    #[test]
    fn the_memory_of_a_document_that_nobody_reads_is_used_again() {
        let document = written();
        let places = [&document.first, &document.rest].map(|piece| piece.as_ptr());
        let mut paper = Paper::default().next(Some(document));
        assert_eq!(paper.bytes(), "a document in two".len());
        let memory = paper.take();
        assert_eq!(paper.bytes(), 0);
        assert_eq!(memory.0.each_ref().map(|sheet| (sheet.as_ptr(), sheet.len())), places.map(|at| (at, 0)));
        assert_eq!(capacities(memory), [LARGE, LARGE]);
        assert_eq!(capacities(paper.take()), [0, 0], "it cannot be taken twice");
    }

    #[test]
    fn what_a_reader_still_holds_is_left_to_it() {
        let (document, paper) = (written(), Paper::default());
        let reader = document.clone();
        assert_eq!(capacities(paper.next(Some(document)).take()), [0, 0]);
        assert_eq!(reader.joined(), &b"a document in two"[..]);
    }

    #[test]
    fn paper_of_a_document_that_nobody_asks_for_is_given_back() {
        let mut paper = Paper::default().next(Some(written()));
        for _ in 0..KEPT_IDLE {
            paper = paper.next(None);
        }
        assert!(paper.memory.is_there());
        assert_eq!(capacities(paper.next(None).take()), [0, 0]);
    }
}
