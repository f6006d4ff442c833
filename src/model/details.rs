//! What the kernel says beyond the figures that everybody asks for, as it says it: rows of numbers, whose
//! meaning is the same for every cgroup of the node.

use std::ops::Range;
use std::sync::Arc;

/// Numbers of all cgroups of a sweep, one row after the other. Keeps its memory between sweeps.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Details {
    numbers: Vec<u64>,
    /// Of the rows of `memory.stat`.
    memory_keys: Arc<[Box<str>]>,
}

/// The keys of `memory.stat` in the kernel's order: of one kernel every cgroup but the root has the same. They are
/// learned from two texts that agree, since one may be torn, and anew if texts come to have others: a mount of the
/// hierarchy may add a key.
#[derive(Debug, Default)]
pub struct MemoryKeys {
    /// Empty as long as nobody knows.
    known: Arc<[Box<str>]>,
    /// Of the last text that had others.
    seen: Vec<Box<str>>,
    /// Known from the next sweep on.
    next: Option<Arc<[Box<str>]>>,
}

/// Where the rows of one cgroup are. An empty one was not read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DetailRows {
    /// CPU time by CPU, in nanoseconds, of a container on cgroup v1: `cpuacct.usage_percpu`.
    pub percpu: Range<u32>,
    /// All of `memory.stat`.
    pub memory_stat: Range<u32>,
}

impl Details {
    /// Empties it for another sweep.
    pub fn clear(&mut self) {
        self.numbers.clear();
    }

    /// A copy, to which so many numbers can be added.
    #[must_use]
    pub fn with_room(&self, more: usize) -> Self {
        let mut numbers = Vec::with_capacity(self.numbers.len() + more);
        numbers.extend_from_slice(&self.numbers);
        Self { numbers, memory_keys: Arc::clone(&self.memory_keys) }
    }

    /// How many numbers there are.
    pub fn len(&self) -> usize {
        self.numbers.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.numbers.is_empty()
    }

    /// Takes back what was added since there were `length` numbers.
    pub fn truncate(&mut self, length: usize) {
        self.numbers.truncate(length);
    }

    /// Adds a row of CPU times.
    pub fn add_percpu(&mut self, times: impl Iterator<Item = u64>) -> Range<u32> {
        let start = self.numbers.len();
        self.numbers.extend(times);
        self.from(start)
    }

    /// Adds a row of `memory.stat`, whose lines are keys and numbers: all of it or nothing.
    ///
    /// # Errors
    /// The number of the line that is another than that of other cgroups, or after which there should be more; `None`
    /// before there was any other.
    pub fn add_memory_stat<'a>(
        &mut self,
        keys: &mut MemoryKeys,
        lines: impl Iterator<Item = Option<(&'a [u8], u64)>> + Clone,
    ) -> Result<Range<u32>, Option<usize>> {
        let told = lines.clone().map(|line| Some(line?.0));
        if keys.known.is_empty() {
            keys.known = keys.agreed(told.clone())?;
        }
        let start = self.numbers.len();
        let mut known = keys.known.iter();
        let unlike = lines.clone().position(|line| match line.zip(known.next()) {
            Some(((key, value), known)) if known.as_bytes() == key => {
                self.numbers.push(value);
                false
            }
            _ => true,
        });
        let unlike = unlike.or_else(|| known.next().map(|_| lines.count().saturating_sub(1)));
        if let Some(line) = unlike {
            self.numbers.truncate(start);
            if let Ok(others) = keys.agreed(told) {
                keys.next = Some(others);
            }
            return Err(Some(line));
        }
        if !Arc::ptr_eq(&self.memory_keys, &keys.known) {
            self.memory_keys = Arc::clone(&keys.known);
        }
        Ok(self.from(start))
    }

    fn from(&self, start: usize) -> Range<u32> {
        let index = |length| u32::try_from(length).unwrap_or(u32::MAX);
        index(start)..index(self.numbers.len())
    }

    fn row(&self, range: &Range<u32>) -> &[u64] {
        self.numbers.get(range.start as usize..range.end as usize).unwrap_or_default()
    }

    /// Nanoseconds of each CPU; none if nobody measured them.
    pub fn percpu(&self, row: &Range<u32>) -> &[u64] {
        self.row(row)
    }

    /// All of `memory.stat`: bytes, or pages and events that were counted, under the kernel's keys.
    pub fn memory_stat(&self, rows: &DetailRows) -> impl Iterator<Item = (&str, u64)> {
        self.memory_keys.iter().map(|key| &**key).zip(self.row(&rows.memory_stat).iter().copied())
    }

    /// Where the first of `keys` stands that there is in `memory.stat`.
    pub fn memory_place(&self, keys: &[&str]) -> Option<usize> {
        keys.iter().find_map(|key| self.memory_keys.iter().position(|known| **known == **key))
    }

    /// The keys of `memory.stat`, in the order of its rows.
    pub fn memory_keys(&self) -> &Arc<[Box<str>]> {
        &self.memory_keys
    }

    /// The number at a place of a row of `memory.stat`.
    pub fn memory_at(&self, row: &Range<u32>, place: usize) -> Option<u64> {
        self.row(row).get(place).copied()
    }
}

impl MemoryKeys {
    /// A sweep begins: its rows may have other keys than those of the one before.
    pub fn begin_sweep(&mut self) {
        if let Some(next) = self.next.take() {
            self.known = next;
        }
    }

    /// The keys of a text, if the last one that was unlike the known had the same.
    ///
    /// # Errors
    /// The first that is another; `None` before there was a text.
    #[cold]
    fn agreed<'a>(
        &mut self,
        keys: impl Iterator<Item = Option<&'a [u8]>> + Clone,
    ) -> Result<Arc<[Box<str>]>, Option<usize>> {
        let seen = std::mem::take(&mut self.seen);
        let Some(line) = differs(keys.clone(), &seen) else { return Ok(seen.into()) };
        let text = |key: Option<&[u8]>| std::str::from_utf8(key?).ok().map(Box::from);
        self.seen = keys.map(text).collect::<Option<_>>().unwrap_or_default();
        Err(if seen.is_empty() { None } else { Some(line) })
    }
}

/// The first key that is another than was seen, if any is; none was seen before the first text.
fn differs<'a>(keys: impl Iterator<Item = Option<&'a [u8]>> + Clone, seen: &[Box<str>]) -> Option<usize> {
    if seen.is_empty() || keys.clone().count() != seen.len() {
        let same = keys.zip(seen).take_while(|(key, seen)| *key == Some(seen.as_bytes()));
        return Some(same.count());
    }
    keys.zip(seen).position(|(key, seen)| key != Some(seen.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    type Row<'a> = &'a [(&'a str, u64)];

    fn add(details: &mut Details, keys: &mut MemoryKeys, row: Row<'_>) -> Result<DetailRows, Option<usize>> {
        let lines = row.iter().map(|(key, number)| Some((key.as_bytes(), *number)));
        let memory_stat = details.add_memory_stat(keys, lines)?;
        Ok(DetailRows { memory_stat, ..DetailRows::default() })
    }

    fn shown<'a>(details: &'a Details, rows: &DetailRows) -> Vec<(&'a str, u64)> {
        details.memory_stat(rows).collect()
    }

    #[test]
    fn two_rows_that_agree_say_what_the_keys_are() {
        let (mut details, mut keys) = (Details::default(), MemoryKeys::default());
        let (torn, whole): (Row<'_>, Row<'_>) = (&[("anfile", 2)], &[("anon", 1), ("file", 2)]);
        assert_eq!(add(&mut details, &mut keys, torn), Err(None));
        assert_eq!(add(&mut details, &mut keys, whole), Err(Some(0)));
        assert_eq!(add(&mut details, &mut keys, torn), Err(Some(0)));
        assert_eq!(add(&mut details, &mut keys, whole), Err(Some(0)));
        let rows = add(&mut details, &mut keys, whole).unwrap();
        assert_eq!(shown(&details, &rows), whole);
        details.clear();
        assert!(details.is_empty());
        let rows = add(&mut details, &mut keys, whole).unwrap();
        assert_eq!(shown(&details, &rows), whole, "they are known for all sweeps");
    }

    #[test]
    fn keys_that_come_to_be_others_are_learned_for_the_next_sweep() {
        let (mut details, mut keys) = (Details::default(), MemoryKeys::default());
        let old: Row<'_> = &[("anon", 1), ("file", 2)];
        let new: Row<'_> = &[("anon", 1), ("file", 2), ("hugetlb", 3)];
        add(&mut details, &mut keys, old).unwrap_err();
        let rows = add(&mut details, &mut keys, old).unwrap();
        for _ in 0..3 {
            assert_eq!(add(&mut details, &mut keys, new), Err(Some(2)));
        }
        assert_eq!(shown(&details, &rows), old, "what was read before keeps its names");
        details.clear();
        keys.begin_sweep();
        let rows = add(&mut details, &mut keys, new).unwrap();
        assert_eq!(shown(&details, &rows), new);
        assert_eq!(add(&mut details, &mut keys, old), Err(Some(1)));
    }

    #[test]
    fn a_row_is_whole_or_not_there() {
        let (mut details, mut keys) = (Details::default(), MemoryKeys::default());
        let whole: Row<'_> = &[("anon", 3), ("file", 4)];
        add(&mut details, &mut keys, whole).unwrap_err();
        add(&mut details, &mut keys, whole).unwrap();
        let rows = add(&mut details, &mut keys, &[("anon", 5), ("file", 6)]).unwrap();
        for (wrong, line) in [
            (&[("anon", 5)][..], 0),
            (&[("anon", 5), ("slab", 6)], 1),
            (&[("anon", 5), ("file", 6), ("slab", 7)], 2),
            (&[], 0),
        ] {
            assert_eq!(add(&mut details, &mut keys, wrong), Err(Some(line)), "{wrong:?}");
        }
        let bad = [Some((&b"anon"[..], 3)), None].into_iter();
        assert_eq!(details.add_memory_stat(&mut keys, bad), Err(Some(1)));
        let percpu = details.add_percpu([8, 9].into_iter());
        assert_eq!(details.percpu(&percpu), [8, 9]);
        assert_eq!(details.len(), 6);
        let place = details.memory_place(&["total_file", "file"]).unwrap();
        assert_eq!(details.memory_at(&rows.memory_stat, place), Some(6));
        assert_eq!(details.memory_at(&(0..0), place), None);
        assert_eq!(details.memory_place(&["slab"]), None);
        details.truncate(2);
        assert_eq!(shown(&details, &rows), []);
    }
}
