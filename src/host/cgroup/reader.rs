//! THE HOT PATH, second half: one cgroup, read once each sweep.
//!
//! Each figure comes from a file or a few, and carries the instant right after the read that matters
//! most for it. A bad row costs the row, a bad file costs the file's figure, a removed cgroup costs the
//! whole reading. Nothing is allocated once every file was read once.
//!
//! `memory.current` (v1 `memory.usage_in_bytes`) is fresh; `memory.stat` may lag by 2 s, so usage is
//! never taken from it.

use std::sync::Arc;
use std::time::Duration;

use crate::host::devices::Devices;
use crate::host::{clock, text};
use crate::model::counters::{
    CpuCounters, DeviceRow, IoCounters, Limits, MemoryCounters, PidsCounters, PressureCounters,
};
use crate::model::details::{DetailRows, Details, MemoryKeys};
use crate::model::health::{Health, Room, Trouble};
use crate::model::sweep::{CgroupReading, IoReading, Reading, Stamped};
use crate::model::target::{CgroupRole, CgroupTarget, TargetId};
use crate::model::time::Monotonic;
use crate::model::unavailable::Unavailable;

use super::blkio::{Blkio, Family};
use super::file::File;
use super::files::{Files, Missing};
use super::layout::{Controller, Layout, Version};
use super::limits::LimitFiles;
use super::pressure;
use super::v1::{self, Operation};
use super::v2::{self, MemoryEvents, MemoryPlaces, MemoryStat};

pub use super::file::file_name;
pub use super::files::DescriptorBudget;

/// What a reader needs of the sweep.
pub struct ReadContext<'a> {
    /// Where the text of a file goes: one for all, grown to the largest.
    pub buffer: &'a mut Vec<u8>,
    /// Rows of block devices are added here.
    pub devices: &'a mut Vec<DeviceRow>,
    /// What else a cgroup says is added here.
    pub details: &'a mut Details,
    /// What there is in `memory.stat`.
    pub memory_keys: &'a mut MemoryKeys,
    /// Whether cgroup v1 counts block I/O.
    pub blkio: &'a Blkio,
    /// Which devices rest on others.
    pub known_devices: &'a Devices,
    /// Whether descriptors may be kept.
    pub budget: &'a mut DescriptorBudget,
    /// What is about to be read, and what failed.
    pub health: &'a Health,
    /// Read limits too, and look again for files that were not there: every 10 s or so, not all
    /// cgroups in the same sweep, since it costs about twice a plain read.
    pub slow: bool,
}

/// Reads one cgroup for as long as it is a target.
#[derive(Debug)]
pub struct CgroupReader {
    layout: Arc<Layout>,
    id: TargetId,
    role: CgroupRole,
    files: Files,
    limit_files: LimitFiles,
    limits: Limits,
    /// The limits were read after the runtime had time to set them.
    limits_settled: bool,
    /// Each device's last row: one that vanishes or is torn keeps its value, so totals never fall.
    rows: Vec<DeviceRow>,
    /// Of the reading that is being made.
    details: DetailRows,
    places: MemoryPlaces,
    alive: bool,
}

impl CgroupReader {
    /// Opens nothing yet.
    pub fn new(layout: Arc<Layout>, target: &CgroupTarget) -> Self {
        Self {
            id: target.id,
            role: target.role,
            files: Files::new(&layout, target),
            limit_files: LimitFiles::new(&target.path, target.id),
            limits: Limits::default(),
            limits_settled: false,
            rows: Vec::new(),
            details: DetailRows::default(),
            places: MemoryPlaces::default(),
            alive: true,
            layout,
        }
    }

    /// What the cgroup is to its pod, once that is settled or changes.
    pub fn set_role(&mut self, role: CgroupRole) {
        self.role = role;
    }

    /// Reads every figure.
    pub fn read(&mut self, context: &mut ReadContext<'_>) -> CgroupReading {
        let (rows_before, details_before) = (context.devices.len(), context.details.len());
        match self.read_figures(context) {
            Ok(reading) => {
                self.alive = true;
                reading
            }
            Err(Gone) => {
                context.devices.truncate(rows_before);
                context.details.truncate(details_before);
                self.close(context.budget);
                if std::mem::take(&mut self.alive) {
                    context.health.count(Room::Host, Trouble::Gone);
                }
                let absent = CgroupReading::absent(self.id, Unavailable::NotYet);
                CgroupReading { inode: self.files.inode(), alive: false, ..absent }
            }
        }
    }

    /// Closes every descriptor. The next read opens them anew.
    pub fn close(&mut self, budget: &mut DescriptorBudget) {
        self.files.close(budget, |_| false);
    }

    /// Descriptors kept open.
    pub fn open_descriptors(&self) -> usize {
        self.files.open_descriptors()
    }

    fn read_figures(&mut self, context: &mut ReadContext<'_>) -> Result<CgroupReading, Gone> {
        let mut reading = CgroupReading::absent(self.id, Unavailable::NotYet);
        self.details = DetailRows::default();
        if self.role == CgroupRole::Sandbox {
            self.files.close(context.budget, |controller| controller == Controller::Blkio);
            if self.layout.is_v1_io() {
                reading.io = settle(self.read_io(context))?;
            }
        } else {
            reading.cpu = settle(self.read_cpu(context))?;
            reading.memory = settle(self.read_memory(context))?;
            reading.io = settle(self.read_io(context))?;
            reading.pids = settle(self.read_pids(context))?;
            reading.pressure = settle(self.read_pressure(context))?;
            if context.slow || !self.limits_settled {
                let (limits, whole) = self.limit_files.read(&self.layout, self.limits, context);
                self.limits = limits;
                self.limits_settled = whole && !self.files.is_young();
            }
            reading.limits = self.limits;
        }
        reading.details = std::mem::take(&mut self.details);
        match self.files.confirm(&self.layout, context.health) {
            Ok(()) => {}
            Err(Missing::Gone) => return Err(Gone),
            Err(Missing::Because(why)) => {
                // Nobody can say whose files these were: no figure, and other files next time.
                self.files.close(context.budget, |_| false);
                reading = CgroupReading::absent(self.id, why);
            }
        }
        reading.inode = self.files.inode();
        Ok(reading)
    }

    fn read_cpu(&mut self, context: &mut ReadContext<'_>) -> Result<Stamped<CpuCounters>, Missing> {
        match self.layout.version(Controller::Cpuacct) {
            Some(Version::V1) => self.read_cpu_v1(context),
            Some(Version::V2) => self.parse(File::CpuStatV2, context, v2::parse_cpu_stat),
            None => Err(OFF),
        }
    }

    fn read_cpu_v1(&mut self, context: &mut ReadContext<'_>) -> Result<Stamped<CpuCounters>, Missing> {
        let usage = self.read_usage_v1(context)?;
        let ticks = rustix::param::clock_ticks_per_second();
        let split = self.parse(File::CpuacctStat, context, |text| v1::parse_cpuacct_stat(text, ticks));
        let (user, system) = optional(split)?.unzip();
        let throttling = match self.parse(File::CpuStatV1, context, v1::parse_cpu_stat) {
            Ok(Stamped { value: Some(throttling), .. }) => Ok(throttling),
            Ok(Stamped { value: None, .. }) => Err(Unavailable::ControllerOff),
            Err(Missing::Because(why)) => Err(why),
            Err(Missing::Gone) => return Err(Missing::Gone),
        };
        Ok(map(usage, |usage| CpuCounters { usage, user, system, throttling }))
    }

    /// Of a container CPU by CPU, since Docker's clients of cgroup v1 look for each: it costs no read more.
    fn read_usage_v1(&mut self, context: &mut ReadContext<'_>) -> Result<Stamped<Duration>, Missing> {
        if self.role != CgroupRole::Container {
            return self.parse(File::CpuacctUsage, context, v1::parse_cpuacct_usage);
        }
        let read = self.parse(File::CpuacctUsagePercpu, context, |text| {
            v1::parse_cpuacct_percpu(text).map(|usage| (usage, text.len()))
        });
        let Stamped { at, value: (usage, length) } = read?;
        let ReadContext { buffer, details, .. } = context;
        self.details.percpu = details.add_percpu(v1::each_cpu(&buffer[..length]));
        Ok(Stamped { at, value: usage })
    }

    fn read_memory(&mut self, context: &mut ReadContext<'_>) -> Result<Stamped<MemoryCounters>, Missing> {
        let v1 = match self.layout.version(Controller::Memory) {
            Some(version) => version == Version::V1,
            None => return Err(OFF),
        };
        let current = if v1 { File::MemoryUsage } else { File::MemoryCurrent };
        let usage = self.parse(current, context, v2::parse_number)?;
        let stat = self.read_memory_stat(v1, context)?;
        let peak = if v1 { File::MemoryMaxUsage } else { File::MemoryPeak };
        let peak_bytes = optional(self.parse(peak, context, v2::parse_number))?;
        let events = match v1 {
            true => MemoryEvents {
                oom_kills: optional(self.parse(File::MemoryOomControl, context, v1::parse_oom_kills))?
                    .flatten(),
                limit_hits: optional(self.parse(File::MemoryFailcnt, context, v2::parse_number))?,
                ..MemoryEvents::default()
            },
            false => optional(self.parse(File::MemoryEvents, context, v2::parse_memory_events))?
                .unwrap_or_default(),
        };
        let swap_bytes = match v1 {
            true => stat.swap_bytes,
            false => optional(self.parse(File::MemorySwapCurrent, context, v2::parse_number))?,
        };
        Ok(map(usage, |usage_bytes| MemoryCounters {
            usage_bytes,
            swap_bytes,
            peak_bytes,
            ..(stat, events).into()
        }))
    }

    fn read_memory_stat(&mut self, v1: bool, context: &mut ReadContext<'_>) -> Result<MemoryStat, Missing> {
        let mut again = true;
        loop {
            let length = match self.files.read(&self.layout, File::MemoryStat, context) {
                Err(Missing::Because(_)) => return Ok(MemoryStat::default()),
                length => length?,
            };
            let ReadContext { buffer, details, memory_keys, health, .. } = context;
            let text = &buffer[..length];
            let row = details.add_memory_stat(memory_keys, text::lines(text).map(text::parse_key_value));
            let unlike = match row {
                Ok(row) => {
                    let stat = self.places.read(details, &row);
                    self.details.memory_stat = row;
                    return Ok(stat);
                }
                Err(unlike) => unlike.and_then(|line| text::lines(text).nth(line)),
            };
            let (stat, bad) = if v1 { v1::parse_memory_stat(text) } else { v2::parse_memory_stat(text) };
            self.complain(File::MemoryStat, bad.or(unlike), health);
            if !std::mem::take(&mut again) {
                return Ok(stat);
            }
        }
    }

    fn read_io(&mut self, context: &mut ReadContext<'_>) -> Result<Stamped<IoReading>, Missing> {
        let start = context.devices.len();
        let (at, partly_accounted) = match self.layout.version(Controller::Blkio) {
            Some(Version::V1) => (self.read_io_v1(start, context)?, context.blkio.accounting().partly),
            Some(Version::V2) => (self.read_io_v2(context)?, false),
            None => return Err(OFF),
        };
        self.keep_rows(start, context.devices);
        let rows = &context.devices[start..];
        let leaves = rows.iter().filter(|row| !row.stacked);
        let total = leaves.fold(IoCounters::default(), |total, row| total.plus(row.counters));
        let index = |length| u32::try_from(length).unwrap_or(u32::MAX);
        let rows = index(start)..index(context.devices.len());
        Ok(Stamped { at, value: IoReading { total, rows, partly_accounted } })
    }

    /// Rows of the disks that are counted, from the family that counts them.
    fn read_io_v1(&mut self, start: usize, context: &mut ReadContext<'_>) -> Result<Monotonic, Missing> {
        let accounting = context.blkio.accounting();
        let mut at = None;
        for family in Family::ALL.into_iter().filter(|&family| accounting.has(family)) {
            let (bytes, operations) = family.files();
            for file in [bytes, operations] {
                let length = self.files.read(&self.layout, file, context)?;
                at.get_or_insert_with(clock::monotonic);
                if self.add_rows_v1(family, file, length, start, context) {
                    continue;
                }
                let length = self.files.read(&self.layout, file, context)?;
                self.add_rows_v1(family, file, length, start, context);
            }
        }
        at.ok_or(Missing::Because(Unavailable::BlkioNotAccounted))
    }

    /// Adds what `file`, one of the two of `family`, says to the rows from `start`; whether every line
    /// could be read. What is not said of a disk stays as it was: a row may be missing once.
    fn add_rows_v1(
        &self,
        family: Family,
        file: File,
        length: usize,
        start: usize,
        context: &mut ReadContext<'_>,
    ) -> bool {
        let ReadContext { buffer, devices, blkio, known_devices, health, .. } = context;
        let in_bytes = file == family.files().0;
        let bad = v1::parse_blkio(&buffer[..length], |device, operation, value| {
            if !blkio.counts(family, device) {
                return;
            }
            let known = devices[start..].iter().position(|row| row.device == device);
            let index = known.map_or(devices.len(), |index| start + index);
            if known.is_none() {
                let stacked = known_devices.stacked(device);
                let last = self.rows.iter().find(|row| row.device == device);
                let counters = last.map(|row| row.counters).unwrap_or_default();
                devices.push(DeviceRow { device, stacked, counters });
            }
            let counters = &mut devices[index].counters;
            match (operation, in_bytes) {
                (Operation::Read, true) => counters.read_bytes = value,
                (Operation::Read, false) => counters.read_operations = value,
                (Operation::Write, true) => counters.write_bytes = value,
                (Operation::Write, false) => counters.write_operations = value,
            }
        });
        self.complain(file, bad, health);
        // The sum of all ends the text: without it this is not all of it.
        bad.is_none() && text::lines(&buffer[..length]).last().is_some_and(|line| line.starts_with(b"Total "))
    }

    fn read_io_v2(&mut self, context: &mut ReadContext<'_>) -> Result<Monotonic, Missing> {
        let start = context.devices.len();
        let mut again = true;
        loop {
            let length = self.files.read(&self.layout, File::IoStat, context)?;
            let at = clock::monotonic();
            let ReadContext { buffer, devices, known_devices, health, .. } = context;
            let bad = v2::parse_io_stat(&buffer[..length], |device, counters| {
                devices.push(DeviceRow { device, stacked: known_devices.stacked(device), counters });
            });
            self.complain(File::IoStat, bad, health);
            if bad.is_none() || !std::mem::take(&mut again) {
                return Ok(at);
            }
            devices.truncate(start);
        }
    }

    /// Adds the last values of devices that are not among the rows from `start`, and remembers all.
    fn keep_rows(&mut self, start: usize, devices: &mut Vec<DeviceRow>) {
        for row in &self.rows {
            if devices[start..].iter().all(|present| present.device != row.device) {
                devices.push(*row);
            }
        }
        self.rows.clear();
        self.rows.extend_from_slice(&devices[start..]);
    }

    fn read_pids(&mut self, context: &mut ReadContext<'_>) -> Result<Stamped<PidsCounters>, Missing> {
        if self.layout.version(Controller::Pids).is_none() {
            return Err(OFF);
        }
        let current = self.parse(File::PidsCurrent, context, v2::parse_number)?;
        Ok(map(current, |current| PidsCounters { current }))
    }

    fn read_pressure(&mut self, context: &mut ReadContext<'_>) -> Result<Stamped<PressureCounters>, Missing> {
        let without = match self.layout.kernel_has_psi() {
            true => Unavailable::ControllerOff,
            false => Unavailable::KernelWithoutPsi,
        };
        if self.layout.version(Controller::Pressure).is_none() {
            return Err(Missing::Because(without));
        }
        let cpu = self.parse(File::CpuPressure, context, pressure::parse_stall);
        let memory = optional(self.parse(File::MemoryPressure, context, pressure::parse_stall))?;
        let io = optional(self.parse(File::IoPressure, context, pressure::parse_stall))?;
        match cpu {
            Ok(cpu) => Ok(map(cpu, |cpu| PressureCounters { cpu: Some(cpu), memory, io })),
            Err(Missing::Because(_)) if memory.is_some() || io.is_some() => {
                Ok(Stamped { at: clock::monotonic(), value: PressureCounters { cpu: None, memory, io } })
            }
            Err(Missing::Because(Unavailable::ControllerOff)) => Err(Missing::Because(without)),
            Err(missing) => Err(missing),
        }
    }

    /// Reads and parses a file; the stamp is taken between the two. One that cannot be parsed is read
    /// again, once: it may have been printed in pieces.
    #[inline]
    fn parse<T>(
        &mut self,
        file: File,
        context: &mut ReadContext<'_>,
        parse: impl Fn(&[u8]) -> Result<T, &[u8]>,
    ) -> Result<Stamped<T>, Missing> {
        for _ in 0..2 {
            let length = self.files.read(&self.layout, file, context)?;
            let at = clock::monotonic();
            match parse(&context.buffer[..length]) {
                Ok(value) => return Ok(Stamped { at, value }),
                Err(line) => self.complain(file, Some(line), context.health),
            }
        }
        Err(Missing::Because(Unavailable::NotYet))
    }

    fn complain(&self, file: File, bad_line: Option<&[u8]>, health: &Health) {
        if let Some(line) = bad_line {
            self.files.complain(&self.layout, file, line, health);
        }
    }
}

/// The cgroup was removed.
struct Gone;

const OFF: Missing = Missing::Because(Unavailable::ControllerOff);

/// A figure that is missing carries its reason; a cgroup that is missing ends the reading.
fn settle<T>(figure: Result<Stamped<T>, Missing>) -> Result<Reading<T>, Gone> {
    match figure {
        Ok(stamped) => Ok(Ok(stamped)),
        Err(Missing::Because(why)) => Ok(Err(why)),
        Err(Missing::Gone) => Err(Gone),
    }
}

/// A part of a figure that may be missing.
fn optional<T>(part: Result<Stamped<T>, Missing>) -> Result<Option<T>, Missing> {
    match part {
        Ok(stamped) => Ok(Some(stamped.value)),
        Err(Missing::Because(_)) => Ok(None),
        Err(Missing::Gone) => Err(Missing::Gone),
    }
}

fn map<T, U>(stamped: Stamped<T>, change: impl FnOnce(T) -> U) -> Stamped<U> {
    Stamped { at: stamped.at, value: change(stamped.value) }
}

#[cfg(test)]
#[path = "reader_tests.rs"]
mod tests;
