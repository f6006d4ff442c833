//! Figures of a cgroup and of a pod that are absent, and why, without an allocation.

use super::super::exposition::{Family, Place, Shelf, Writer};
use super::row::Row;
use super::{Read, Scribe, Value};
use crate::model::sweep::Stamped;
use crate::model::unavailable::Unavailable;

/// The dotted paths that `/metrics/pods` can be without, and the reasons for which this row is.
pub(super) fn missing(row: &Row<'_>) -> impl Iterator<Item = (&'static str, Unavailable)> + use<> {
    let cgroup = row.cgroup;
    let limits = &cgroup.limits.unknown;
    let cpu = cgroup.cpu.as_ref().ok().map(|cpu| &cpu.value);
    let memory = cgroup.memory.as_ref().ok().map(|memory| &memory.value);
    let pressure = cgroup.pressure.as_ref().ok().map(|pressure| &pressure.value);
    let network = row.pod.filter(|_| row.container.is_none()).and_then(|pod| why(&pod.figures.network));
    // This kernel, or this cgroup, does not keep the count.
    let off = |count: Option<u64>| count.is_none().then_some(Unavailable::ControllerOff);
    let uncounted = |of: fn(&crate::model::counters::MemoryCounters) -> Option<u64>| {
        memory.and_then(|memory| off(of(memory)))
    };
    let without_psi = |is_there: bool| (!is_there).then_some(Unavailable::KernelWithoutPsi);
    let partly = cgroup.io.as_ref().ok().filter(|io| io.value.partly_accounted);
    let no_rate = cpu.filter(|cpu| !cpu.cores.is_some_and(|rate| rate.per_second.is_finite()));
    [
        ("cpu", why(&cgroup.cpu)),
        ("cpu.cores", no_rate.map(|_| Unavailable::NotYet)),
        ("cpu.limitCores", cpu.and(limits.cpu_cores)),
        ("cpu.throttling", cpu.and_then(|cpu| cpu.counters.throttling.err())),
        ("io", why(&cgroup.io)),
        ("io.devices", partly.map(|_| Unavailable::BlkioNotAccounted)),
        ("memory", why(&cgroup.memory)),
        ("memory.limitBytes", memory.and(limits.memory_bytes)),
        ("memory.oomKills", uncounted(|memory| memory.oom_kills)),
        ("memory.peakBytes", uncounted(|memory| memory.peak_bytes)),
        ("memory.swapBytes", uncounted(|memory| memory.swap_bytes)),
        ("memory.workingSetBytes", uncounted(|memory| memory.inactive_file_bytes)),
        ("network", network),
        ("pids", why(&cgroup.pids)),
        ("pids.limit", cgroup.pids.as_ref().ok().and(limits.pids)),
        ("pressure", why(&cgroup.pressure)),
        ("pressure.cpu", pressure.and_then(|it| without_psi(it.cpu.is_some()))),
        ("pressure.io", pressure.and_then(|it| without_psi(it.io.is_some()))),
        ("pressure.memory", pressure.and_then(|it| without_psi(it.memory.is_some()))),
    ]
    .into_iter()
    .filter_map(|(path, why)| Some((path, why?)))
}

fn why<T>(reading: &Result<Stamped<T>, Unavailable>) -> Option<Unavailable> {
    reading.as_ref().err().copied()
}

impl<W: Writer> Scribe<'_, W> {
    /// A series for each that is absent.
    pub(super) fn unavailable(&mut self, family: &Family, shelf: &Shelf, rows: &[(Place, Row<'_>)]) {
        self.writer.family(family);
        let mut labels = Vec::new();
        for (place, row) in rows {
            for (figure, why) in missing(row) {
                let extra = [("figure", figure), ("reason", why.word())];
                self.sample(shelf.with(*place, &extra, &mut labels), Read::plain(Value::Integer(1)));
            }
        }
    }
}
