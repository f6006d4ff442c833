//! Names that are made to break a document, in what Prometheus reads: nothing differs but the names.

use podvitals::model::counters::InterfaceName;
use podvitals::serve::Limits;
use proptest::prelude::*;

use super::client::{clock, server, server_with};
use super::exposition::{Document, Key};
use super::hostile::{Called, called, rename};
use super::node::after;
use super::series::in_every_form;

/// What a series of ordinary names is called with these instead.
fn renamed((name, labels): &Key, called: &Called) -> Key {
    let mut labels = labels.clone();
    let has = |label: &str, value: &str| labels.get(label).is_some_and(|it| it == value);
    if !has("pod", "web") || !has("namespace", "default") {
        return (name.clone(), labels);
    }
    let interface = InterfaceName::new(&called.interface).unwrap().to_string();
    let of_app = has("container", "web");
    let changes = [
        (true, "pod", &called.pod),
        (true, "namespace", &called.namespace),
        (of_app, "container", &called.container),
        (of_app, "image", &called.image),
        (has("interface", "eth0"), "interface", &interface),
    ];
    for (applies, label, value) in changes {
        if let Some(label) = labels.get_mut(label).filter(|_| applies) {
            label.clone_from(value);
        }
    }
    (name.clone(), labels)
}

/// A label without a value is none to Prometheus.
fn without_empty((name, mut labels): Key) -> Key {
    labels.retain(|_, value| !value.is_empty());
    (name, labels)
}

fn told(document: &Document, of: impl Fn(&Key) -> Key) -> Vec<(Key, String)> {
    let samples = document.samples.iter();
    let mut told: Vec<_> =
        samples.map(|(key, sample)| (without_empty(of(key)), sample.text.clone())).collect();
    told.sort();
    told
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(16))]

    #[test]
    fn no_name_breaks_a_document_of_series(called in called()) {
        let snapshot = after(0, |web, snapshot| rename(web, snapshot, &called));
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let ordinary = server().await;
            let hostile = server_with(Limits::default(), clock::<0>, Some(snapshot)).await;
            for path in ["/metrics/cadvisor?profile=full&timestamps=1", "/metrics/pods"] {
                let before = in_every_form(&ordinary, path).await;
                let after = in_every_form(&hostile, path).await;
                let expected = told(&before, |key| renamed(key, &called));
                assert_eq!(told(&after, Clone::clone), expected, "{path}");
            }
        });
    }
}
