//! A document as sections, which do not depend on each other: of a large one two threads write a half each.

use std::panic::resume_unwind;
use std::sync::LazyLock;
use std::thread::{self, available_parallelism};

use super::super::exposition::Writer;
use super::super::sheets::Sheets;
use super::Scribe;

/// From so many series on a half takes longer than it takes to start a thread.
const WORTH_TWO: usize = 20_000;

/// Whether two threads may run at once: not where this process may use but one CPU, or a part of it.
static TWO: LazyLock<bool> = LazyLock::new(|| available_parallelism().is_ok_and(|many| many.get() > 1));

/// Some of the families, all of whose series it writes.
pub(super) struct Section<'a, W> {
    /// What it costs, in series.
    pub(super) cost: usize,
    pub(super) write: Write<'a, W>,
}

type Write<'a, W> = Box<dyn Fn(&mut Scribe<'a, W>) + Send + Sync + 'a>;

impl<'a, W> Section<'a, W> {
    pub(super) fn new(cost: usize, write: impl Fn(&mut Scribe<'a, W>) + Send + Sync + 'a) -> Self {
        Self { cost, write: Box::new(write) }
    }
}

/// All sections, one after the other, on the first sheet or on both. `scribe` is the one who writes on a sheet.
pub(super) fn written<'a, W: Writer>(
    sections: &[Section<'a, W>],
    scribe: impl Fn(Vec<u8>) -> Scribe<'a, W> + Sync,
    Sheets([first, second]): Sheets,
) -> Sheets {
    let write = |sections: &[Section<'a, W>], sheet, last| {
        let mut scribe = scribe(sheet);
        for section in sections {
            (section.write)(&mut scribe);
        }
        scribe.writer.finish(last)
    };
    let all: usize = sections.iter().map(|section| section.cost).sum();
    if all < WORTH_TWO || !*TWO {
        return write(sections, first, true).into();
    }
    let (front, back) = sections.split_at(half(sections.iter().map(|section| section.cost), all));
    thread::scope(|scope| {
        let beside = thread::Builder::new().name("render".to_owned());
        match beside.spawn_scoped(scope, || write(back, second, true)) {
            Ok(beside) => {
                let first = write(front, first, false);
                Sheets([first, beside.join().unwrap_or_else(|panic| resume_unwind(panic))])
            }
            // No thread is to be had: then in one piece.
            Err(_) => write(sections, first, true).into(),
        }
    })
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
}
