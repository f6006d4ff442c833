//! What `/proc` lets us see of the node: whether processes are hidden, and which netns is its own. Either may
//! change while we run, for `/proc` may be mounted with another mode at any time.

use tracing::info;
use tracing::warn;

use crate::host::HostError;
use crate::host::HostRoot;
use crate::host::error::chain;
use crate::host::link::Links;
use crate::host::process::hides_processes;
use crate::host::process::init_netns;
use crate::model::time::ClockPair;

use super::Host;
use super::Resolver;

impl Host {
    /// Looks for the first time.
    pub(super) fn open_eyes(&mut self) {
        self.hides_processes = hides_processes(&self.root);
        tell_hidepid(&self.root, self.hides_processes, false);
        if let Err(error) = self.find_own_netns() {
            warn!(error = %chain(&error), "the node's own netns cannot be told: no pod's network is served until it can");
        }
    }

    /// The node's own netns, and its links where this process is in it.
    fn find_own_netns(&mut self) -> Result<(), HostError> {
        self.init_netns = Some(init_netns(&self.root)?);
        self.links = Links::open(&self.root);
        Ok(())
    }

    /// Whether anything is out of sight that may come into it.
    pub(super) fn is_in_the_dark(&self) -> bool {
        self.hides_processes || self.init_netns.is_none()
    }
}

impl Resolver {
    pub(super) fn look_for_hidepid(&mut self, now: ClockPair) {
        let hides = hides_processes(&self.host.root);
        let before = std::mem::replace(&mut self.host.hides_processes, hides);
        if hides != before {
            tell_hidepid(&self.host.root, hides, before);
            self.pods.iter_mut().for_each(|pod| pod.see_again(now));
        }
    }

    pub(super) fn look_for_own_netns(&mut self, now: ClockPair) {
        if self.host.init_netns.is_none() && self.host.find_own_netns().is_ok() {
            info!("the node's own netns can be told again: networks of pods are served");
            for pod in &mut self.pods {
                pod.changed = true;
                pod.look_soon(now.monotonic);
            }
        }
    }
}

fn tell_hidepid(root: &HostRoot, hides: bool, before: bool) {
    let path = root.proc.display();
    match (hides, before) {
        (true, _) => warn!(%path, "mounted with hidepid: other users' processes cannot be seen"),
        (false, true) => info!(%path, "other users' processes can be seen again"),
        (false, false) => {}
    }
}
