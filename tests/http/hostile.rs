//! Names that are made to break a document, a path, or a terminal.

use proptest::prelude::*;

/// Whatever there is, and often what some format would take for its own.
pub(crate) fn hostile() -> impl Strategy<Value = String> {
    prop_oneof![
        any::<String>(),
        Just("\"},{\"Id\":\"x".to_owned()),
        Just("\"}],\"x\":[{\"".to_owned()),
        Just("a\nb\r\0\u{1b}[2J\\".to_owned()),
        Just("../../%2e%2e".to_owned()),
        Just("metrics/cpu".to_owned()),
        Just("\u{202e}\u{feff}\u{10ffff}+ ".to_owned()),
    ]
}
