//! Pods and containers that are no more.

use std::sync::Arc;

use crate::model::time::ClockPair;
use crate::model::time::Monotonic;

use super::CgroupSample;
use super::PastContainer;
use super::PastPod;
use super::PodSample;

/// Why something ended, as far as that is known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Cause {
    /// The container's cgroup went while its pod went on.
    ContainerGone,
    /// The pod's cgroup went, and what was in it.
    PodGone,
    /// What the source of names says: `OOMKilled`, `Completed`.
    Told(Arc<str>),
}

impl Cause {
    /// The word on the wire.
    pub fn word(&self) -> &str {
        match self {
            Self::ContainerGone => "container_gone",
            Self::PodGone => "pod_gone",
            Self::Told(reason) => reason,
        }
    }
}

/// What ended, with the last that was read of it.
#[derive(Clone, Debug, PartialEq)]
pub enum Final {
    /// A whole pod.
    Pod(PodSample),
    /// One instance of a container.
    Container(Arc<PastContainer>, CgroupSample),
}

/// A pod or a container that is no more.
#[derive(Clone, Debug, PartialEq)]
pub struct Ended {
    /// Which pod.
    pub pod: Arc<PastPod>,
    /// The pod, or one of its containers.
    pub what: Final,
    /// The last sweep that read it.
    pub last_tick: u64,
    /// When that began.
    pub last: ClockPair,
    /// The first sweep that did not.
    pub gone_tick: u64,
    /// When that began.
    pub gone: ClockPair,
    /// Why.
    pub cause: Cause,
}

impl Ended {
    /// Which container; `None`: the pod.
    pub fn container(&self) -> Option<&Arc<PastContainer>> {
        match &self.what {
            Final::Pod(_) => None,
            Final::Container(container, _) => Some(container),
        }
    }

    /// Bytes it takes.
    pub fn bytes(&self) -> usize {
        let Self { pod, what: _, last_tick: _, last: _, gone_tick: _, gone: _, cause } = self;
        let told = if let Cause::Told(reason) = cause { reason.len() } else { 0 };
        let container = self.container().map_or(0, |container| container.bytes());
        size_of::<Self>() + pod.bytes() + container + told + 64
    }

    /// Whether it ended before this instant.
    pub fn before(&self, instant: Monotonic) -> bool {
        self.gone.monotonic < instant
    }
}
