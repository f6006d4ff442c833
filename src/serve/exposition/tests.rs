//! What is written is read back by a reader that knows nothing of the writers.

use proptest::prelude::*;

use super::*;
use crate::serve::exposition::reader::{Document, read_openmetrics, read_protobuf, read_text};

const FAMILIES: [Family; 5] = [
    Family::new(Kind::Counter, "a_bytes_total", "Counted bytes."),
    Family::new(Kind::Counter, "a_failcnt", "A counter of another name."),
    Family::new(Kind::Gauge, "b_cores", "Measured."),
    Family::new(Kind::Info, "c_info", "Told."),
    Family::new(Kind::Gauge, "d_unused", "Nobody has one."),
];

/// Values of the labels `b` and `m`, of those put before, between and after them, and a number.
#[derive(Clone, Debug)]
struct Thing {
    labels: [String; 2],
    extra: [String; 3],
    value: Value,
    at: Option<u64>,
    created: Option<u64>,
}

const EXTRA: [&str; 3] = ["a", "k", "z"];

fn write<W: Writer>(mut writer: W, things: &[Thing]) -> Vec<u8> {
    let mut shelf = W::shelf(1);
    let whole: Vec<Place> =
        things.iter().map(|it| shelf.put(&[("b", &it.labels[0]), ("m", &it.labels[1])])).collect();
    let bare = shelf.put(&[]);
    let mut memory = Vec::new();
    for family in &FAMILIES[..4] {
        writer.family(family);
        for (index, (place, thing)) in whole.iter().zip(things).enumerate() {
            let at = thing.at.map(WallTime::from_unix_nanos);
            let created = thing.created.map(WallTime::from_unix_nanos);
            let sample = Sample { value: thing.value, at, created };
            // Each subset of the extra labels, and a label of its own that tells the things apart.
            let number = index.to_string();
            let mut extra: Vec<Extra<'_>> = EXTRA
                .iter()
                .zip(&thing.extra)
                .enumerate()
                .filter(|(bit, _)| index & (1 << bit) != 0)
                .map(|(_, (name, value))| (*name, value.as_str()))
                .collect();
            if index % 8 != 0 {
                extra.push(("zz", &number));
                if index % 2 == 0 {
                    writer.sample(shelf.with(*place, &extra, &mut memory), sample);
                } else {
                    let mut both = Extended::default();
                    both.add(&shelf, *place, &extra);
                    writer.sample(both.iter().next().unwrap(), sample);
                }
            } else if index == 0 {
                writer.sample(shelf.at(*place), sample);
            } else {
                writer.sample(shelf.with(bare, &[("n", &number), ("o", "")], &mut memory), sample);
            }
        }
    }
    writer.family(&FAMILIES[4]);
    writer.finish(true)
}

fn hostile() -> impl Strategy<Value = String> {
    prop_oneof![
        "[\"\\\\\n\r\t{},= #a\u{0}\u{7f}é\u{2028}𝕏]{0,12}",
        any::<String>(),
        Just("\\n".to_owned()),
        Just("\"} 1\n# EOF\n".to_owned()),
    ]
}

fn value() -> impl Strategy<Value = Value> {
    prop_oneof![
        any::<u64>().prop_map(Value::Integer),
        any::<u64>().prop_map(Value::Nanoseconds),
        any::<f64>().prop_map(Value::Float),
    ]
}

fn thing() -> impl Strategy<Value = Thing> {
    let labels = [hostile(), hostile()];
    let extra = [hostile(), hostile(), hostile()];
    let (at, created) = (proptest::option::of(any::<u64>()), proptest::option::of(any::<u64>()));
    (labels, extra, value(), at, created).prop_map(|(labels, extra, value, at, created)| Thing {
        labels,
        extra,
        value,
        at,
        created,
    })
}

fn text(bytes: Vec<u8>) -> String {
    String::from_utf8(bytes).unwrap()
}

/// Name, labels and number of all samples.
fn told(document: &Document) -> Vec<(String, String, u64)> {
    let all = document.samples.iter();
    all.map(|((name, labels), sample)| (name.clone(), format!("{labels:?}"), sample.value.to_bits()))
        .collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn whatever_labels_hold_is_read_back_from_each_form(things in proptest::collection::vec(thing(), 0..20)) {
        let plain = read_text(&text(write(TextWriter::new(false, Vec::new()), &things)));
        let open = read_openmetrics(&text(write(TextWriter::new(true, Vec::new()), &things)));
        let protobuf = read_protobuf(&write(ProtobufWriter::new(Vec::new()), &things));
        prop_assert_eq!(plain.order.iter().filter(|(name, _)| name == "b_cores").count(), things.len());
        prop_assert_eq!(told(&plain), told(&open));
        prop_assert_eq!(told(&plain), told(&protobuf));
        for (index, thing) in things.iter().enumerate() {
            let key = &plain.order[index];
            let sample = &plain.samples[key];
            prop_assert_eq!(sample.value.to_bits(), thing.value.as_f64().to_bits(), "{:?}", thing.value);
            prop_assert_eq!(sample.at, thing.at.map(|nanos| nanos / 1_000_000));
            let label = |name: &str| key.1.get(name).map_or("", String::as_str);
            if index == 0 || index % 8 != 0 {
                prop_assert_eq!(label("b"), &thing.labels[0]);
                prop_assert_eq!(label("m"), &thing.labels[1]);
            }
            for (bit, name) in EXTRA.iter().enumerate() {
                let put = index % 8 != 0 && index & (1 << bit) != 0;
                prop_assert_eq!(label(name), if put { &*thing.extra[bit] } else { "" });
            }
            let created = ("a_bytes_created".to_owned(), key.1.clone());
            let created = plain.samples.get(&created).map(|sample| sample.value);
            let expected = thing.created.map(|nanos| Value::instant(WallTime::from_unix_nanos(nanos)).as_f64());
            prop_assert_eq!(created, expected);
        }
    }
}

#[test]
fn each_form_says_what_it_is() {
    let thing = Thing {
        labels: ["web".into(), String::new()],
        extra: Default::default(),
        value: Value::Integer(u64::MAX),
        at: Some(1_795_222_923_123_456_789),
        created: Some(1_500_000_000),
    };
    assert_eq!(
        text(write(TextWriter::new(false, Vec::new()), std::slice::from_ref(&thing))),
        "# HELP a_bytes_total Counted bytes.
# TYPE a_bytes_total counter
a_bytes_total{b=\"web\",m=\"\"} 18446744073709551615 1795222923123
# HELP a_bytes_created When the counter of this name began, since 1970.
# TYPE a_bytes_created gauge
a_bytes_created{b=\"web\",m=\"\"} 1.5
# HELP a_failcnt A counter of another name.
# TYPE a_failcnt counter
a_failcnt{b=\"web\",m=\"\"} 18446744073709551615 1795222923123
# HELP b_cores Measured.
# TYPE b_cores gauge
b_cores{b=\"web\",m=\"\"} 18446744073709551615 1795222923123
# HELP c_info Told.
# TYPE c_info gauge
c_info{b=\"web\",m=\"\"} 18446744073709551615 1795222923123
"
    );
    let open = text(write(TextWriter::new(true, Vec::new()), &[thing]));
    let head = "# HELP a_bytes Counted bytes.
# TYPE a_bytes counter
# UNIT a_bytes bytes
a_bytes_total{b=\"web\",m=\"\"} 18446744073709551615 1795222923.123
a_bytes_created{b=\"web\",m=\"\"} 1.5
# HELP a_failcnt A counter of another name.
# TYPE a_failcnt unknown
a_failcnt{b=\"web\",m=\"\"} ";
    assert!(open.starts_with(head), "{open}");
    assert!(open.contains("# TYPE c info\nc_info{") && open.ends_with("\n# EOF\n"), "{open}");
    assert_eq!(text(write(TextWriter::new(true, Vec::new()), &[])), "# EOF\n");
    assert_eq!(write(ProtobufWriter::new(Vec::new()), &[]), b"");
}
