//! Tests of `reader`: what is kept as the kernel says it.

use super::*;

#[test]
fn what_else_the_kernel_says_is_kept_as_it_says_it() {
    let mut sweeper = v1();
    let [pod, container] = [(POD.to_owned(), CgroupRole::Pod), (format!("{POD}/c"), CgroupRole::Container)]
        .map(|(path, role)| {
            let mut reader = sweeper.reader(&path, role);
            sweeper.read(&mut reader)
        });
    let details = &sweeper.details;
    assert_eq!(details.percpu(&container.details.percpu), [200_000, 100_000]);
    assert_eq!(value(&container.cpu).usage, Duration::from_micros(300), "their sum");
    assert_eq!(details.percpu(&pod.details.percpu), [0; 0], "nobody asks for a pod's");
    let lines = MEMORY_STAT_V1.lines().filter_map(|line| line.split_once(' '));
    let said: Vec<_> = lines.map(|(key, number)| (key, number.parse().unwrap())).collect();
    for reading in [pod, container] {
        assert_eq!(details.memory_stat(&reading.details).collect::<Vec<_>>(), said);
    }
}

#[test]
fn a_cgroup_that_goes_while_it_is_read_leaves_no_numbers() {
    let mut sweeper = v1();
    let path = format!("{POD}/c");
    let mut reader = sweeper.reader(&path, CgroupRole::Container);
    sweeper.read(&mut reader);
    let before = sweeper.details.len();
    for hierarchy in ["cpu,cpuacct", "memory", "blkio", "pids"] {
        sweeper.node.remove(&format!("cgroup/{hierarchy}/{path}"));
    }
    assert!(!sweeper.read(&mut reader).alive);
    assert_eq!(sweeper.details.len(), before);
}
