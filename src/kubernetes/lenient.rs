//! JSON read field by field: a value of the wrong shape is as good as an absent one (pure).
//!
//! ```text
//!   "restartCount": "many"     costs the restart count, not the pod, nor the list of all pods
//! ```
//!
//! Nothing is kept on the way: what no field asks for is skipped, whatever its size.

use std::collections::BTreeMap;
use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;

use jiff::Timestamp;
use serde::Deserialize;
use serde::Deserializer;
use serde::de::DeserializeSeed;
use serde::de::Error;
use serde::de::IgnoredAny;
use serde::de::MapAccess;
use serde::de::SeqAccess;
use serde::de::Visitor;
use serde::de::value::MapAccessDeserializer;

use crate::model::identity::ContainerId;
use crate::model::identity::PodUid;
use crate::model::identity::RuntimeKind;
use crate::model::time::WallTime;

use super::quantity::Quantity;

/// Longer texts are cut: a name of a pod or container has at most 253 bytes.
const LONGEST_TEXT: usize = 1024;

/// More labels of one pod are not kept.
const MOST_LABELS: usize = 128;

/// Longer lists are cut: etcd takes no pod of so many containers.
const LONGEST_LIST: usize = 10_000;

/// For `#[serde(default, deserialize_with = "lenient")]`.
pub(super) fn lenient<'de, D: Deserializer<'de>, T: Shape>(from: D) -> Result<T, D::Error> {
    from.deserialize_any(Any(PhantomData))
}

/// What can be made of a value; of any other value the default.
pub(super) trait Shape: Default {
    fn text(_: &str) -> Self {
        Self::default()
    }

    fn whole(_: u64) -> Self {
        Self::default()
    }

    fn flag(_: bool) -> Self {
        Self::default()
    }

    fn list<'de, A: SeqAccess<'de>>(mut items: A) -> Result<Self, A::Error> {
        while items.next_element::<IgnoredAny>()?.is_some() {}
        Ok(Self::default())
    }

    fn object<'de, A: MapAccess<'de>>(mut entries: A) -> Result<Self, A::Error> {
        while entries.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(Self::default())
    }
}

/// An object with fields of its own.
pub(super) trait Object: Default + for<'de> Deserialize<'de> {}

struct Any<T>(PhantomData<T>);

impl<'de, T: Shape> Visitor<'de> for Any<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("anything")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<T, E> {
        Ok(T::text(text))
    }

    fn visit_u64<E: Error>(self, number: u64) -> Result<T, E> {
        Ok(T::whole(number))
    }

    fn visit_i64<E: Error>(self, _: i64) -> Result<T, E> {
        Ok(T::default())
    }

    fn visit_f64<E: Error>(self, _: f64) -> Result<T, E> {
        Ok(T::default())
    }

    fn visit_bool<E: Error>(self, flag: bool) -> Result<T, E> {
        Ok(T::flag(flag))
    }

    fn visit_unit<E: Error>(self) -> Result<T, E> {
        Ok(T::default())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, items: A) -> Result<T, A::Error> {
        T::list(items)
    }

    fn visit_map<A: MapAccess<'de>>(self, entries: A) -> Result<T, A::Error> {
        T::object(entries)
    }
}

impl<'de, T: Shape> DeserializeSeed<'de> for Any<T> {
    type Value = T;

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<T, D::Error> {
        lenient(from)
    }
}

impl<T: Object> Shape for T {
    fn object<'de, A: MapAccess<'de>>(entries: A) -> Result<Self, A::Error> {
        Self::deserialize(MapAccessDeserializer::new(entries))
    }
}

impl<T: Object> Shape for Option<T> {
    fn object<'de, A: MapAccess<'de>>(entries: A) -> Result<Self, A::Error> {
        T::object(entries).map(Some)
    }
}

impl<T: Object> Shape for Vec<T> {
    fn list<'de, A: SeqAccess<'de>>(mut items: A) -> Result<Self, A::Error> {
        let mut list = Self::new();
        while let Some(item) = items.next_element_seed(Any(PhantomData))? {
            if list.len() < LONGEST_LIST {
                list.push(item);
            }
        }
        Ok(list)
    }
}

impl Shape for Option<Arc<str>> {
    fn text(text: &str) -> Self {
        Some(bounded(text).into())
    }
}

impl Shape for Option<u32> {
    fn whole(number: u64) -> Self {
        u32::try_from(number).ok()
    }
}

impl Shape for Option<bool> {
    fn flag(flag: bool) -> Self {
        Some(flag)
    }
}

impl Shape for Option<PodUid> {
    fn text(text: &str) -> Self {
        PodUid::new(text)
    }
}

/// `containerd://2606f223…`, `cri-o://…`, `docker://…`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct FullContainerId {
    pub(super) runtime: Option<RuntimeKind>,
    pub(super) id: ContainerId,
}

impl Shape for Option<FullContainerId> {
    fn text(text: &str) -> Self {
        let (runtime, id) = text.rsplit_once("://").unwrap_or(("", text));
        Some(FullContainerId { runtime: RuntimeKind::of_word(runtime), id: ContainerId::new(id)? })
    }
}

impl Shape for Option<Quantity> {
    fn text(text: &str) -> Self {
        Quantity::parse(text)
    }
}

/// `2026-11-21T01:49:55Z`.
impl Shape for Option<WallTime> {
    fn text(text: &str) -> Self {
        let nanos = text.parse::<Timestamp>().ok()?.as_nanosecond();
        u64::try_from(nanos).ok().map(WallTime::from_unix_nanos)
    }
}

/// Labels: values that are no texts are left out.
impl Shape for BTreeMap<String, String> {
    fn object<'de, A: MapAccess<'de>>(mut entries: A) -> Result<Self, A::Error> {
        let mut labels = Self::new();
        while let Some(key) = entries.next_key::<String>()? {
            let value: Option<Arc<str>> = entries.next_value_seed(Any(PhantomData))?;
            if let Some(value) = value.filter(|_| labels.len() < MOST_LABELS) {
                labels.insert(bounded(&key).to_owned(), value.as_ref().to_owned());
            }
        }
        Ok(labels)
    }
}

/// At most [`LONGEST_TEXT`] bytes, cut at a character.
fn bounded(text: &str) -> &str {
    &text[..text.floor_char_boundary(LONGEST_TEXT)]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, Default, PartialEq, Deserialize)]
    #[serde(default)]
    struct Thing {
        #[serde(deserialize_with = "lenient")]
        name: Option<Arc<str>>,
        #[serde(deserialize_with = "lenient")]
        count: Option<u32>,
        #[serde(deserialize_with = "lenient")]
        at: Option<WallTime>,
        #[serde(deserialize_with = "lenient")]
        parts: Vec<Thing>,
        #[serde(deserialize_with = "lenient")]
        labels: BTreeMap<String, String>,
    }

    impl Object for Thing {}

    fn thing(json: &str) -> Thing {
        serde_json::from_str(json).unwrap()
    }

    fn named(name: &str) -> Thing {
        Thing { name: Some(name.into()), ..Thing::default() }
    }

    #[test]
    fn a_value_of_any_other_shape_costs_its_own_field() {
        for wrong in
            ["null", "-1", "1.5", "true", "[[1], {\"a\": []}]", "{\"b\": {\"c\": [2]}}", "99999999999"]
        {
            let json = format!(r#"{{"count": {wrong}, "at": {wrong}, "labels": [{wrong}], "name": "a"}}"#);
            assert_eq!(thing(&json), named("a"), "{wrong}");
            let json = format!(r#"{{"parts": {wrong}, "name": "a"}}"#);
            assert!(thing(&json).parts.iter().all(|part| *part == Thing::default()), "{wrong}");
        }
        let parts = thing(r#"{"parts": [{"name": "b"}, 7, {"name": 7}]}"#).parts;
        assert_eq!(parts, [named("b"), Thing::default(), Thing::default()]);
    }

    #[test]
    fn half_a_document_is_an_error_wherever_it_ends() {
        let whole = r#"{"name":"a","count":3,"parts":[{"name":"b"}],"labels":{"c":"d"},"x":[1,{"y":null}]}"#;
        for end in 0..whole.len() {
            assert!(serde_json::from_str::<Thing>(&whole[..end]).is_err(), "{}", &whole[..end]);
        }
        assert_eq!(thing(whole).labels["c"], "d");
    }

    #[test]
    fn texts_and_labels_have_bounds() {
        let long = "é".repeat(LONGEST_TEXT);
        let labels: Vec<String> = (0..1_000).map(|n| format!(r#""{long}{n:03}": "{long}""#)).collect();
        let many: Vec<String> = (0..1_000).map(|n| format!(r#""{n:03}": "{long}""#)).collect();
        let json = format!(r#"{{"name": "{long}", "labels": {{{},{}}}}}"#, labels[0], many.join(","));
        let thing = thing(&json);
        assert_eq!(thing.name.unwrap().len(), LONGEST_TEXT);
        assert_eq!(thing.labels.len(), MOST_LABELS);
        assert!(
            thing.labels.iter().all(|(key, value)| key.len() <= LONGEST_TEXT && value.len() == LONGEST_TEXT)
        );
    }

    #[test]
    fn times_are_read_whole_or_not_at_all() {
        let time = |text: &str| Option::<WallTime>::text(text).map(WallTime::as_unix_nanos);
        let whole = "2026-11-21T01:02:03.123456789Z";
        assert_eq!(time(whole), Some(1_795_222_923_123_456_789));
        assert_eq!(time("2026-11-21T02:02:03+01:00"), Some(1_795_222_923_000_000_000));
        for end in 0..whole.len() {
            assert_eq!(time(&whole[..end]), None, "{}", &whole[..end]);
        }
        assert_eq!(time("1969-12-31T23:59:59Z"), None);
    }

    #[test]
    fn ids_are_told_from_the_name_of_the_runtime() {
        let id = |text: &str| {
            Option::<FullContainerId>::text(text)
                .map(|it| (it.runtime.map(RuntimeKind::word), it.id.to_string()))
        };
        for runtime in ["containerd", "cri-o", "docker"] {
            assert_eq!(id(&format!("{runtime}://ab12")), Some((Some(runtime), "ab12".to_owned())));
        }
        assert_eq!(id("ab12"), Some((None, "ab12".to_owned())));
        assert_eq!(id("new://ab12"), Some((None, "ab12".to_owned())), "of a runtime to come");
        for wrong in ["", "containerd://", "docker://../../etc", "containerd://AB"] {
            assert_eq!(id(wrong), None, "{wrong}");
        }
    }
}
