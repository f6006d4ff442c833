//! Tests of `process`: whose a process is when its hierarchies do not agree.

use super::*;
use crate::host::fixture_pods::{self, Hierarchies, PodsNode};
use crate::model::target::PodTarget;
use crate::resolve::{Inbox, Layout, Resolver, Side};
use std::sync::Arc;

const UID: &str = "9c43ae1e-6c1b-4b5f-9d0a-000000000001";
const OTHER_UID: &str = "9c43ae1e-6c1b-4b5f-9d0a-000000000002";

fn id(digit: char) -> String {
    digit.to_string().repeat(64)
}

/// Whose a process of this `/proc/<pid>/cgroup` is to the pod [`UID`] with the children `a…` and `b…`, whose
/// directories have names of this shape: by the first digit of the child.
fn whose(shape: &str, cgroup: impl AsRef<[u8]>) -> Result<(char, bool), Refusal> {
    let directory = |digit| CgroupPath::new(format!("kubepods/pod{UID}/{}", shape.replace("{}", &id(digit))));
    let ids = ['a', 'b'].map(|digit| ContainerId::new(&id(digit)).unwrap());
    let paths = ['a', 'b'].map(directory);
    let places =
        ids.iter().zip(&paths).map(|(id, path)| Place { id, path, new: false, young: false }).collect();
    let uid = PodUid::new(UID).unwrap();
    let wanted = Wanted { uid: &uid, places, runtime: None, sandbox: &Sandbox::Unsettled, netns: None };
    let member = member_by(&wanted, CgroupLines::of(cgroup.as_ref()))?;
    Ok((member.container.as_str().chars().next().unwrap(), member.nested))
}

fn at(uid: &str, digit: char) -> String {
    format!("/kubepods/besteffort/pod{uid}/{}", id(digit))
}

#[test]
fn a_process_that_two_hierarchies_put_into_two_pods_is_nobody_s() {
    let (ours, theirs) = (at(UID, 'a'), at(OTHER_UID, 'c'));
    for text in [
        format!("4:memory:{ours}\n3:cpu,cpuacct:{theirs}\n0::/\n"),
        format!("4:memory:{theirs}\n3:cpu,cpuacct:{ours}\n0::/\n"),
        format!("4:memory:{ours}\n3:cpu,cpuacct:{ours}\n0::{theirs}\n"),
        // In the other pod's own cgroup, in no container of it.
        format!("4:memory:{ours}\n3:cpu:/kubepods/besteffort/pod{OTHER_UID}\n"),
        // Below our pod, in a container that nobody has listed.
        format!("4:memory:{ours}\n3:cpu:{}\n", at(UID, 'c')),
        format!("4:memory:{ours}\n3:cpu:/../{}\n", id('c')),
        // In two of our own: which of them it is decides whose netns it is taken to be in.
        format!("4:memory:{ours}\n3:cpu:{}\n", at(UID, 'b')),
        // However deep it went in the other one.
        format!("4:memory:{ours}\n3:cpu:{theirs}/init.scope\n"),
        format!("4:memory:{ours}\n3:cpu:{theirs} (deleted)\n"),
    ] {
        assert_eq!(whose("{}", &text), Err(Refusal::TwoCgroups), "{text}");
    }
    assert_eq!(whose("{}", format!("4:memory:{theirs}\n0::/\n")), Err(Refusal::OtherCgroup));
    assert_eq!(whose("{}", "4:memory:/\n0::/\n"), Err(Refusal::OtherCgroup));
}

#[test]
fn hierarchies_that_have_no_pods_say_nothing() {
    let ours = at(UID, 'a');
    for elsewhere in [
        "/".to_owned(),
        "/system.slice/containerd.service".to_owned(),
        "/init.scope".to_owned(),
        "/user.slice/user-0.slice".to_owned(),
        "/../../..".to_owned(),
        // A node that is itself a container, and the levels above our pod.
        format!("/docker/{}", id('f')),
        "/kubepods/besteffort".to_owned(),
        format!("/kubepods/besteffort/pod{UID}"),
        format!("/kubepods/besteffort/pod{UID}/crio-conmon-{}.scope", id('a')),
    ] {
        for text in [
            format!("9:misc:{elsewhere}\n4:memory:{ours}\n0::{elsewhere}\n"),
            format!("9:misc:{elsewhere}\n4:memory:{ours}\n0::{ours}\n"),
        ] {
            assert_eq!(whose("{}", &text), Ok(('a', false)), "{text}");
        }
    }
}

#[test]
fn every_runtime_s_names_and_what_a_container_made_in_itself_are_ours() {
    let slice = format!(
        "kubepods.slice/kubepods-besteffort.slice/kubepods-besteffort-pod{}.slice",
        UID.replace('-', "_")
    );
    for shape in ["{}", "cri-containerd-{}.scope", "docker-{}.scope", "crio-{}.scope", "crio-{}", "kata_{}"] {
        let own = format!("/{slice}/{}", shape.replace("{}", &id('b')));
        let whole = format!("5:memory:{own}\n1:name=systemd:{own}\n0::{own}\n");
        assert_eq!(whose(shape, &whole), Ok(('b', false)), "{whole}");
        // systemd in a container has a tree of its own in its own hierarchy only; and so has a kubelet.
        let systemd = format!("5:memory:{own}\n1:name=systemd:{own}/init.scope\n0::{own}\n");
        assert_eq!(whose(shape, &systemd), Ok(('b', true)), "{systemd}");
        let kubelet = format!("5:memory:{own}\n3:cpu:{own}{}\n", at(OTHER_UID, 'c'));
        assert_eq!(whose(shape, &kubelet), Ok(('b', true)), "{kubelet}");
    }
    // A neighbour, seen from a cgroup namespace that begins at the pod.
    assert_eq!(whose("{}", format!("4:memory:/../{}\n0::/\n", id('a'))), Ok(('a', false)));
}

#[test]
fn a_name_of_odd_bytes_hides_no_pod() {
    let (ours, theirs) = (at(UID, 'a').into_bytes(), at(OTHER_UID, 'c').into_bytes());
    let text = |second: &[u8]| [b"4:memory:", &ours[..], b"/\xff\xfe\n3:cpu:", second, b"/x\xff\n"].concat();
    assert_eq!(whose("{}", text(&ours)), Ok(('a', true)));
    assert_eq!(whose("{}", text(&theirs)), Err(Refusal::TwoCgroups));
}

/// One of the child `a…`, started then and in that netns.
fn process(node: &PodsNode, pid: u32, started: u32, netns: u64) -> Found {
    let fields = vec!["0"; 18].join(" ");
    node.node.write(&format!("proc/{pid}/stat"), &format!("{pid} (sh) S {fields} {started} 0\n"));
    let dir = std::fs::File::open(node.node.root().proc.join(pid.to_string())).unwrap().into();
    let process = PinnedProcess { pid, dir: Arc::new(dir), netns };
    let container = ContainerId::new(&id('a')).unwrap();
    Found { process, container, nested: false, origin: Origin::CgroupProcs }
}

/// An app may be in a netns of its own: it stands for the pod only when nobody comes before it.
#[test]
fn nobody_is_taken_while_the_child_before_it_is_still_to_get_its_process() {
    let node = PodsNode::new(Hierarchies::V2);
    let ids = ['a', 'b'].map(|digit| ContainerId::new(&id(digit)).unwrap());
    let path = CgroupPath::new("kubepods".to_owned());
    let uid = PodUid::new(UID).unwrap();
    let look = |sandbox: Sandbox,
                netns,
                [(new_a, young_a), (new_b, young_b)]: [(bool, bool); 2],
                unseen,
                populated| {
        let [a, b] = &ids;
        let places = vec![
            Place { id: a, path: &path, new: new_a, young: young_a },
            Place { id: b, path: &path, new: new_b, young: young_b },
        ];
        let wanted = Wanted { uid: &uid, places, runtime: None, sandbox: &sandbox, netns };
        let mut there = There::default();
        there.take(&process(&node, 31, 900, 7), netns);
        let mut vain = Vain::default();
        let nobody = There { unseen, ..There::default() };
        let found = choose(&wanted, vec![nobody, there], |_| populated, &mut vain);
        assert_eq!(found.is_none(), !vain.tried.is_empty(), "{vain:?}");
        found.is_some()
    };
    let taken = |sandbox, netns, places| look(sandbox, netns, places, false, true);
    let [old, young] = [(false, false), (false, true)];
    let sandbox = Sandbox::Is(ids[0].clone(), "the runtime");
    assert!(!taken(Sandbox::Unsettled, None, [young, young]));
    assert!(!taken(sandbox.clone(), None, [young, young]));
    assert!(taken(Sandbox::None, None, [young, young]), "there is no sandbox to come");
    assert!(taken(Sandbox::Unsettled, None, [old, young]), "it would have had its process by now");
    assert!(taken(sandbox.clone(), None, [old, young]));
    // CRI-O makes a cgroup for the sandbox also where that has no process.
    assert!(look(Sandbox::Unsettled, None, [young, young], false, false));
    assert!(
        !look(sandbox.clone(), None, [old, young], true, true),
        "there is one, which cannot be looked at"
    );
    assert!(look(sandbox, None, [old, young], true, false));
    // Of a netns that was lost, only those who came later may be in the next.
    assert!(!taken(Sandbox::Unsettled, Some(8), [(true, true), (true, true)]));
    assert!(taken(Sandbox::Unsettled, Some(8), [old, (true, true)]), "its pause is dead");
    assert!(!taken(Sandbox::Unsettled, Some(8), [old, old]), "astray");
}

/// Children of a shell live for milliseconds, and one whose number has wrapped is listed before it.
#[test]
fn of_processes_in_the_known_netns_the_one_that_was_started_first_is_taken() {
    let node = PodsNode::new(Hierarchies::V2);
    let found = |pid, started, netns, nested| Found { nested, ..process(&node, pid, started, netns) };
    let elders = |all: &[Found]| {
        let mut there = There::default();
        all.iter().for_each(|found| there.take(found, Some(7)));
        [there.first, there.known].map(|elder| elder.map(|elder| elder.found.process.pid))
    };
    let (child, shell) = (found(31, 900, 7, false), found(32_000, 400, 7, false));
    let (astray, nested) = (found(40, 300, 8, false), found(41, 100, 7, true));
    assert_eq!(elders(&[child.clone(), shell.clone()]), [Some(32_000); 2]);
    assert_eq!(elders(&[child.clone(), astray.clone(), nested.clone(), shell]), [Some(40), Some(32_000)]);
    assert_eq!(elders(&[nested, child]), [Some(31); 2]);
    assert_eq!(elders(&[astray]), [Some(40), None]);
}

#[test]
fn a_pod_that_was_rewired_is_shown_with_the_default_route_it_has_now() {
    let node = PodsNode::new(Hierarchies::V2);
    let layout = Arc::new(Layout::detect(&node.node.root()).unwrap());
    let mut resolver = Resolver::new(node.node.root(), layout, Side::Pod, Arc::default());
    let first = |targets: &crate::model::target::TargetSet| {
        let uid = fixture_pods::uid_of(1);
        targets.pods.iter().find(|pod| pod.runtime_uid.as_str() == uid).unwrap().clone()
    };
    let before = first(&resolver.step(&[], false, Inbox::default(), &mut None).targets.unwrap());
    let shown = |pod: &PodTarget| pod.interface.map(|name| name.to_string());
    assert_eq!(shown(&before).as_deref(), Some("eth0"));
    let route = format!("proc/{}/net/route", fixture_pods::pid_of(1));
    node.node.write(&route, "head\neth0.5\t00000000\t0101F40A\t0003\t0\t0\t0\t00000000\t0\t0\t0\n");
    assert!(resolver.step(&[], false, Inbox::default(), &mut None).targets.is_none(), "nobody looked");
    let rewired = Inbox { rewired: vec![before.id], ..Inbox::default() };
    let after = first(&resolver.step(&[], false, rewired, &mut None).targets.unwrap());
    assert_eq!(shown(&after).as_deref(), Some("eth0.5"));
    assert_eq!(after.id, before.id, "its counters go on");
    let link = |pod: &PodTarget| {
        let links = pod.evidence.iter();
        links.filter(|it| it.link == crate::model::target::Link::Interfaces).find_map(|it| it.found.clone())
    };
    assert_eq!(link(&after).as_deref(), Some("eth0.5"));
}

/// The first pod as it is resolved while the second's process is also in its sandbox's cgroup, but in one
/// hierarchy only, and its own process has ended.
fn first_pod(cgroup_of_second: &str) -> (Option<u32>, String) {
    let node = PodsNode::new(Hierarchies::Hybrid);
    let [first, second] = fixture_pods::PODS.map(fixture_pods::pid_of);
    node.node.remove(&format!("proc/{first}"));
    let in_first = fixture_pods::cgroup_of(1, 2);
    node.node.write(&format!("cgroup/memory/{in_first}/cgroup.procs"), &format!("{first}\n{second}\n"));
    node.node.write(&format!("cgroup/memory/{}/cgroup.procs", fixture_pods::cgroup_of(2, 2)), "");
    node.write_process(second, cgroup_of_second, 2000);
    let layout = Arc::new(Layout::detect(&node.node.root()).unwrap());
    let mut resolver = Resolver::new(node.node.root(), layout, Side::Pod, Arc::default());
    let targets = resolver.step(&[], false, Inbox::default(), &mut None).targets.unwrap();
    let is_first = |pod: &&Arc<PodTarget>| pod.runtime_uid.as_str() == fixture_pods::uid_of(1);
    let pod = targets.pods.iter().find(is_first).unwrap();
    let tried = pod.evidence.iter().find(|link| link.link == crate::model::target::Link::Process).unwrap();
    (pod.process.as_ref().map(|process| process.pid), tried.by.clone())
}

#[test]
fn a_process_that_was_moved_in_one_hierarchy_only_gives_the_pod_no_network() {
    let [first, second] = [1, 2].map(|pod| fixture_pods::cgroup_of(pod, 2));
    let (pid, tried) = first_pod(&format!("4:memory:/{first}\n3:cpu,cpuacct:/{second}\n0::/{second}\n"));
    assert_eq!(pid, None);
    assert!(tried.contains("pid 102 of cgroup.procs: in the cgroups of two pods"), "{tried}");
    // Moved in all of them it is the pod's own.
    let (pid, _) = first_pod(&format!("4:memory:/{first}\n3:cpu,cpuacct:/{first}\n0::/{first}\n"));
    assert_eq!(pid, Some(fixture_pods::pid_of(2)));
}
