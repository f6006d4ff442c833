//! What each reason for an absent figure means to the person in front of it, and what would help.

use crate::model::unavailable::Unavailable;

/// One sentence, without its full stop.
pub(super) const fn meaning(reason: Unavailable) -> &'static str {
    match reason {
        Unavailable::HostNetwork => "the pod uses the node's own network; its traffic is in `get node`",
        Unavailable::NoProcess => "no live process of the pod was found through which to see its network",
        Unavailable::NetnsGone => "the network namespace ended, or the process we looked through left it",
        Unavailable::ControllerOff => "this cgroup controller is not on for the pod",
        Unavailable::KernelWithoutPsi => "this kernel has no pressure stall information; boot with psi=1",
        Unavailable::BlkioNotAccounted => {
            "cgroup v1 counts no block I/O here until a throttle rule or BFQ makes it"
        }
        Unavailable::Hidepid => {
            "the host's process directory is mounted with hidepid; other users' processes are hidden"
        }
        Unavailable::Permission => "the kernel or a security module refused the read",
        Unavailable::RuntimeVm => {
            "the containers run inside a virtual machine; the node sees its outside only"
        }
        Unavailable::NotYet => "not known yet: a second sample, a retry or a name is still to come",
    }
}

/// The reason of this word; `None` if it is none of ours.
pub(super) fn of_word(word: &str) -> Option<Unavailable> {
    ALL.into_iter().find(|reason| reason.word() == word)
}

const ALL: [Unavailable; 10] = [
    Unavailable::HostNetwork,
    Unavailable::NoProcess,
    Unavailable::NetnsGone,
    Unavailable::ControllerOff,
    Unavailable::KernelWithoutPsi,
    Unavailable::BlkioNotAccounted,
    Unavailable::Hidepid,
    Unavailable::Permission,
    Unavailable::RuntimeVm,
    Unavailable::NotYet,
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_word_finds_its_reason_and_others_find_none() {
        for reason in ALL {
            assert_eq!(of_word(reason.word()), Some(reason));
        }
        assert_eq!(of_word("netns"), None);
    }
}
