//! Files of a kernel 6.1, and what other kernels made of them.

use proptest::prelude::*;

use super::*;

const CPU_STAT: &[u8] =
    b"usage_usec 2803220\nuser_usec 2500000\nsystem_usec 303220\ncore_sched.force_idle_usec 0\n\
    nr_periods 40\nnr_throttled 12\nthrottled_usec 600123\nnr_bursts 0\nburst_usec 0\n";
const MEMORY_STAT: &[u8] = b"anon 19746816\nfile 25853952\nkernel 1572864\nkernel_stack 65536\npagetables 245760\n\
    sec_pagetables 0\npercpu 1152\nsock 0\nvmalloc 0\nshmem 9084928\nzswap 0\nzswapped 0\nfile_mapped 11022336\n\
    file_dirty 73728\nfile_writeback 0\nswapcached 0\nanon_thp 0\nfile_thp 0\nshmem_thp 0\ninactive_anon 8548352\n\
    active_anon 1593344\ninactive_file 5058560\nactive_file 11710464\nunevictable 18632704\n\
    slab_reclaimable 500000\nslab_unreclaimable 300000\nslab 800000\nworkingset_refault_anon 0\n\
    workingset_refault_file 748306\npgfault 8186815\npgmajfault 2129\npgrefill 0\npgscan 0\npgsteal 0\n";
const IO_STAT: &[u8] = b"254:0 rbytes=4096 wbytes=8388608 rios=1 wios=8 dbytes=0 dios=0\n\
    7:0 rbytes=0 wbytes=512 rios=0 wios=1 dbytes=65536 dios=2 cost.usage=12\n";

fn rows(file: &[u8]) -> (Vec<(DeviceNumber, IoCounters)>, Option<&[u8]>) {
    let mut rows = Vec::new();
    let bad = parse_io_stat(file, |device, counters| rows.push((device, counters)));
    (rows, bad)
}

fn device(major: u32, minor: u32) -> DeviceNumber {
    DeviceNumber { major, minor }
}

fn io(read_bytes: u64, write_bytes: u64, read_operations: u64, write_operations: u64) -> IoCounters {
    IoCounters { read_bytes, write_bytes, read_operations, write_operations }
}

#[test]
fn cpu_times_count_microseconds() {
    let cpu = parse_cpu_stat(CPU_STAT).unwrap();
    assert_eq!(cpu.usage, Duration::from_micros(2_803_220));
    assert_eq!(cpu.user, Some(Duration::from_micros(2_500_000)));
    assert_eq!(cpu.system, Some(Duration::from_micros(303_220)));
    let throttled = Duration::from_micros(600_123);
    let (bursts, burst) = (Some(0), Some(Duration::ZERO));
    let expected = ThrottlingCounters { periods: 40, throttled_periods: 12, throttled, bursts, burst };
    assert_eq!(cpu.throttling, Ok(expected));
}

#[test]
fn cpu_stat_without_the_cpu_controller_has_no_throttling() {
    let cpu = parse_cpu_stat(b"usage_usec 5\nuser_usec 3\nsystem_usec 2\n").unwrap();
    assert_eq!(cpu.throttling, Err(Unavailable::ControllerOff));
    assert_eq!(cpu.usage, Duration::from_micros(5));
}

#[test]
fn cpu_stat_without_usage_is_refused() {
    assert_eq!(parse_cpu_stat(b"user_usec 3\n"), Err(&b""[..]));
    assert_eq!(parse_cpu_stat(b"usage_usec -3\n"), Err(&b"usage_usec -3"[..]));
    assert_eq!(parse_cpu_stat(b"usage_usec\n"), Err(&b"usage_usec"[..]));
}

#[test]
fn memory_stat_gives_the_parts() {
    let (stat, bad) = parse_memory_stat(MEMORY_STAT);
    let expected = MemoryStat {
        anon_bytes: Some(19_746_816),
        file_bytes: Some(25_853_952),
        inactive_file_bytes: Some(5_058_560),
        swap_bytes: None,
        page_faults: Some(8_186_815),
        major_page_faults: Some(2129),
    };
    assert_eq!((stat, bad), (expected, None));
}

#[test]
fn a_bad_line_of_memory_stat_costs_its_own_figure() {
    let (stat, bad) = parse_memory_stat(b"anon x\nfile 5\nnew_key what ever\n");
    assert_eq!((stat.anon_bytes, stat.file_bytes, bad), (None, Some(5), Some(&b"anon x"[..])));
}

#[test]
fn oom_kills_are_read_by_their_exact_key() {
    let events = b"low 0\nhigh 0\nmax 7\noom 2\noom_kill 1\noom_group_kill 3\n";
    let expected =
        MemoryEvents { oom_kills: Some(1), limit_hits: Some(7), high_hits: Some(0), ooms: Some(2) };
    assert_eq!(parse_memory_events(events), Ok(expected));
    let old = parse_memory_events(b"low 0\nhigh 0\nmax 7\noom 2\n").unwrap();
    assert_eq!((old.oom_kills, old.ooms), (None, Some(2)), "before Linux 4.13");
    assert_eq!(parse_memory_events(b"low 0\n"), Err(&b""[..]));
    assert_eq!(parse_memory_events(b"max x\n"), Err(&b"max x"[..]));
}

#[test]
fn an_empty_io_stat_is_no_rows_and_no_complaint() {
    assert_eq!(rows(b""), (vec![], None));
}

#[test]
fn discards_and_the_keys_of_io_cost_are_left_out() {
    let expected = vec![(device(254, 0), io(4096, 8_388_608, 1, 8)), (device(7, 0), io(0, 512, 0, 1))];
    assert_eq!(rows(IO_STAT), (expected, None));
}

#[test]
fn the_three_known_malformed_shapes_cost_only_their_own_row() {
    let good = "254:0 rbytes=1 wbytes=2 rios=3 wios=4 dbytes=0 dios=0\n";
    let kept = (device(254, 0), io(1, 2, 3, 4));
    // green-coding-solutions/green-metrics-tool#1837: no keys, no newline.
    assert_eq!(rows(format!("{good}252:0 ").as_bytes()), (vec![kept], None));
    assert_eq!(rows(format!("252:0 \n{good}").as_bytes()), (vec![kept], Some(&b"252:0 "[..])));
    // canonical/lxd#10052: the keys belong to the last device.
    let joined = "7:7 7:6 7:5 7:4 rbytes=9 wbytes=0 rios=1 wios=0 dbytes=0 dios=0";
    let (read, bad) = rows(joined.as_bytes());
    assert_eq!((read, bad), (vec![], None), "not a whole line");
    let file = format!("{joined}\n{good}");
    let (read, bad) = rows(file.as_bytes());
    assert_eq!(read, [(device(7, 4), io(9, 0, 1, 0)), kept]);
    assert_eq!(bad, Some(joined.as_bytes()));
    // canonical/lxd#18609: ZFS.
    let unknown = "(unknown) rbytes=1 wbytes=1 rios=1 wios=1 dbytes=0 dios=0\n";
    assert_eq!(rows(format!("{unknown}{good}").as_bytes()).0, [kept]);
}

#[test]
fn a_torn_row_has_no_figures() {
    for torn in
        ["254:0 rbytes=1 wbytes=2 rios=3\n", "254:0 rbytes=1 wbytes=x rios=3 wios=4\n", "\n", "rbytes=1\n"]
    {
        let (read, bad) = rows(torn.as_bytes());
        assert_eq!((read, bad.is_some()), (vec![], true), "{torn:?}");
    }
}

#[test]
fn limits_have_one_way_to_say_none() {
    assert_eq!(parse_limit(b"max\n"), Ok(None));
    assert_eq!(parse_limit(b"9223372036854771712\n"), Ok(Some(9_223_372_036_854_771_712)));
    for refused in [&b"max"[..], b"ma\n", b"", b"\n", b"-1\n", b"12"] {
        assert_eq!(parse_limit(refused), Err(refused));
    }
    let [quota, period] = [150, 100].map(Duration::from_millis);
    assert_eq!(parse_cpu_max(b"150000 100000\n"), Ok(Some(CpuQuota { quota, period })));
    assert_eq!(CpuQuota { quota, period }.cores(), 1.5);
    assert_eq!(parse_cpu_max(b"max 100000\n"), Ok(None));
    for refused in [&b"150000 100000"[..], b"150000\n", b"x 1\n", b"1 0\n", b"\n", b""] {
        assert!(parse_cpu_max(refused).is_err(), "{refused:?}");
    }
}

#[test]
fn every_cut_is_read_right_or_refused() {
    let (whole, _) = parse_memory_stat(MEMORY_STAT);
    for end in 0..MEMORY_STAT.len() {
        let (cut, bad) = parse_memory_stat(&MEMORY_STAT[..end]);
        assert_eq!(bad, None);
        for (cut, whole) in cut.to_array().into_iter().zip(whole.to_array()) {
            assert!(cut.is_none() || cut == whole);
        }
    }
    for end in 0..IO_STAT.len() {
        let (cut, bad) = rows(&IO_STAT[..end]);
        assert_eq!(bad, None);
        assert!(rows(IO_STAT).0.starts_with(&cut));
    }
    let whole = parse_cpu_stat(CPU_STAT).unwrap();
    for end in 0..CPU_STAT.len() {
        if let Ok(cut) = parse_cpu_stat(&CPU_STAT[..end]) {
            assert_eq!(cut.usage, whole.usage);
            let Ok(throttling) = cut.throttling else { continue };
            let of_whole = whole.throttling.unwrap();
            let (bursts, burst) =
                (throttling.bursts.and(of_whole.bursts), throttling.burst.and(of_whole.burst));
            assert_eq!(throttling, ThrottlingCounters { bursts, burst, ..of_whole });
        }
    }
}

proptest! {
    #[test]
    fn any_bytes_are_read_or_refused_without_a_panic(file in proptest::collection::vec(any::<u8>(), 0..300)) {
        let _ = (parse_cpu_stat(&file), parse_memory_stat(&file), parse_memory_events(&file), rows(&file));
        let _ = (parse_limit(&file), parse_cpu_max(&file), super::super::pressure::parse_stall(&file));
        let _ = super::super::v1::parse_blkio(&file, |_, _, _| {});
        let _ = (super::super::v1::parse_cpu_stat(&file), super::super::v1::parse_cpuacct_stat(&file, 100));
        let _ = (super::super::v1::parse_memory_stat(&file), super::super::v1::parse_quota(&file));
    }

    #[test]
    fn what_the_kernel_prints_is_what_we_read(counters in any::<[u64; 4]>(), major: u32, minor: u32) {
        let [read, write, reads, writes] = counters;
        let row = format!("{major}:{minor} rbytes={read} wbytes={write} rios={reads} wios={writes} dbytes=1 dios=1\n");
        prop_assert_eq!(rows(row.as_bytes()).0, vec![(device(major, minor), io(read, write, reads, writes))]);
    }
}
