//! The routes of formats that others defined: from a request to one rendering of the last snapshot.
//!
//! Their clients send what they are used to: a parameter that is not known is ignored. Each format is one
//! pure function in a file of its own.

use super::app::App;
use super::common::Common;
use super::dialect::Dialect;
use super::exposition::Form;
use super::native::pods::{NamedPod, in_order};
use super::native::window::{self, Windows};
use super::pod_list;
use super::query::Query;
use super::reply::{Refusal, Reply};
use super::resource;
use super::routes::Asked;
use super::series::cadvisor::{self, How};
use super::series::pods;
use super::sheets::Sheets;
use super::shown::Shown;
use super::summary::{self, Extent};
use crate::model::snapshot::Snapshot;
use crate::model::time::Monotonic;

/// `/metrics/resource`.
pub(super) fn resource(app: &App, asked: &Asked) -> Reply {
    document(app, asked, Common::Resource, |snapshot, _| resource::document(snapshot))
}

/// `/stats/summary`. The kubelet knows one parameter, and one value of it.
pub(super) fn summary(app: &App, asked: &Asked) -> Reply {
    if asked.query.split('&').any(|pair| pair == "only_cpu_and_memory=true") {
        return document(app, asked, Common::CpuAndMemorySummary, |snapshot, now| {
            summary::document(snapshot, now, Extent::CpuAndMemory)
        });
    }
    document(app, asked, Common::Summary, |snapshot, now| summary::document(snapshot, now, Extent::All))
}

/// `/metrics/cadvisor`.
pub(super) fn cadvisor(app: &App, asked: &Asked) -> Reply {
    let usual = How { full: app.published.cadvisor_full, ..How::default() };
    let (form, how) = (Form::asked(&asked.headers), How::parse(&asked.query, usual));
    let common = match form {
        Form::Text => Common::CadvisorText,
        Form::OpenMetrics => Common::CadvisorOpenMetrics,
        Form::Protobuf => Common::CadvisorProtobuf,
    };
    let reply = Shown::new(app, asked).and_then(|shown| {
        let render = |sheets| cadvisor::document(&shown.snapshot, &app.published.machine, how, form, sheets);
        if how == usual {
            return Ok(shown.common(common, render));
        }
        let pods = in_order(&shown.snapshot);
        shown.other(form.media_type(), pods.len(), &pods, || render(Sheets::default()).joined())
    });
    settle(asked, reply)
}

/// What `/metrics/pods` takes.
pub(super) const WINDOW: &[&str] = &["window"];

/// `/metrics/pods`. Of its parameters it knows one.
pub(super) fn series(app: &App, asked: &Asked) -> Reply {
    let form = Form::asked(&asked.headers);
    let common = match form {
        Form::Text => Common::SeriesText,
        Form::OpenMetrics => Common::SeriesOpenMetrics,
        Form::Protobuf => Common::SeriesProtobuf,
    };
    let window = asked.query.split('&').find(|pair| pair.starts_with("window="));
    let reply = Query::parse(window.unwrap_or_default(), WINDOW, "Pod").and_then(|query| {
        let shown = Shown::new(app, asked)?;
        let snapshot = &*shown.snapshot;
        let length = query.window.unwrap_or(window::DEFAULT);
        let render = |pods: &[NamedPod<'_>], sheets| {
            let windows = Windows::of_last(&app.published.history, snapshot, length, pods);
            pods::document(snapshot, pods, shown.now, windows.as_ref(), form, sheets)
        };
        if length == window::DEFAULT {
            return Ok(shown.common(common, |sheets| render(&in_order(snapshot), sheets)));
        }
        let pods = in_order(snapshot);
        shown.other(form.media_type(), pods.len(), &pods, || render(&pods, Sheets::default()).joined())
    });
    settle(asked, reply)
}

/// `/pods`.
pub(super) fn pods(app: &App, asked: &Asked) -> Reply {
    document(app, asked, Common::KubeletPods, |snapshot, _| pod_list::document(snapshot))
}

/// One document that is the same for everybody who asks.
fn document(
    app: &App,
    asked: &Asked,
    document: Common,
    render: fn(&Snapshot, Monotonic) -> Vec<u8>,
) -> Reply {
    let shown =
        Shown::new(app, asked).map(|shown| shown.common(document, |_| render(&shown.snapshot, shown.now)));
    settle(asked, shown)
}

/// Whatever is refused is refused in the words of the format.
fn settle(asked: &Asked, outcome: Result<Reply, Refusal>) -> Reply {
    outcome.unwrap_or_else(|refusal| refusal.reply_in(Dialect::of(&asked.path)))
}
