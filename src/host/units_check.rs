//! For fuzzers: figures of the kernel in its own units, against the same made with numbers that cannot
//! overflow.

use super::cgroup::{v1, v2};
use super::node_files;

/// Nanoseconds of so many ticks.
fn nanos(ticks: u128, hertz: u64) -> u128 {
    ticks * 1_000_000_000 / u128::from(hertz)
}

/// Eight bytes a number: ticks, microseconds, quotas and periods, kibibytes, sectors.
pub fn units(bytes: &[u8]) {
    let mut numbers =
        bytes.chunks_exact(8).map(|chunk| chunk.iter().fold(0, |sum, byte| sum << 8 | u64::from(*byte)));
    let mut next = || numbers.next().unwrap_or_default();
    // `CONFIG_HZ` and `USER_HZ` as kernels are built, and one that no kernel has.
    let hertz = [100, 250, 300, 1000, 1024, 7][usize::from(bytes.first().copied().unwrap_or(0) % 6)];
    let (a, b, c) = (next(), next(), next());

    let text = format!("user {a}\nsystem {b}\n");
    let split = v1::parse_cpuacct_stat(text.as_bytes(), hertz);
    let split = split.map(|(user, system)| (user.as_nanos(), system.as_nanos()));
    assert_eq!(split, Ok((nanos(a.into(), hertz), nanos(b.into(), hertz))), "{text}");
    let usage = v1::parse_cpuacct_usage(format!("{a}\n").as_bytes()).ok();
    assert_eq!(usage.map(|usage| usage.as_nanos()), Some(u128::from(a)));

    let text = format!("usage_usec {a}\nuser_usec {b}\nsystem_usec {c}\n");
    let cpu = v2::parse_cpu_stat(text.as_bytes()).map(|cpu| (cpu.usage, cpu.user, cpu.system));
    let micros = cpu.map(|(usage, user, system)| {
        [Some(usage), user, system].map(|time| time.map(|time| time.as_micros()))
    });
    assert_eq!(micros, Ok([a, b, c].map(|time| Some(u128::from(time)))), "{text}");

    quota(a, b);
    node(a, b, c, hertz);
}

/// The same share of a processor, said as v1 and as v2 say it.
#[expect(clippy::cast_precision_loss, reason = "compared as near as a ratio can be")]
fn quota(quota: u64, period: u64) {
    let cores =
        v2::parse_cpu_max(format!("{quota} {period}\n").as_bytes()).ok().flatten().map(|quota| quota.cores());
    let told = v1::parse_quota(format!("{quota}\n").as_bytes()).ok().flatten();
    let each = v1::parse_period(format!("{period}\n").as_bytes()).ok().flatten();
    let (Some(cores), Some(told), Some(each)) = (cores, told, each) else {
        return assert_eq!(period, 0, "every other quota has a meaning");
    };
    assert_eq!((told.as_micros(), each.as_micros()), (quota.into(), period.into()));
    let right = told.as_nanos() as f64 / each.as_nanos() as f64;
    assert!((cores - right).abs() <= right * 1e-12, "{quota}/{period}: {cores}, not {right}");
}

/// Sums and units of the node's own files: right, or absent because no counter could hold it.
fn node(a: u64, b: u64, c: u64, hertz: u64) {
    let text = format!("cpu  {a} {b} {c} 1 2 3 4 5 6 7\ncpu0 1 1 1 1 1 1 1 1 1 1\nintr 0\n");
    let (user, system) = (u128::from(a) + u128::from(b), u128::from(c) + 7);
    let usage = nanos(user + system + 5, hertz);
    match node_files::parse_stat(text.as_bytes(), hertz) {
        Some(cpu) => {
            let read = [cpu.usage, cpu.user, cpu.system].map(|time| time.as_nanos());
            assert_eq!(read, [usage, nanos(user, hertz), nanos(system, hertz)], "{text}");
            assert_eq!(cpu.cores, 1);
        }
        None => assert!(user + system + 5 > u64::MAX.into() || usage > u64::MAX.into(), "{text}"),
    }
    let text = format!(
        "MemTotal: {a} kB\nMemFree: {b} kB\nMemAvailable: {b} kB\nBuffers: 1 kB\nCached: {c} kB\nSReclaimable: 2 kB\n"
    );
    let bytes = |kibibytes: u64| u128::from(kibibytes) * 1024;
    match node_files::parse_meminfo(text.as_bytes()) {
        Some(memory) => {
            let read = [memory.total_bytes, memory.free_bytes, memory.cached_bytes].map(u128::from);
            assert_eq!(read, [bytes(a), bytes(b), bytes(c) + 3 * 1024], "{text}");
        }
        None => assert!([bytes(a), bytes(b), bytes(c) + 3 * 1024].iter().any(|sum| *sum > u64::MAX.into())),
    }
    let text = format!("254 0 vda 1 2 {a} 4 5 6 {b} 8 9 10 11");
    let sectors = |sectors: u64| u128::from(sectors) * 512;
    match node_files::parse_disk_line(text.as_bytes()) {
        Some(disk) => {
            let read = [disk.counters.read_bytes, disk.counters.write_bytes].map(u128::from);
            assert_eq!(read, [sectors(a), sectors(b)], "{text}");
        }
        None => assert!([sectors(a), sectors(b)].iter().any(|sum| *sum > u64::MAX.into()), "{text}"),
    }
}
