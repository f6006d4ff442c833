//! A `/proc` made by hand, in which processes come, go and give their numbers to others: `7474 (sh) S 6945 …`.

use std::fs;
use std::path::PathBuf;

use proptest::prelude::*;

use super::super::fault::{self, Fault};
use super::*;
use crate::model::time::{Monotonic, WallTime};

const UNITS: Units = Units { hertz: 100, page: 4096 };
const SECOND: u64 = 1_000_000_000;
const NOW: ClockPair = ClockPair {
    monotonic: Monotonic::from_nanos(5_000 * SECOND),
    wall: WallTime::from_unix_nanos(9_000 * SECOND),
};

/// Of a process that was started 100 s after the node.
fn stat_of(pid: u32, command: &str) -> String {
    format!(
        "{pid} ({command}) S 7 {pid} {pid} 34816 {pid} 4194304 99 0 0 0 1025 50 0 0 30 -10 3 0 10000 2322432 411 \
         18446744073709551615 1 1 0 0 0 0 0 0 65536 1 0 0 17 5 0 0 0 0 0 0 0 0 0 0 0 0 0\n"
    )
}

fn parse(stat: &[u8]) -> Option<Process> {
    parse_stat(stat, UNITS, Duration::from_secs(200), NOW)
}

/// A `/proc` of our own.
struct Fixture {
    root: HostRoot,
    at: PathBuf,
}

impl Fixture {
    fn new(name: &str) -> Self {
        let at = std::env::temp_dir().join(format!("podvitals-table-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&at);
        let fixture = Self { root: HostRoot { proc: at.clone(), cgroup: at.clone(), sys: at.clone() }, at };
        fixture.put(1, "init", "0::/../../init.scope\n");
        fixture
    }

    fn put(&self, pid: u32, command: &str, cgroup: &str) {
        let directory = self.at.join(pid.to_string());
        fs::create_dir_all(&directory).unwrap();
        fs::write(directory.join("cgroup"), cgroup).unwrap();
        fs::write(directory.join("stat"), stat_of(pid, command)).unwrap();
    }

    fn remove(&self, pid: u32) {
        let _ = fs::remove_dir_all(self.at.join(pid.to_string()));
    }

    fn list(&self) -> Result<ProcessTable, Errno> {
        list(&self.root, &Health::default())
    }
}

impl Drop for Fixture {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.at);
    }
}

fn pod(digit: &str) -> String {
    format!("pod0a1b2c3d-0000-4000-8000-00000000000{digit}")
}

fn in_pod(pod_digit: &str, id_digit: &str) -> String {
    format!("/kubepods/burstable/{}/{}", pod(pod_digit), id_digit.repeat(64))
}

/// Names with the last digit of the pod, in order.
fn told(table: &ProcessTable) -> Vec<(u32, &str, Option<&str>)> {
    let pod = |process| table.cgroup(process)?.pod.as_ref().map(|uid| &uid.as_str()[35..]);
    table.processes.iter().map(|process| (process.pid, &*process.command, pod(process))).collect()
}

#[test]
fn each_field_of_stat_is_found_behind_any_name() {
    for name in ["sh", "a) R 1 (b", ") Z 0 (", "((", "", "two\nlines) S 1", "(sd-pam)", "ein Häuschen"] {
        let process = parse(stat_of(812, name).as_bytes()).unwrap();
        let expected = Process {
            pid: 812,
            parent_pid: 7,
            uid: 0,
            command: name.into(),
            state: 'S',
            nice: -10,
            threads: 3,
            leads_session: true,
            is_in_foreground: true,
            cpu: Duration::from_millis(10_750),
            age: Duration::from_secs(100),
            started: WallTime::from_unix_nanos(8_900 * SECOND),
            virtual_bytes: 2_322_432,
            resident_bytes: 411 * 4096,
            processor: 5,
            cgroup: 0,
        };
        assert_eq!(process, expected);
    }
    let odd = parse(b"812 (\xff\xfe) S 7 812 812 34816 812 0 0 0 0 0 1 1 0 0 0 0 1 0 1 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 5\n");
    assert_eq!(&*odd.unwrap().command, "\u{fffd}\u{fffd}");
}

#[test]
fn who_has_no_terminal_leads_nothing_and_may_be_of_another_session() {
    let stat = stat_of(812, "sh").replacen("S 7 812 812 34816 812", "S 7 812 811 0 -1", 1);
    let process = parse(stat.as_bytes()).unwrap();
    assert!(!process.leads_session && !process.is_in_foreground);
}

#[test]
fn every_cut_of_a_stat_is_refused() {
    let whole = stat_of(812, "a) R 1 (b\n");
    for end in 0..whole.len() {
        assert_eq!(parse(&whole.as_bytes()[..end]), None, "cut at {end}");
    }
}

#[test]
fn a_process_that_seems_to_come_from_the_future_was_started_now() {
    let process = parse_stat(stat_of(812, "sh").as_bytes(), UNITS, Duration::from_secs(99), NOW).unwrap();
    assert_eq!((process.age, process.started), (Duration::ZERO, NOW.wall));
}

proptest! {
    #[test]
    fn any_bytes_are_a_process_or_none(text: Vec<u8>, hertz: u32, seconds: u32) {
        let units = Units { hertz: hertz.into(), page: 65_536 };
        let _ = parse_stat(&text, units, Duration::from_secs(seconds.into()), NOW);
        let _ = (ids_of(CgroupLines::of(&text)), line_of(CgroupLines::of(&text)));
    }

    #[test]
    fn any_numbers_are_a_process_or_none(numbers in prop::collection::vec(any::<i64>(), 50), name: String) {
        let numbers: Vec<String> = numbers.iter().map(ToString::to_string).collect();
        let stat = format!("7 ({name}) R {}\n", numbers.join(" "));
        let process = parse(stat.as_bytes());
        prop_assert!(process.is_none_or(|process| process.pid == 7 && *process.command == *name));
    }
}

#[test]
fn processes_have_the_pod_and_the_container_of_their_lines() {
    let proc = Fixture::new("whose");
    proc.put(30, "web", &format!("4:memory:{0}\n3:cpu,cpuacct:{0}\n0::/\n", in_pod("1", "a")));
    // Below the container, of a pod whose slice systemd made, and a neighbour in our own pod.
    proc.put(
        7,
        "db",
        &format!("0::/../../pod0a1b2c3d_0000_4000_8000_000000000002.slice/{}/inner\n", "b".repeat(64)),
    );
    proc.put(8, "near", &format!("0::/../{}\n", "c".repeat(64)));
    proc.put(9, "sshd", "0::/../../system.slice/ssh.service\n");
    // Two pods, and two containers of one.
    proc.put(10, "moved", &format!("4:memory:{}\n3:cpu:{}\n", in_pod("1", "a"), in_pod("2", "a")));
    proc.put(11, "half", &format!("4:memory:{}\n3:cpu:{}\n", in_pod("1", "a"), in_pod("1", "b")));
    let table = proc.list().unwrap();
    let all = [(1, "init", None), (7, "db", None), (8, "near", None), (9, "sshd", None), (10, "moved", None)];
    let expected: Vec<_> = all.into_iter().chain([(11, "half", None), (30, "web", Some("1"))]).collect();
    assert_eq!(told(&table), expected);
    let ids: Vec<_> = table.processes.iter().map(|it| table.cgroup(it).unwrap()).collect();
    let first = |of: &ProcessCgroup| of.container.as_ref().map(|id| id.as_str()[..1].to_owned());
    assert_eq!(
        ids.iter().map(|it| first(it)).collect::<Vec<_>>()[1..],
        [None, Some("c".into()), None, None, None, Some("a".into())]
    );
    assert_eq!(ids[0].path.as_deref(), Some("/init.scope"));
    assert_eq!(ids[3].path.as_deref(), Some("/system.slice/ssh.service"));
    assert_eq!(ids[2].path, None, "nobody tells what lies above it");
}

#[test]
fn processes_of_one_cgroup_share_a_row() {
    let proc = Fixture::new("rows");
    for pid in 2..50 {
        proc.put(pid, "worker", "0::/../../init.scope\n");
    }
    let table = proc.list().unwrap();
    assert_eq!((table.processes.len(), table.cgroups.len()), (49, 1));
}

#[test]
fn what_is_no_process_and_what_makes_no_sense_is_left_out_and_counted_once() {
    let proc = Fixture::new("odd");
    fs::create_dir_all(proc.at.join("sys")).unwrap();
    proc.put(7, "one", "0::/\n");
    for pid in [8, 9] {
        proc.put(pid, "two", "0::/\n");
        fs::write(proc.at.join(format!("{pid}/stat")), "8 (two) S 1 \n").unwrap();
    }
    // Of another process by its own word.
    proc.put(10, "three", "0::/\n");
    fs::write(proc.at.join("10/stat"), stat_of(11, "three")).unwrap();
    let health = Health::default();
    let table = list(&proc.root, &health).unwrap();
    assert_eq!(told(&table), [(1, "init", None), (7, "one", None)]);
    assert_eq!(health.counted(Room::Host, Trouble::Malformed), 1);
}

/// What happens to the one process before each call of the kernel in turn: what is told of it then.
fn at_every_call(
    name: &str,
    happens: impl Fn(&Fixture) + Clone + 'static,
) -> Vec<(u32, String, Option<String>)> {
    let calls = {
        let proc = Fixture::new(name);
        proc.put(7, "before", &format!("0::{}\n", in_pod("1", "a")));
        fault::record(|| proc.list().unwrap()).1.len()
    };
    let mut seen = Vec::new();
    for call in 0..calls {
        let proc = std::rc::Rc::new(Fixture::new(name));
        proc.put(7, "before", &format!("0::{}\n", in_pod("1", "a")));
        let (here, happens) = (proc.clone(), happens.clone());
        let (table, ..) = fault::at(call, Fault::Before(Box::new(move || happens(&here))), || proc.list());
        let table = table.unwrap();
        seen.extend(
            told(&table)
                .into_iter()
                .filter(|it| it.0 == 7)
                .map(|(pid, name, pod)| (pid, name.to_owned(), pod.map(str::to_owned))),
        );
    }
    seen
}

#[test]
fn a_process_that_ends_at_any_moment_is_told_whole_or_not_at_all() {
    let seen = at_every_call("ends", |proc| proc.remove(7));
    assert!(!seen.is_empty(), "before it is looked at, and after");
    assert!(seen.iter().all(|it| *it == (7, "before".to_owned(), Some("1".to_owned()))), "{seen:?}");
}

#[test]
fn a_number_that_is_given_again_at_any_moment_is_of_one_process_or_the_other() {
    let seen = at_every_call("again", |proc| {
        fs::rename(proc.at.join("7"), proc.at.join("gone")).unwrap();
        proc.put(7, "after", &format!("0::{}\n", in_pod("2", "b")));
    });
    let one = |name: &str, pod: &str| (7, name.to_owned(), Some(pod.to_owned()));
    let (before, after) = (one("before", "1"), one("after", "2"));
    assert!(seen.contains(&before) && seen.contains(&after), "{seen:?}");
    assert!(seen.iter().all(|it| *it == before || *it == after), "{seen:?}");
}

#[test]
fn whatever_fails_no_list_is_short_without_a_word() {
    let proc = Fixture::new("fails");
    for (pid, digit) in [(7, "a"), (8, "b")] {
        proc.put(pid, "app", &format!("0::{}\n", in_pod("1", digit)));
    }
    let whole = proc.list().unwrap();
    let calls = fault::record(|| proc.list().unwrap()).1;
    for (at, call) in calls.iter().enumerate() {
        for way in fault::ways_to_fail(call) {
            let (said, health) = (format!("{way:?} at {call:?}"), Health::default());
            let ended = matches!(way, Fault::Errno(Errno::NOENT | Errno::NODEV | Errno::SRCH));
            let (table, ..) = fault::at(at, way, || list(&proc.root, &health));
            let Ok(table) = table else { continue };
            for process in &table.processes {
                let right = whole.processes.iter().find(|it| it.pid == process.pid).unwrap();
                let same = (&right.command, whole.cgroup(right).map(|it| &it.pod));
                assert_eq!((&process.command, table.cgroup(process).map(|it| &it.pod)), same, "{said}");
            }
            let is_whole = table.processes.len() == whole.processes.len();
            let counted = |trouble| health.counted(Room::Host, trouble) > 0;
            assert!(is_whole || ended || counted(Trouble::Denied) || counted(Trouble::Malformed), "{said}");
        }
    }
}

#[test]
fn a_proc_that_cannot_be_listed_is_counted_and_said() {
    let nowhere = PathBuf::from("/nonexistent");
    let (root, health) =
        (HostRoot { proc: nowhere.clone(), cgroup: nowhere.clone(), sys: nowhere }, Health::default());
    assert!(matches!(read(&root, &health), Err(Unlisted::Host(HostError::Gone { .. }))));
    assert_eq!(health.counted(Room::Host, Trouble::Gone), 1);
}

#[test]
fn where_only_our_own_can_be_seen_there_is_no_list() {
    let proc = Fixture::new("hidden");
    proc.remove(1);
    proc.put(7, "own", "0::/\n");
    // Fixtures belong to whoever runs the test, as hidepid leaves it.
    let error = read(&proc.root, &Health::default()).unwrap_err();
    assert!(error.to_string().contains("hidepid"), "{error}");
    proc.put(1, "init", "0::/\n");
    assert_eq!(read(&proc.root, &Health::default()).unwrap().processes.len(), 2);
}

#[test]
fn the_real_proc_tells_of_us_what_the_kernel_does() {
    let root = HostRoot { proc: "/proc".into(), cgroup: "/sys/fs/cgroup".into(), sys: "/sys".into() };
    let mut child = std::process::Command::new("sleep").arg("60").spawn().unwrap();
    let table = read(&root, &Health::default()).unwrap();
    let find = |pid| table.processes.iter().find(|process| process.pid == pid).unwrap();
    let (own, sleeper) = (find(std::process::id()), find(child.id()));
    child.kill().unwrap();
    child.wait().unwrap();
    assert_eq!((&*sleeper.command, sleeper.parent_pid, sleeper.threads), ("sleep", own.pid, 1));
    assert!(sleeper.age < Duration::from_secs(20) && own.age >= sleeper.age, "{sleeper:?}");
    assert_eq!(own.uid, rustix::process::geteuid().as_raw());
    assert!(own.resident_bytes > 1 << 20 && own.virtual_bytes >= own.resident_bytes, "{own:?}");
    assert!(!table.processes.iter().any(|process| process.pid == 0));
}
