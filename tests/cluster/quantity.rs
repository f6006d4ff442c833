//! Quantities as Kubernetes prints them, read here without the code under test.

use anyhow::Context;

/// Suffix, and what to multiply with and divide by.
/// <https://kubernetes.io/docs/reference/kubernetes-api/common-definitions/quantity/>
const SUFFIXES: [(&str, f64, f64); 10] = [
    ("Ki", 1024.0, 1.0),
    ("Mi", 1_048_576.0, 1.0),
    ("Gi", 1_073_741_824.0, 1.0),
    ("n", 1.0, 1e9),
    ("u", 1.0, 1e6),
    ("m", 1.0, 1e3),
    ("k", 1e3, 1.0),
    ("M", 1e6, 1.0),
    ("G", 1e9, 1.0),
    ("", 1.0, 1.0),
];

/// A number of cores, such as `250m`, `401234567n` or, of nanoseconds that end in zeros, `401234u`.
pub(crate) fn cores(quantity: &str) -> anyhow::Result<f64> {
    number(quantity)
}

/// A number of bytes, such as `1234Ki` or, of kibibytes that make whole mebibytes, `5Mi`.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "bytes of memory are exact")]
pub(crate) fn bytes(quantity: &str) -> anyhow::Result<u64> {
    number(quantity).map(|bytes| bytes as u64)
}

fn number(quantity: &str) -> anyhow::Result<f64> {
    let read = SUFFIXES.iter().find_map(|(suffix, factor, divisor)| {
        let number: f64 = quantity.strip_suffix(suffix)?.parse().ok()?;
        Some(number * factor / divisor)
    });
    read.with_context(|| format!("{quantity:?} is no quantity"))
}
