//! `/api/v2.0/ps`: the processes of one cgroup and of all below it, as `ps` prints them.
//!
//! cAdvisor runs `ps -o user,pid,ppid,stime,pcpu,pmem,rss,vsz,stat,time,comm,psr,cgroup` and takes its columns apart
//! (`manager/container.go`); the words here are those of procps (`src/ps/output.c`). `user` is a number, as `ps` has it
//! of a user it knows no name of: names are in files of the node that nobody reads. There is no `fd_count`: descriptors
//! of others are seen by root alone.

use std::collections::HashSet;
use std::time::Duration;

use hyper::StatusCode;
use hyper::header::{HeaderName, HeaderValue};
use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde::Serialize;

use super::super::app::App;
use super::super::docker::query::Query;
use super::super::reply::{JSON, Refusal, Reply, json};
use super::super::routes::Asked;
use super::cgroups::{self, Cgroup, What};
use super::request::{Call, Options};
use crate::model::identity::{ContainerId, PodUid};
use crate::model::processes::{Process, ProcessCgroup, ProcessTable};
use crate::model::snapshot::Snapshot;
use crate::model::time::WallTime;

/// So many processes are as much work as one pod of a list.
const PROCESSES_OF_A_POD: usize = 64;

/// And no list is more work than this, so that a node full of processes has one.
const MOST_PODS: usize = 512;

/// As `info/v2.ProcessInfo` has it.
#[derive(Serialize)]
struct Info<'a> {
    user: String,
    pid: u32,
    parent_pid: u32,
    start_time: String,
    percent_cpu: f64,
    /// Absent where the memory of the node is not known.
    #[serde(skip_serializing_if = "Option::is_none")]
    percent_mem: Option<f64>,
    rss: u64,
    virtual_size: u64,
    status: String,
    running_time: String,
    /// Of the node's processes alone, as there; empty where it cannot be told.
    cgroup_path: &'a str,
    cmd: &'a str,
    psr: u32,
}

/// The answer, which waits for a list if there is no young one.
pub(super) async fn reply(app: &App, asked: &Asked, call: &Call) -> Result<Reply, Refusal> {
    let failed = |refusal: Refusal| refusal.before("process listing failed: ");
    // As there: of one container, whatever is said of those below it.
    let options = Options { recursive: false, ..Options::parse(&Query::parse(&asked.query)?)? };
    // Who asks for what is not there wakes nobody.
    super::found(&*app.fresh()?, call, options).map_err(failed)?;
    let unlisted = |why: std::sync::Arc<str>| Refusal::new(StatusCode::INTERNAL_SERVER_ERROR, &*why);
    let table = app.published.processes.table(app.now()).await.map_err(unlisted).map_err(failed)?;
    let (snapshot, now) = (app.fresh()?, app.now());
    let found = super::found(&snapshot, call, options).map_err(failed)?;
    let of = Of::new(&snapshot, &found);
    let many = table.processes.iter().filter(|it| table.cgroup(it).is_some_and(|it| of.has(it))).count();
    let cost = ((many / PROCESSES_OF_A_POD).min(MOST_PODS), snapshot.pods.len());
    let key = format!("{JSON} {} {:?} {}", asked.path, options.by, table.at.as_nanos());
    let rendered = app.documents.other(snapshot.tick, &key, cost, now, JSON, || {
        let memory = snapshot.node.memory.as_ref().ok().map(|memory| memory.value.total_bytes);
        json(&listed(&table, &of, memory))
    })?;
    let mut reply = rendered.content.reply(&asked.headers);
    let age = now.since(table.at).unwrap_or_default();
    if let Ok(value) = HeaderValue::from_str(&format!("{:.6}", age.as_secs_f64())) {
        reply.headers_mut().insert(HeaderName::from_static("podvitals-age-seconds"), value);
    }
    Ok(reply)
}

/// Whose processes are wanted.
enum Of<'a> {
    Node,
    /// Of these containers; and whatever else is in their pods, if those are wanted whole.
    Pods {
        pods: HashSet<&'a PodUid>,
        containers: HashSet<&'a ContainerId>,
        whole: bool,
    },
}

impl<'a> Of<'a> {
    fn new(snapshot: &'a Snapshot, found: &[Cgroup<'a>]) -> Self {
        let (mut pods, mut containers, mut whole) = (HashSet::new(), HashSet::new(), false);
        for cgroup in found {
            let inside = match cgroup.what {
                What::Node => return Self::Node,
                What::Container(..) | What::Sandbox(..) => vec![cgroup.clone()],
                // Docker has its containers there, and no pod.
                What::Slice if cgroup.name == cgroups::DOCKER => cgroups::with_id(snapshot),
                What::Pod(_) | What::Slice => {
                    whole = true;
                    cgroups::at_or_below(snapshot, &cgroup.name)
                }
            };
            containers.extend(inside.iter().filter_map(Cgroup::id));
            pods.extend(inside.iter().filter_map(Cgroup::pod).map(|pod| &pod.target.runtime_uid));
        }
        Self::Pods { pods, containers, whole }
    }

    /// A process is in a container by its id, and in that of no other pod.
    fn has(&self, process: &ProcessCgroup) -> bool {
        let Self::Pods { pods, containers, whole } = self else { return true };
        match (&process.pod, &process.container) {
            (Some(pod), _) if *whole => pods.contains(pod),
            (Some(pod), Some(container)) => pods.contains(pod) && containers.contains(container),
            (None, Some(container)) => containers.contains(container),
            (_, None) => false,
        }
    }
}

fn listed<'t>(table: &'t ProcessTable, of: &Of<'_>, memory: Option<u64>) -> Vec<Info<'t>> {
    let wanted = |process: &'t Process| {
        let cgroup = table.cgroup(process)?;
        let path = if matches!(of, Of::Node) { cgroup.path.as_deref().unwrap_or_default() } else { "" };
        of.has(cgroup).then(|| info(process, path, memory))
    };
    table.processes.iter().filter_map(wanted).collect()
}

fn info<'t>(process: &'t Process, cgroup_path: &'t str, memory: Option<u64>) -> Info<'t> {
    let Process { pid, parent_pid, uid, command, resident_bytes, virtual_bytes, processor, .. } = process;
    Info {
        user: uid.to_string(),
        pid: *pid,
        parent_pid: *parent_pid,
        start_time: start_time(process.started, process.age),
        percent_cpu: percent(process.cpu.as_nanos(), process.age.as_nanos()).unwrap_or(0.0),
        percent_mem: memory.and_then(|total| percent(u128::from(*resident_bytes), total.into())),
        rss: *resident_bytes,
        virtual_size: *virtual_bytes,
        status: status(process),
        running_time: running_time(process.cpu),
        cgroup_path,
        cmd: command,
        psr: *processor,
    }
}

/// In whole tenths, rounded down, as `ps` prints it; of a process of several threads it may be above 100.
fn percent(part: u128, whole: u128) -> Option<f64> {
    let tenths = part.saturating_mul(1000).checked_div(whole)?;
    // There are no more tenths than this in what a machine of a thousand processors could use.
    Some(f64::from(u32::try_from(tenths).unwrap_or(u32::MAX)) / 10.0)
}

/// The time of the day for what began today, else the day, else the year; in UTC, where `ps` in an image is too.
fn start_time(started: WallTime, age: Duration) -> String {
    let at = |nanos: u64| {
        let time = Timestamp::from_nanosecond(i128::from(nanos)).unwrap_or(Timestamp::UNIX_EPOCH);
        time.to_zoned(TimeZone::UTC)
    };
    let nanos = u64::try_from(age.as_nanos()).unwrap_or(u64::MAX);
    let (now, began) = (at(started.as_unix_nanos().saturating_add(nanos)), at(started.as_unix_nanos()));
    let format = match (now.year() == began.year(), now.date() == began.date()) {
        (_, true) => "%H:%M",
        (true, false) => "%b%d",
        (false, false) => "%Y",
    };
    began.strftime(format).to_string()
}

/// CPU time as `[days-]hours:minutes:seconds`.
fn running_time(cpu: Duration) -> String {
    let seconds = cpu.as_secs();
    let (days, hours, minutes) = (seconds / 86_400, seconds / 3600 % 24, seconds / 60 % 60);
    let days = if days > 0 { format!("{days}-") } else { String::new() };
    format!("{days}{hours:02}:{minutes:02}:{:02}", seconds % 60)
}

/// The state and what `ps` puts behind it, but `L`: pages that are locked stand in another file.
fn status(process: &Process) -> String {
    let marks = [
        (process.nice < 0, '<'),
        (process.nice > 0, 'N'),
        (process.leads_session, 's'),
        (process.threads > 1, 'l'),
        (process.is_in_foreground, '+'),
    ];
    let marks = marks.into_iter().filter_map(|(holds, mark)| holds.then_some(mark));
    std::iter::once(process.state).chain(marks).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: u64 = 86_400;

    fn process() -> Process {
        Process {
            pid: 7,
            parent_pid: 1,
            uid: 1000,
            command: "app".into(),
            state: 'S',
            nice: 0,
            threads: 1,
            leads_session: false,
            is_in_foreground: false,
            cpu: Duration::ZERO,
            age: Duration::ZERO,
            started: WallTime::default(),
            virtual_bytes: 0,
            resident_bytes: 0,
            processor: 0,
            cgroup: 0,
        }
    }

    #[test]
    fn a_start_is_the_hour_today_the_day_this_year_and_the_year_before() {
        // 2026-11-21T01:02:03Z.
        let now = 1_795_222_923;
        let shown = |age: u64| {
            let started = WallTime::from_unix_nanos((now - age) * 1_000_000_000);
            start_time(started, Duration::from_secs(age))
        };
        assert_eq!([shown(0), shown(3600), shown(3724)], ["01:02", "00:02", "Nov20"]);
        assert_eq!([shown(200 * DAY), shown(330 * DAY)], ["May05", "2025"]);
        assert_eq!(start_time(WallTime::from_unix_nanos(u64::MAX), Duration::MAX).len(), 5);
    }

    #[test]
    fn cpu_time_has_days_only_where_there_are_some() {
        let shown = [0, 17, 3661, DAY - 1, 12 * DAY + 1].map(|s| running_time(Duration::from_secs(s)));
        assert_eq!(shown, ["00:00:00", "00:00:17", "01:01:01", "23:59:59", "12-00:00:01"]);
    }

    #[test]
    fn shares_are_whole_tenths_and_of_nothing_there_is_none() {
        assert_eq!(percent(17, 161), Some(10.5));
        assert_eq!((percent(7, 2), percent(0, 5), percent(5, 0)), (Some(350.0), Some(0.0), None));
        assert!(percent(u128::MAX, 1).is_some_and(f64::is_finite));
    }

    #[test]
    fn marks_stand_in_the_order_of_ps() {
        let all = Process {
            nice: -5,
            threads: 9,
            leads_session: true,
            is_in_foreground: true,
            state: 'R',
            ..process()
        };
        assert_eq!(status(&all), "R<sl+");
        assert_eq!(
            (status(&process()), status(&Process { nice: 19, ..process() })),
            ("S".into(), "SN".into())
        );
    }
}
