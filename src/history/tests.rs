//! What is kept, for how long, in how many bytes; and what ended.

use super::ENDED;
use super::Recorder;
use super::digesting;
use crate::model::history::Cause;
use crate::model::history::CgroupSample;
use crate::model::history::Digest;
use crate::model::history::Ended;
use crate::model::history::Final;
use crate::model::history::Frame;
use crate::model::history::NodeSample;
use crate::model::history::PodSample;
use crate::model::history::Shelf;
use crate::model::history::Spread;
use crate::model::history::Used;
use crate::model::identity::ContainerState;
use crate::model::identity::KnownContainer;
use crate::model::snapshot::IoRates;
use crate::model::snapshot::NetworkRates;
use crate::model::snapshot::Rate;
use crate::model::snapshot::Snapshot;
use crate::model::target::TargetId;
use crate::model::target::TargetSet;
use crate::model::time::Monotonic;
use crate::model::unavailable::Unavailable;
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use super::made_up::Made;
use super::made_up::SECOND;
use super::made_up::container_id;
use super::made_up::foreseen;
use super::made_up::known_container;
use super::made_up::made;
use super::made_up::pod_id;
use super::made_up::pod_target;
use super::made_up::snapshot;
use super::made_up::targets;
use super::made_up::uid;

const MINUTE: Duration = Duration::from_secs(60);

fn all(shelf: &Shelf) -> Vec<Arc<Frame>> {
    shelf.frames(u64::MAX, |_| true)
}

/// Bytes of the frames on the shelf, of each name in them once, and of what ended.
fn held(shelf: &Shelf) -> usize {
    let (mut names, mut bytes) = (HashSet::new(), 0);
    for frame in all(shelf) {
        bytes += frame.bytes();
        if !names.insert(Arc::as_ptr(&frame.roster).cast::<()>()) {
            continue;
        }
        bytes += size_of_val(&*frame.roster.pods) + size_of_val(&*frame.roster.containers);
        for entry in &frame.roster.pods {
            bytes += if names.insert(Arc::as_ptr(&entry.pod).cast()) { entry.pod.bytes() } else { 0 };
        }
        for container in &frame.roster.containers {
            bytes += if names.insert(Arc::as_ptr(container).cast()) { container.bytes() } else { 0 };
        }
    }
    let digests = shelf.change_digests(|digests| digests.values().map(Digest::lists).sum::<usize>());
    bytes + shelf.ended(u64::MAX).iter().map(|ended| ended.bytes()).sum::<usize>() + digests
}

fn ends(recorder: &Recorder) -> Vec<Arc<Ended>> {
    recorder.shelf().ended(u64::MAX)
}

#[test]
fn a_frame_brings_back_what_was_shown_bit_for_bit() {
    let pods = foreseen();
    let shown = snapshot(812, &pods, &targets(&pods));
    let mut recorder = Recorder::new(MINUTE, shown.interval);
    recorder.record(None, &shown);
    let frames = all(recorder.shelf());
    let frame = &frames[0];
    assert_eq!((frames.len(), frame.tick, frame.clock), (1, 812, shown.clock));
    assert_eq!(frame.node(), Some(NodeSample::of(&shown.node)));
    for (at, pod) in shown.pods.iter().enumerate() {
        assert_eq!(frame.pod(at), Some(PodSample::of(pod)));
        assert_eq!(frame.roster.pods[at].pod.runtime_uid, uid(at as u64));
        let names = frame.roster.containers_of(at).map(|(_, container)| container.id.clone());
        assert_eq!(
            names.collect::<Vec<_>>(),
            pods[at].containers.iter().map(|id| container_id(*id)).collect::<Vec<_>>()
        );
    }
    for (at, container) in shown.containers.iter().enumerate() {
        assert_eq!(frame.container(at), Some(CgroupSample::of(&container.cgroup)));
    }
    assert_eq!((frame.pod(110), frame.container(220)), (None, None));
    let rows = 330;
    assert!(frame.bytes() <= rows * Frame::BYTES_PER_ROW, "{} bytes for {rows} busy rows", frame.bytes());
}

#[test]
fn what_is_idle_takes_less() {
    let pods = foreseen();
    let mut shown = snapshot(812, &pods, &targets(&pods));
    let of_pods = shown.pods.iter_mut().map(|pod| &mut pod.cgroup);
    for cgroup in of_pods.chain(shown.containers.iter_mut().map(|container| &mut container.cgroup)) {
        let (cpu, io) = (cgroup.cpu.as_mut().unwrap(), cgroup.io.as_mut().unwrap());
        cpu.value.cores = cpu.value.cores.map(|rate| Rate { per_second: 0.0, ..rate });
        cpu.value.counters.throttling = Err(Unavailable::ControllerOff);
        io.value.rates = io.value.rates.map(|rate| Rate { per_second: IoRates::default(), ..rate });
    }
    for network in shown.pods.iter_mut().filter_map(|pod| pod.network.as_mut().ok()) {
        network.value.rates =
            network.value.rates.map(|rate| Rate { per_second: NetworkRates::default(), ..rate });
    }
    let mut recorder = Recorder::new(MINUTE, shown.interval);
    recorder.record(None, &shown);
    let bytes = all(recorder.shelf())[0].bytes();
    assert!(bytes <= 330 * 93, "{bytes} bytes for 330 idle rows");
}

#[test]
fn five_minutes_of_what_was_foreseen_fit() {
    let pods = foreseen();
    let targets = targets(&pods);
    let mut recorder = Recorder::new(5 * MINUTE, Duration::from_secs(1));
    for tick in 1..=700 {
        recorder.record(None, &snapshot(tick, &pods, &targets));
    }
    let shelf = recorder.shelf();
    assert_eq!(shelf.covered(), 5 * MINUTE, "in {} of {} bytes", shelf.bytes(), shelf.limit_bytes());
    assert_eq!(all(shelf).len(), 301);
    assert!(shelf.limit_bytes() < 18 << 20, "{}", shelf.limit_bytes());
    assert!(shelf.bytes() <= shelf.limit_bytes() && shelf.bytes() >= held(shelf));
}

#[test]
fn of_a_larger_node_less_is_kept_and_the_newest_of_it() {
    let pods: Vec<Made> = (0..500).map(|pod| made(pod, pod * 4..pod * 4 + 4)).collect();
    let targets = targets(&pods);
    let mut recorder = Recorder::new(5 * MINUTE, Duration::from_secs(1));
    for tick in 1..=200 {
        recorder.record(None, &snapshot(tick, &pods, &targets));
        assert!(recorder.shelf().bytes() <= recorder.shelf().limit_bytes());
    }
    let digests = recorder.shelf().change_digests(|digests| digests.len());
    assert_eq!(digests, 1536, "of 2,501 cgroups");
    let ticks: Vec<u64> = all(recorder.shelf()).iter().map(|frame| frame.tick).collect();
    assert_eq!(ticks.last(), Some(&200));
    assert!((30..60).contains(&ticks.len()), "{} frames of 2,500 rows", ticks.len());
    assert!(ticks.windows(2).all(|pair| pair[1] == pair[0] + 1), "without gaps");
}

#[test]
fn a_node_of_which_not_one_frame_fits_is_not_kept_and_costs_nothing() {
    let pods: Vec<Made> = (0..2_000).map(|pod| made(pod, pod * 8..pod * 8 + 8)).collect();
    let targets = targets(&pods);
    let mut recorder = Recorder::new(Duration::from_secs(1), Duration::from_secs(1));
    recorder.record(None, &snapshot(1, &pods, &targets));
    let shelf = recorder.shelf();
    assert_eq!(all(shelf).len(), 0);
    let bytes = shelf.bytes() - shelf.change_digests(|digests| digesting::bytes(digests));
    assert!(bytes < 64 << 10, "{bytes} bytes for nothing");
    let few = &pods[..2];
    recorder.record(None, &snapshot(2, few, &self::targets(few)));
    assert_eq!(all(recorder.shelf()).len(), 1, "it goes on once there is room");
}

#[test]
fn frames_are_a_second_apart_where_sweeps_are_closer_and_as_old_as_they_may_be() {
    let pods = [made(1, [1])];
    let targets = targets(&pods);
    let interval = Duration::from_millis(100);
    let mut recorder = Recorder::new(Duration::from_secs(10), interval);
    for sweep in 0..300 {
        let mut shown = snapshot(sweep, &pods, &targets);
        // A sweep is a little early or late.
        let at = SECOND + sweep * SECOND / 10 + sweep % 3 * 1_000_000;
        shown.clock.monotonic = Monotonic::from_nanos(at);
        shown.interval = interval;
        recorder.record(None, &shown);
    }
    let frames = all(recorder.shelf());
    let ticks: Vec<u64> = frames.iter().map(|frame| frame.tick).collect();
    assert_eq!(ticks, [200, 210, 220, 230, 240, 250, 260, 270, 280, 290]);
}

#[test]
fn frames_are_a_second_apart_on_average_whatever_the_interval() {
    let pods = [made(1, [1])];
    let targets = targets(&pods);
    for millis in [300, 450, 667, 700, 999] {
        let interval = Duration::from_millis(millis);
        let mut recorder = Recorder::new(MINUTE, interval);
        for sweep in 0..200_000 / millis {
            let mut shown = snapshot(sweep, &pods, &targets);
            shown.clock.monotonic = Monotonic::from_nanos(sweep * millis * 1_000_000);
            shown.interval = interval;
            recorder.record(None, &shown);
        }
        let (frames, shelf) = (all(recorder.shelf()).len(), recorder.shelf());
        assert!((60..=61).contains(&frames), "{frames} frames in a minute, each {millis} ms a sweep");
        let hour =
            shelf.digest(Some(TargetId(1))).unwrap().used(60 * MINUTE, Monotonic::from_nanos(200 * SECOND));
        assert!((199..=201).contains(&hour.memory.count), "{} samples in 200 s, {millis}", hour.memory.count);
    }
}

#[test]
fn without_history_nothing_is_kept() {
    let pods = [made(1, [1])];
    let (before, after) = (snapshot(1, &pods, &targets(&pods)), snapshot(2, &[], &targets(&[])));
    let mut recorder = Recorder::new(Duration::ZERO, Duration::from_secs(1));
    recorder.record(None, &before);
    recorder.record(Some(&before), &after);
    let shelf = recorder.shelf();
    assert!(shelf.is_off());
    assert_eq!((all(shelf).len(), ends(&recorder).len(), shelf.limit_bytes(), shelf.bytes()), (0, 0, 0, 0));
}

#[test]
fn a_digest_is_of_one_cgroup_for_as_long_as_it_lives() {
    let (first, second) = ([made(1, [10, 11]), made(2, [20])], [made(1, [11, 12])]);
    let digest = |recorder: &Recorder, id: Option<u64>| {
        let digest = recorder.shelf().digest(id.map(TargetId))?;
        let used = digest.used(MINUTE, Monotonic::from_nanos(5 * SECOND));
        let Used { covered, millicores, memory } = used;
        assert_eq!(covered.as_secs(), u64::from(memory.count), "{id:?}");
        Some((millicores.count, millicores.max.round(), memory.max))
    };
    let mut recorder = Recorder::new(MINUTE, Duration::from_secs(1));
    for (tick, pods) in (1..).zip([&first[..], &first, &second, &second, &second]) {
        recorder.record(None, &snapshot(tick, pods, &targets(pods)));
    }
    let told = [10, 11, 12, 20, pod_id(1), pod_id(2)].map(|id| digest(&recorder, Some(id)));
    // See `figures`.
    let busy = |unit: u64| ((37_000_000 + unit * 1_009_000) / 1_000_000) as f32;
    let working_set = |unit: u64| (160 << 20) as f32 + (unit * 4096) as f32;
    assert_eq!(
        told,
        [
            None,
            Some((5, busy(11), working_set(11))),
            Some((3, busy(12), working_set(12))),
            None,
            Some((5, busy(1001), working_set(1001))),
            None,
        ]
    );
    let node = recorder.shelf().digest(None).unwrap().used(MINUTE, Monotonic::from_nanos(5 * SECOND));
    let nothing = Spread::default();
    assert_eq!((node.covered.as_secs(), node.millicores, node.memory), (5, nothing, nothing));
}

#[test]
fn what_ended_is_kept_with_the_last_that_was_read_of_it() {
    let before = [made(1, [10, 11]), made(2, [20])];
    let first = snapshot(7, &before, &targets(&before));
    let after = [made(1, [11])];
    let second = snapshot(8, &after, &targets(&after));
    let mut recorder = Recorder::new(MINUTE, Duration::from_secs(1));
    recorder.record(None, &first);
    recorder.record(Some(&first), &second);
    let ended = ends(&recorder);
    let told: Vec<_> = ended
        .iter()
        .map(|ended| {
            let container = ended.container().map(|container| container.id.clone());
            (ended.pod.runtime_uid.clone(), container, ended.cause.clone(), ended.last_tick, ended.gone_tick)
        })
        .collect();
    assert_eq!(
        told,
        [
            (uid(1), Some(container_id(10)), Cause::ContainerGone, 7, 8),
            (uid(2), Some(container_id(20)), Cause::PodGone, 7, 8),
            (uid(2), None, Cause::PodGone, 7, 8),
        ]
    );
    let Final::Container(_, last) = &ended[0].what else { unreachable!("a container ended first") };
    assert_eq!(*last, CgroupSample::of(&first.containers[0].cgroup));
    let Final::Pod(last) = &ended[2].what else { unreachable!("the pod ended last") };
    assert_eq!(*last, PodSample::of(&first.pods[1]));
    assert_eq!(recorder.shelf().ended(7).len(), 0, "in sweep 7 nothing had ended");
    assert_eq!(ended[0].pod.name.as_deref(), Some("web-1"));
}

#[test]
fn a_reason_that_is_told_later_is_taken_over() {
    let pods = [made(1, [10, 11])];
    let first = snapshot(1, &pods, &targets(&pods));
    let left = [made(1, [11])];
    let second = snapshot(2, &left, &targets(&left));
    let mut recorder = Recorder::new(MINUTE, Duration::from_secs(1));
    recorder.record(Some(&first), &second);
    assert_eq!(ends(&recorder)[0].cause, Cause::ContainerGone);

    let told = |state: ContainerState, reason: &str| {
        let mut pod = pod_target(&left[0]);
        let mut known = (**pod.known.as_ref().unwrap()).clone();
        let reason = Some(reason.into());
        known.containers.push(KnownContainer { state, state_reason: reason, ..known_container(10) });
        pod.known = Some(Arc::new(known));
        snapshot(
            3,
            &left,
            &Arc::new(TargetSet { generation: 2, pods: vec![Arc::new(pod)], ..TargetSet::default() }),
        )
    };
    let waits = told(ContainerState::Waiting, "OOMKilled");
    recorder.record(Some(&second), &waits);
    assert_eq!(ends(&recorder)[0].cause, Cause::ContainerGone, "why it waits is not why it ended");
    // The last word counts: that it was killed for lack of memory may be known later than its exit code.
    let error = told(ContainerState::Terminated, "Error");
    recorder.record(Some(&waits), &error);
    assert_eq!(ends(&recorder)[0].cause.word(), "Error");
    recorder.record(Some(&error), &told(ContainerState::Terminated, "OOMKilled"));
    assert_eq!(ends(&recorder)[0].cause.word(), "OOMKilled");
}

#[test]
fn what_is_back_has_not_ended_and_what_was_the_sandbox_was_no_container() {
    let pods = [made(1, [10, 11])];
    let first = snapshot(1, &pods, &targets(&pods));
    let none = snapshot(2, &[], &targets(&[]));
    let mut recorder = Recorder::new(MINUTE, Duration::from_secs(1));
    recorder.record(Some(&first), &none);
    assert_eq!(ends(&recorder).len(), 3);
    let one_is_back = [made(1, [11])];
    recorder.record(Some(&none), &snapshot(3, &one_is_back, &targets(&one_is_back)));
    let still: Vec<_> = ends(&recorder).iter().map(|ended| ended.container().unwrap().id.clone()).collect();
    assert_eq!(still, [container_id(10)]);

    let unsettled = |known: bool| {
        let mut pod = pod_target(&pods[0]);
        pod.sandbox_settled = false;
        if !known {
            pod.containers.iter_mut().for_each(|child| child.known = None);
        }
        snapshot(
            1,
            &pods,
            &Arc::new(TargetSet { generation: 1, pods: vec![Arc::new(pod)], ..TargetSet::default() }),
        )
    };
    let settled = {
        let mut pod = pod_target(&made(1, []));
        pod.sandbox = pod_target(&pods[0]).containers.into_iter().next();
        let pods = [made(1, [])];
        snapshot(
            2,
            &pods,
            &Arc::new(TargetSet { generation: 2, pods: vec![Arc::new(pod)], ..TargetSet::default() }),
        )
    };
    let ended_of = |first: &Snapshot| {
        let mut recorder = Recorder::new(MINUTE, Duration::from_secs(1));
        recorder.record(Some(first), &settled);
        ends(&recorder).iter().map(|ended| ended.container().unwrap().id.clone()).collect::<Vec<_>>()
    };
    assert_eq!(ended_of(&first), [container_id(11)], "the first is the sandbox");
    assert_eq!(ended_of(&unsettled(true)), [container_id(11)]);
    assert_eq!(ended_of(&unsettled(false)), [], "either may have been the sandbox");
}

#[test]
fn what_ended_is_forgotten_with_time_and_beyond_a_number() {
    let mut recorder = Recorder::new(MINUTE, Duration::from_secs(1));
    let pods: Vec<Made> = (0..400).map(|pod| made(pod, [])).collect();
    let (first, none) = (snapshot(1, &pods, &targets(&pods)), snapshot(2, &[], &targets(&[])));
    recorder.record(Some(&first), &none);
    let kept = ends(&recorder);
    assert_eq!(kept.len(), ENDED);
    assert_eq!(kept.last().unwrap().pod.runtime_uid, uid(399), "the oldest go first");
    let much_later = |tick| snapshot(tick, &[], &none.targets);
    recorder.record(Some(&none), &much_later(62));
    assert_eq!(ends(&recorder).len(), ENDED, "a minute ago is within the minute");
    recorder.record(Some(&none), &much_later(63));
    assert_eq!(ends(&recorder).len(), 0);
}

#[test]
fn names_are_shared_between_frames_until_they_change() {
    let pods = foreseen();
    let (one, other) = (targets(&pods), targets(&pods));
    let mut recorder = Recorder::new(MINUTE, Duration::from_secs(1));
    recorder.record(None, &snapshot(1, &pods, &one));
    recorder.record(None, &snapshot(2, &pods, &other));
    let mut fewer = pods.clone();
    fewer.remove(5);
    recorder.record(None, &snapshot(3, &fewer, &targets(&fewer)));
    let rosters: Vec<_> = all(recorder.shelf()).iter().map(|frame| frame.roster.clone()).collect();
    assert!(Arc::ptr_eq(&rosters[0], &rosters[1]), "new targets of the same names");
    assert!(Arc::ptr_eq(&rosters[0].pods[6].pod, &rosters[2].pods[5].pod), "who stays keeps its name");
    assert_eq!(rosters[2].find(&uid(5)), None);
    assert_eq!(Arc::strong_count(&one), 1, "no frame holds targets, and with them descriptors");
}

/// Pods by number: how many containers each has, from which number on.
fn nodes() -> impl Strategy<Value = Vec<BTreeMap<u64, (u64, u64)>>> {
    let node = prop::collection::btree_map(0..400_u64, (0..5_u64, 0..3_u64), 0..300);
    prop::collection::vec(node, 1..40)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn the_bytes_are_never_exceeded_and_nothing_is_left_out_of_the_account(
        nodes in nodes(), seconds in 1..40_u64, long in 0..300_usize,
    ) {
        let mut recorder = Recorder::new(Duration::from_secs(seconds), Duration::from_secs(1));
        let mut before: Option<Snapshot> = None;
        for (tick, node) in (1..).zip(&nodes) {
            let pods: Vec<Made> = node
                .iter()
                .map(|(pod, (count, life))| Made {
                    name: "x".repeat(if pod % 3 == 0 { long } else { 4 }),
                    ..made(*pod, (0..*count).map(|at| pod * 100 + life * 10 + at))
                })
                .collect();
            let shown = snapshot(tick, &pods, &targets(&pods));
            recorder.record(before.as_ref(), &shown);
            let shelf = recorder.shelf();
            prop_assert!(shelf.bytes() <= shelf.limit_bytes());
            prop_assert!(held(shelf) <= shelf.bytes(), "{} held, {} told", held(shelf), shelf.bytes());
            if let Some(newest) = all(shelf).last() {
                prop_assert_eq!(newest.tick, tick);
                prop_assert_eq!(newest.roster.pods.len(), pods.len());
            }
            before = Some(shown);
        }
    }
}
