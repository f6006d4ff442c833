//! Counters with a base of ours.

use crate::model::time::WallTime;

/// A group of counters that goes on where the kernel's starts again: the total is a base of ours and the
/// kernel's present value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Carry<const N: usize> {
    base: [u64; N],
    raw: [u64; N],
    since: WallTime,
}

/// What a group of counters came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Total<const N: usize>([u64; N]);

impl<const N: usize> Carry<N> {
    pub(super) fn new(raw: [u64; N], since: WallTime) -> Self {
        Self { base: [0; N], raw, since }
    }

    /// The kernel's present values.
    pub(super) fn raw(&self) -> [u64; N] {
        self.raw
    }

    /// When it began.
    pub(super) fn since(&self) -> WallTime {
        self.since
    }

    /// Takes `lost` over into the base: what will be missing from the kernel's counters from now on.
    pub(super) fn keep(&mut self, lost: [u64; N]) {
        for ((base, raw), lost) in self.base.iter_mut().zip(&mut self.raw).zip(lost) {
            *base = base.saturating_add(lost);
            *raw = raw.saturating_sub(lost);
        }
    }

    /// The next kernel values. A counter that went back all the same carries on from where it was.
    pub(super) fn advance(&mut self, raw: [u64; N]) {
        for ((base, before), now) in self.base.iter_mut().zip(&mut self.raw).zip(raw) {
            *base = base.saturating_add(before.saturating_sub(now));
            *before = now;
        }
    }

    /// Another witness counts the same thing since the same beginning, `earlier` being what there was
    /// before it. It may know of more, which is added, or of less: then the total stays where it is.
    pub(super) fn change_over(&mut self, earlier: [u64; N], raw: [u64; N]) {
        self.set(Total(earlier).plus(raw).at_least(self.total()), raw);
    }

    /// Sets the total, or what the kernel shows if that is more, and returns it.
    pub(super) fn set(&mut self, total: Total<N>, raw: [u64; N]) -> Total<N> {
        let Total(mut total) = total;
        for ((base, total), raw) in self.base.iter_mut().zip(&mut total).zip(raw) {
            *total = (*total).max(raw);
            *base = *total - raw;
        }
        self.raw = raw;
        Total(total)
    }

    pub(super) fn total(&self) -> [u64; N] {
        std::array::from_fn(|i| self.base[i].saturating_add(self.raw[i]))
    }
}

impl<const N: usize> Default for Total<N> {
    fn default() -> Self {
        Self([0; N])
    }
}

impl<const N: usize> Total<N> {
    pub(super) fn plus(self, other: [u64; N]) -> Self {
        Self(std::array::from_fn(|i| self.0[i].saturating_add(other[i])))
    }

    fn at_least(self, other: [u64; N]) -> Self {
        Self(std::array::from_fn(|i| self.0[i].max(other[i])))
    }

    /// Adds what one source counted between two of its values; one that began again adds nothing.
    pub(super) fn add_growth(&mut self, before: [u64; N], now: [u64; N]) {
        *self = self.plus(std::array::from_fn(|i| now[i].saturating_sub(before[i])));
    }
}
