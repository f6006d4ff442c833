//! A document as sections, which do not depend on each other: of a large one two threads write a half each.

use std::panic::resume_unwind;
use std::sync::LazyLock;
use std::thread::{self, available_parallelism};

use super::super::sheets::Sheets;

/// What a section costs is told in series. From so much on a second thread is worth its start: nodes of 110 pods
/// do with one.
const WORTH_TWO: usize = 40_000;

/// The second thread calls nothing that goes deep.
const STACK: usize = 256 << 10;

/// Whether two threads may run at once: not where this process may use but one CPU, or a part of it. Asked once:
/// the answer is in files.
static TWO: LazyLock<bool> = LazyLock::new(|| available_parallelism().is_ok_and(|many| many.get() > 1));

/// Some of the families, all of whose series it writes by the hand of an `S`.
pub(super) struct Section<'a, S> {
    cost: usize,
    write: Box<dyn Fn(&mut S) + Send + Sync + 'a>,
}

impl<'a, S> Section<'a, S> {
    /// What `write` writes costs as much as so many series.
    pub(super) fn new(cost: usize, write: impl Fn(&mut S) + Send + Sync + 'a) -> Self {
        Self { cost, write: Box::new(write) }
    }
}

/// How an `S` begins a sheet, and how it ends one; `true` if nothing follows in the document.
pub(super) struct Hand<'a, S> {
    pub(super) begin: &'a (dyn Fn(Vec<u8>) -> S + Sync),
    pub(super) end: fn(S, bool) -> Vec<u8>,
}

impl<S> Hand<'_, S> {
    /// All sections, one after the other, on the first sheet or on both.
    pub(super) fn write(&self, sections: &[Section<'_, S>], sheets: Sheets) -> Sheets {
        let cost: usize = sections.iter().map(|section| section.cost).sum();
        if cost < WORTH_TWO || !*TWO {
            let Sheets([first, _]) = sheets;
            return self.piece(sections, first, true).into();
        }
        self.halves(sections, cost, sheets, STACK)
    }

    fn halves(&self, sections: &[Section<'_, S>], cost: usize, sheets: Sheets, stack: usize) -> Sheets {
        let Sheets([first, second]) = sheets;
        let (front, back) = sections.split_at(half(sections.iter().map(|section| section.cost), cost));
        thread::scope(|scope| {
            let thread = thread::Builder::new().name("render".to_owned()).stack_size(stack);
            match thread.spawn_scoped(scope, || self.piece(back, second, true)) {
                Ok(beside) => {
                    let first = self.piece(front, first, false);
                    Sheets([first, beside.join().unwrap_or_else(|panic| resume_unwind(panic))])
                }
                // No thread is to be had: then in one piece.
                Err(_) => self.piece(sections, first, true).into(),
            }
        })
    }

    fn piece(&self, sections: &[Section<'_, S>], sheet: Vec<u8>, last: bool) -> Vec<u8> {
        let mut writer = (self.begin)(sheet);
        for section in sections {
            (section.write)(&mut writer);
        }
        (self.end)(writer, last)
    }
}

/// How many sections come as near to half of `all` as they can.
fn half(costs: impl Iterator<Item = usize>, all: usize) -> usize {
    let mut before = 0;
    let in_front = |of: &usize| {
        before += of;
        2 * before - of <= all
    };
    costs.take_while(in_front).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_halves_are_as_alike_as_sections_allow() {
        let half = |costs: &[usize]| super::half(costs.iter().copied(), costs.iter().sum());
        assert_eq!(half(&[]), 0);
        assert_eq!(half(&[10]), 1);
        assert_eq!(half(&[10, 10]), 1);
        assert_eq!(half(&[1, 1, 1, 1, 4]), 4);
        assert_eq!(half(&[9, 1, 1]), 1);
        assert_eq!(half(&[1, 1, 9]), 2);
        assert_eq!(half(&[4, 4, 4]), 2);
    }

    /// A stack for which no machine has the room.
    const TOO_MUCH: usize = 1 << 47;

    #[test]
    fn each_section_is_there_once_and_in_order_whether_a_thread_is_to_be_had_or_not() {
        let end = |mut sheet: Vec<u8>, last: bool| {
            sheet.extend_from_slice(if last { b"." } else { b"," });
            sheet
        };
        let hand = Hand { begin: &|sheet: Vec<u8>| sheet, end };
        let sections: Vec<_> = (b'a'..=b'f')
            .map(|letter| Section::new(1, move |sheet: &mut Vec<u8>| sheet.push(letter)))
            .collect();
        let written = |stack| {
            let Sheets(sheets) = hand.halves(&sections, sections.len(), Sheets::default(), stack);
            sheets.map(|sheet| String::from_utf8(sheet).unwrap())
        };
        assert_eq!(written(STACK), ["abc,", "def."]);
        assert_eq!(written(TOO_MUCH), ["abcdef.", ""]);
        let alone = hand.write(&sections, Sheets::default());
        assert_eq!(alone.joined(), b"abcdef.", "too few for two");
    }
}
