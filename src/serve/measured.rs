//! For benchmarks: whole documents, on the memory of the one before and without the socket they leave through.

use super::exposition::Form;
use super::native::pods::in_order;
use super::native::window::Windows;
use super::series::{cadvisor, pods};
use super::sheets::Sheets;
use crate::model::machine::Machine;
use crate::model::snapshot::Snapshot;

/// `/metrics/cadvisor` in each form, with the name of the form.
pub fn cadvisor(
    snapshot: &Snapshot,
    machine: &Machine,
) -> impl Iterator<Item = (&'static str, impl Fn(Sheets) -> Sheets)> {
    forms().map(move |form| {
        (form.media_type(), move |sheets| {
            cadvisor::document(snapshot, machine, cadvisor::How::default(), form, sheets)
        })
    })
}

/// `/metrics/pods` in each form.
pub fn pods(snapshot: &Snapshot) -> impl Iterator<Item = (&'static str, impl Fn(Sheets) -> Sheets)> {
    forms().map(move |form| {
        (form.media_type(), move |sheets| {
            // As on a node that keeps a history: their series are there, of a window of one sweep.
            let pods = in_order(snapshot);
            let windows = Windows::over(&[], snapshot, &pods);
            pods::document(snapshot, &pods, snapshot.clock.monotonic, Some(&windows), form, sheets)
        })
    })
}

fn forms() -> impl Iterator<Item = Form> {
    Form::ALL.into_iter()
}
