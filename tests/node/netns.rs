//! Every interface of a pod, as the kernel's own file in the pod's netns has it.

use std::collections::BTreeMap;
use std::fs;

use podvitals::model::document::Network;
use podvitals::model::document::Pod;
use podvitals_testbed::made_up::MadeUpPod;

use crate::daemon::Daemon;
use crate::find::pod;
use crate::oracle::Counters;

/// Every interface of the pod's netns by its bytes, as podvitals writes them.
pub(crate) fn netns(pod: &MadeUpPod) -> BTreeMap<String, Counters> {
    let text = fs::read(format!("/proc/{}/net/dev", pod.children()[0].pid())).unwrap();
    let mut found = BTreeMap::new();
    for line in text.split(|byte| *byte == b'\n').skip(2).filter(|line| !line.is_empty()) {
        let colon = line.iter().rposition(|byte| *byte == b':').unwrap();
        let fields: Vec<u64> = std::str::from_utf8(&line[colon + 1..])
            .unwrap()
            .split_whitespace()
            .map(|field| field.parse().unwrap())
            .collect();
        let counters =
            [fields[0], fields[1], fields[2], fields[3], fields[8], fields[9], fields[10], fields[11]];
        let name: String = line[..colon].trim_ascii_start().iter().map(|byte| spelled(*byte)).collect();
        assert!(found.insert(name, counters).is_none(), "two interfaces of one name");
    }
    found
}

fn spelled(byte: u8) -> String {
    match byte {
        b'\\' => "\\\\".to_owned(),
        0x21..=0x7e => char::from(byte).to_string(),
        _ => format!("\\x{byte:02x}"),
    }
}

pub(crate) fn sum<'a>(counters: impl IntoIterator<Item = &'a Counters>) -> Counters {
    counters.into_iter().fold([0; 8], |total, one| std::array::from_fn(|i| total[i] + one[i]))
}

/// The pod in a sweep during which nothing moved in its netns, with what the kernel's file said then.
pub(crate) async fn at_rest(daemon: &Daemon, of: &MadeUpPod) -> (Pod, Network, BTreeMap<String, Counters>) {
    for _ in 0..40 {
        let before = netns(of);
        let list = daemon.next_list().await;
        if before == netns(of) {
            let pod = pod(&list, of.uid()).clone();
            let network = pod.network.clone().unwrap_or_else(|| panic!("{:?}", pod.unavailable));
            return (pod, network, before);
        }
    }
    panic!("the pod was never quiet for a whole sweep");
}
