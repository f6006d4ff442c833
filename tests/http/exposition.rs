//! A reader of text 0.0.4, OpenMetrics 1.0 and delimited protobuf that knows nothing of podvitals, and takes
//! nothing that the specifications do not allow.

use std::collections::{BTreeMap, BTreeSet};

/// A name and its labels, none of them empty.
pub(crate) type Key = (String, BTreeMap<String, String>);

/// What a document tells, whatever its form.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Document {
    /// Families by the names of their samples: kind, help, unit.
    pub(crate) families: BTreeMap<String, (String, String, String)>,
    pub(crate) samples: BTreeMap<Key, Sample>,
    /// Keys as they came.
    pub(crate) order: Vec<Key>,
}

/// A value, and its time in milliseconds.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Sample {
    pub(crate) value: f64,
    /// As it is printed; empty in protobuf.
    pub(crate) text: String,
    pub(crate) at: Option<u64>,
}

impl Document {
    /// The samples of one name.
    pub(crate) fn of<'a>(
        &'a self,
        name: &'a str,
    ) -> impl Iterator<Item = (&'a BTreeMap<String, String>, &'a Sample)> {
        self.samples
            .iter()
            .filter(move |((of, _), _)| of == name)
            .map(|((_, labels), sample)| (labels, sample))
    }

    /// The sample of that name whose labels are these among others.
    pub(crate) fn one<'a>(&'a self, name: &'a str, labels: &[(&str, &str)]) -> Option<&'a Sample> {
        let has = |all: &BTreeMap<String, String>| {
            labels.iter().all(|(name, value)| all.get(*name).map_or("", String::as_str) == *value)
        };
        let mut found = self.of(name).filter(|(all, _)| has(all));
        let first = found.next()?.1;
        assert!(found.next().is_none(), "{name}{labels:?} is not one series");
        Some(first)
    }

    fn add(&mut self, name: &str, labels: Vec<(String, String)>, sample: Sample) {
        assert!(is_name(name, true), "{name:?} cannot be a name");
        assert!(labels.is_sorted_by(|a, b| a.0 < b.0), "{name}: labels are not in order: {labels:?}");
        assert!(labels.iter().all(|(label, _)| is_name(label, false)), "{labels:?}");
        let labels = labels.into_iter().filter(|(_, value)| !value.is_empty()).collect();
        let key = (name.to_owned(), labels);
        self.order.push(key.clone());
        assert!(self.samples.insert(key.clone(), sample).is_none(), "{key:?} is told twice");
    }

    fn family(&mut self, name: &str, [kind, help, unit]: [&str; 3]) {
        let told = (kind.to_owned(), help.to_owned(), unit.to_owned());
        assert!(self.families.insert(name.to_owned(), told).is_none(), "family {name} comes twice");
    }
}

fn is_name(name: &str, of_family: bool) -> bool {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_' || (of_family && byte == b':');
    !name.is_empty() && name.bytes().all(fits) && !name.as_bytes()[0].is_ascii_digit()
}

/// Text 0.0.4.
pub(crate) fn read_text(text: &str) -> Document {
    let open = text.lines().any(|line| line.starts_with("# EOF") || line.starts_with("# UNIT"));
    assert!(!open, "that is OpenMetrics");
    read(text, false)
}

/// OpenMetrics 1.0.
pub(crate) fn read_openmetrics(text: &str) -> Document {
    let body = text.strip_suffix("# EOF\n").expect("it ends with EOF");
    assert!(!body.lines().any(|line| line.starts_with("# EOF")));
    read(body, true)
}

fn read(text: &str, open: bool) -> Document {
    assert!(text.is_empty() || text.ends_with('\n'), "the last line has no end");
    let mut document = Document::default();
    let mut lines = text.lines().peekable();
    while let Some(line) = lines.next() {
        let (family, help) = meta(line, "# HELP ");
        let (of_type, kind) = meta(lines.next().unwrap(), "# TYPE ");
        assert_eq!(family, of_type);
        let unit = lines.next_if(|line| line.starts_with("# UNIT ")).map_or("", |line| {
            let (of_unit, unit) = meta(line, "# UNIT ");
            assert_eq!(family, of_unit);
            assert!(open && family.ends_with(&format!("_{unit}")), "{line}");
            unit
        });
        let (name, created) = match (open, kind) {
            (true, "counter") => (format!("{family}_total"), format!("{family}_created")),
            (true, "info") => (format!("{family}_info"), String::new()),
            (true, "gauge" | "unknown") | (false, "gauge" | "counter") => (family.to_owned(), String::new()),
            _ => panic!("no such type: {line} {kind}"),
        };
        assert!(!help.is_empty() && !help.contains('\\'), "{help:?}");
        document.family(&name, [kind, help, unit]);
        let mut before = None;
        while let Some(line) = lines.next_if(|line| !line.starts_with('#')) {
            let (of, labels, rest) = series(line);
            if of == name {
                before = Some(labels.clone());
            } else {
                assert_eq!((of.as_str(), &before), (created.as_str(), &Some(labels.clone())), "{line}");
            }
            document.add(&of, labels, number(rest, open));
        }
        assert!(before.is_some(), "{family} has a head only");
    }
    document
}

fn meta<'a>(line: &'a str, keyword: &str) -> (&'a str, &'a str) {
    let rest = line.strip_prefix(keyword).unwrap_or_else(|| panic!("{line:?} should be {keyword:?}"));
    let (name, rest) = rest.split_once(' ').unwrap();
    assert!(is_name(name, true), "{line}");
    (name, rest)
}

/// Name, labels, and what follows the space after them.
fn series(line: &str) -> (String, Vec<(String, String)>, &str) {
    let end = line.find(['{', ' ']).unwrap();
    let (name, mut rest) = line.split_at(end);
    let mut labels = Vec::new();
    if let Some(inside) = rest.strip_prefix('{') {
        rest = inside;
        loop {
            let (label, after) = rest.split_once("=\"").unwrap_or_else(|| panic!("{line}"));
            let (value, after) = quoted(after, line);
            labels.push((label.to_owned(), value));
            if let Some(after) = after.strip_prefix('}') {
                rest = after;
                break;
            }
            rest = after.strip_prefix(',').unwrap_or_else(|| panic!("{line}"));
        }
    }
    let rest = rest.strip_prefix(' ').unwrap_or_else(|| panic!("{line}"));
    (name.to_owned(), labels, rest)
}

/// Up to the quotation mark that ends it, and what follows.
fn quoted<'a>(text: &'a str, line: &str) -> (String, &'a str) {
    let mut value = String::new();
    let mut chars = text.char_indices();
    while let Some((at, char)) = chars.next() {
        match char {
            '"' => return (value, &text[at + 1..]),
            '\\' => value.push(match chars.next().map(|(_, escaped)| escaped) {
                Some('n') => '\n',
                Some(escaped @ ('\\' | '"')) => escaped,
                other => panic!("{other:?} is escaped in {line}"),
            }),
            other => value.push(other),
        }
    }
    panic!("a value has no end: {line}");
}

fn number(rest: &str, open: bool) -> Sample {
    let (text, at) = rest.split_once(' ').map_or((rest, None), |(text, at)| (text, Some(at)));
    let at = at.map(|at| match open {
        true => (at.parse::<f64>().unwrap() * 1e3).round() as u64,
        false => at.parse().unwrap(),
    });
    let value = match text {
        "+Inf" => f64::INFINITY,
        "-Inf" => f64::NEG_INFINITY,
        text => text.parse().unwrap_or_else(|_| panic!("{text:?} is no number")),
    };
    Sample { value, text: text.to_owned(), at }
}

/// Length-delimited `io.prometheus.client.MetricFamily`, read as in text: creation times are samples.
pub(crate) fn read_protobuf(mut bytes: &[u8]) -> Document {
    let mut document = Document::default();
    while !bytes.is_empty() {
        let length = usize::try_from(varint(&mut bytes)).unwrap();
        let (family, rest) = bytes.split_at(length);
        bytes = rest;
        let fields = message(family);
        let text = |number| fields.iter().find(|(of, _)| *of == number).map_or("", |(_, it)| it.text());
        let name = text(1);
        let counter = match fields.iter().find(|(of, _)| *of == 3) {
            Some((_, Field::Number(0))) => true,
            Some((_, Field::Number(1))) => false,
            other => panic!("{name}: type {other:?}"),
        };
        document.family(name, [if counter { "counter" } else { "gauge" }, text(2), text(5)]);
        for (_, metric) in fields.iter().filter(|(of, _)| *of == 4) {
            metric_of(&mut document, name, counter, metric.bytes());
        }
    }
    document
}

fn metric_of(document: &mut Document, name: &str, counter: bool, bytes: &[u8]) {
    let fields = message(bytes);
    let labels: Vec<(String, String)> = fields
        .iter()
        .filter(|(number, _)| *number == 1)
        .map(|(_, pair)| match &message(pair.bytes())[..] {
            [(1, name), (2, value)] => (name.text().to_owned(), value.text().to_owned()),
            other => panic!("no pair: {other:?}"),
        })
        .collect();
    let at = fields.iter().find(|(number, _)| *number == 6).map(|(_, it)| match it {
        Field::Number(at) => *at,
        other => panic!("no time: {other:?}"),
    });
    let wanted = if counter { 3 } else { 2 };
    let inner = fields.iter().find(|(number, _)| *number == wanted).expect("a value of its type");
    let inner = message(inner.1.bytes());
    let Some((1, Field::Double(value))) = inner.first() else { panic!("no value: {inner:?}") };
    document.add(name, labels.clone(), Sample { value: *value, text: String::new(), at });
    if let Some((_, created)) = inner.iter().find(|(number, _)| *number == 3) {
        let parts = message(created.bytes());
        let part = |wanted| match parts.iter().find(|(number, _)| *number == wanted) {
            Some((_, Field::Number(value))) => *value,
            _ => 0,
        };
        let value = part(1) as f64 + part(2) as f64 / 1e9;
        let name = format!("{}_created", name.strip_suffix("_total").unwrap());
        document.add(&name, labels, Sample { value, text: String::new(), at: None });
    }
}

#[derive(Debug)]
enum Field<'a> {
    Number(u64),
    Double(f64),
    Bytes(&'a [u8]),
}

impl<'a> Field<'a> {
    fn bytes(&self) -> &'a [u8] {
        let Self::Bytes(bytes) = self else { panic!("{self:?} has no length") };
        bytes
    }

    fn text(&self) -> &'a str {
        std::str::from_utf8(self.bytes()).unwrap()
    }
}

fn message(mut bytes: &[u8]) -> Vec<(u64, Field<'_>)> {
    let mut fields = Vec::new();
    while !bytes.is_empty() {
        let tag = varint(&mut bytes);
        let field = match tag & 7 {
            0 => Field::Number(varint(&mut bytes)),
            1 => {
                let (value, rest) = bytes.split_first_chunk::<8>().unwrap();
                bytes = rest;
                Field::Double(f64::from_le_bytes(*value))
            }
            2 => {
                let length = usize::try_from(varint(&mut bytes)).unwrap();
                let (value, rest) = bytes.split_at(length);
                bytes = rest;
                Field::Bytes(value)
            }
            other => panic!("wire type {other}"),
        };
        fields.push((tag >> 3, field));
    }
    fields
}

fn varint(bytes: &mut &[u8]) -> u64 {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let (byte, rest) = bytes.split_first().unwrap();
        *bytes = rest;
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return value;
        }
    }
    panic!("a number too long");
}

/// The names of all families.
pub(crate) fn names(document: &Document) -> BTreeSet<&str> {
    document.families.keys().map(String::as_str).collect()
}
