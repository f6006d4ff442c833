//! Numbers come back as they were, in few bytes.

use super::numbers::Base;
use super::packed::*;
use super::*;
use crate::model::counters::CpuCounters;
use crate::model::sweep::Stamped;
use crate::model::time::Monotonic;
use crate::model::unavailable::Unavailable;
use proptest::prelude::*;
use std::time::Duration;

fn there_and_back<T: Packed>(value: &T, base: Base) -> (usize, T) {
    let mut bytes = Vec::new();
    value.write(&mut Writer { bytes: &mut bytes, base });
    let mut reader = Reader { bytes: &bytes, base };
    let read = T::read(&mut reader).unwrap();
    assert!(reader.bytes.is_empty(), "all that was written is read");
    for end in 0..bytes.len() {
        let cut = T::read(&mut Reader { bytes: &bytes[..end], base });
        assert!(cut.is_none(), "{end} bytes are not all of it");
    }
    (bytes.len(), read)
}

fn io(values: [u64; 4]) -> IoCounters {
    let [read_bytes, write_bytes, read_operations, write_operations] = values;
    IoCounters { read_bytes, write_bytes, read_operations, write_operations }
}

#[test]
fn every_reason_comes_back_as_itself() {
    for why in ALL_REASONS {
        assert_eq!(there_and_back(&Err::<u64, _>(why), Base::default()), (1, Err(why)));
    }
}

#[test]
fn a_rate_of_growth_takes_few_bytes_and_any_other_comes_back_too() {
    let base = Base { at: 0, interval: 1_000_000_000 };
    let window = Duration::from_nanos(1_000_100_000);
    let rate = Rate { per_second: of_time(531_000_017, window), window };
    let (length, back) = there_and_back(&rate, base);
    assert_eq!((length, back), (8, rate));
    for odd in [f64::NAN, f64::INFINITY, -1.5, -0.0, f64::MIN_POSITIVE, 1.0 / 3.0] {
        let (_, back) = there_and_back(&Rate { per_second: odd, window }, base);
        assert_eq!(back.per_second.to_bits(), odd.to_bits());
    }
}

proptest! {
    #[test]
    fn whatever_is_written_is_read_back(
        at in any::<u64>(), start in any::<u64>(), interval in any::<u64>(), window in 1..u64::MAX,
        values in any::<[u64; 9]>(), some in any::<[bool; 8]>(), growth in any::<[u64; 4]>(),
        source in 0..3_usize,
    ) {
        let base = Base { at: start, interval };
        let window = Duration::from_nanos(window);
        let maybe = |index: usize| some[index].then_some(values[index + 1]);
        let memory = MemoryCounters {
            usage_bytes: values[0], anon_bytes: maybe(0), file_bytes: maybe(1), inactive_file_bytes: maybe(2),
            swap_bytes: maybe(3), peak_bytes: maybe(4), page_faults: maybe(5), major_page_faults: maybe(6),
            oom_kills: maybe(7), limit_hits: maybe(6), high_hits: maybe(5), ooms: maybe(4),
        };
        let cpu = CpuFigures {
            counters: CpuCounters {
                usage: Duration::from_nanos(values[0]),
                user: maybe(0).map(Duration::from_nanos),
                system: maybe(1).map(Duration::from_nanos),
                throttling: Err(Unavailable::ControllerOff),
            },
            cores: some[0].then(|| Rate { per_second: of_time(growth[0], window), window }),
        };
        let rates = IoRates::from_array(growth.map(|added| of_count(added, window)));
        let io = IoSample {
            counters: io([values[1], values[2], values[3], values[4]]),
            rates: some[1].then_some(Rate { per_second: rates, window }),
        };
        let rates = NetworkRates::from_array(growth.map(|added| of_count(added, window)));
        let network = NetworkSample {
            source: [NetworkSource::Netns, NetworkSource::HostVeth, NetworkSource::NetnsIp][source],
            counters: NetworkCounters::from_array(std::array::from_fn(|index| values[index])),
            rates: some[2].then_some(Rate { per_second: rates, window }),
        };
        let at = Monotonic::from_nanos(at);
        let cgroup = CgroupSample {
            cpu: Ok(Stamped { at, value: cpu }),
            memory: Ok(Stamped { at, value: memory }),
            io: Ok(Stamped { at, value: io }),
        };
        let pod = PodSample { cgroup, network: Ok(Stamped { at, value: network }) };
        prop_assert_eq!(there_and_back(&pod, base).1, pod);
    }

    #[test]
    fn foreign_bytes_are_read_or_not_and_nothing_worse(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let base = Base { at: 7, interval: 1 };
        let _ = PodSample::read(&mut Reader { bytes: &bytes, base });
        let _ = NodeSample::read(&mut Reader { bytes: &bytes, base });
    }
}
